//! What the agent says of itself: its health, and of its metrics what one looks for first.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::http::get;
use crate::serve::recent::{self, Logged};

/// The metrics that should be zero, and what they mean if they are not.
const TROUBLES: [(&str, &str); 4] = [
    ("waggle_rejected_objects", "objects rejected"),
    ("waggle_unwritten_services", "services not in the maps as they should be"),
    ("waggle_address_conflicts", "frontends claimed by several Services"),
    ("waggle_servers_not_listening", "servers whose port is taken"),
];

/// All that it said.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Agent {
    health: Health,
    /// Absent without metrics.
    version: Option<String>,
    /// Where changes come from, if that is an API server.
    sources: Vec<Source>,
    troubles: Vec<String>,
    /// The last warnings and errors in its log, the oldest first.
    problems: Vec<Logged>,
    /// Why there is nothing but health.
    metrics_error: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
enum Health {
    /// It works.
    Healthy,
    /// It answers, and says that it does not.
    Unhealthy(String),
    /// Nothing answers where it should be.
    Unreachable(String),
    /// It was not asked.
    Unknown,
}

/// The watch of a kind of objects.
#[derive(Debug, PartialEq, Serialize)]
struct Source {
    kind: String,
    up: bool,
    failures: f64,
    heard: Option<Timestamp>,
}

/// A line of the metrics.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    value: f64,
}

impl Agent {
    /// Asks at the addresses that there are.
    pub(super) fn ask(healthz: Option<SocketAddr>, metrics: Option<SocketAddr>) -> Self {
        let health = healthz.map_or(Health::Unknown, health);
        let silent = Self {
            health,
            version: None,
            sources: vec![],
            troubles: vec![],
            problems: vec![],
            metrics_error: None,
        };
        let Some(at) = metrics else { return silent };
        match get(at, "/metrics") {
            Ok((200, text)) => Self { problems: problems(at), ..silent.with(&text) },
            Ok((status, _)) => silent.without(format!("{at}/metrics answers {status}")),
            Err(error) => silent.without(format!("{at} does not answer: {error}")),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self.health, Health::Healthy | Health::Unknown)
    }

    /// What is shown of it, line by line.
    pub(super) fn rows(&self) -> Vec<[String; 2]> {
        let health = match &self.health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unhealthy(why) => format!("not healthy: {why}"),
            Health::Unreachable(why) => {
                format!("not running? {why}; traffic goes on, changes do not arrive")
            }
            Health::Unknown => "not asked".to_owned(),
        };
        let version = self.version.as_ref().map(|version| format!(", version {version}"));
        let mut rows = vec![["agent".to_owned(), health + &version.unwrap_or_default()]];
        rows.extend(self.metrics_error.iter().map(|error| ["metrics".to_owned(), error.clone()]));
        rows.extend(self.sources.iter().map(|it| [format!("watch of {}", it.kind), it.text()]));
        rows.extend(self.troubles.iter().map(|trouble| ["trouble".to_owned(), trouble.clone()]));
        rows
    }

    /// The last problems, one a line.
    pub(super) fn problems(&self) -> String {
        let line = |it: &Logged| format!("{:.0} {} {}", it.time, it.level, it.text);
        let lines: Vec<_> = self.problems.iter().map(line).collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("LAST PROBLEMS\n{}", lines.join("\n"))
        }
    }

    fn without(self, error: String) -> Self {
        Self { metrics_error: Some(error), ..self }
    }

    fn with(self, text: &str) -> Self {
        let samples: Vec<_> = text.lines().filter_map(sample).collect();
        let build = samples.iter().find(|it| it.name == "waggle_build_info");
        let version = build.and_then(|it| it.labels.get("version")).map(|it| (*it).to_owned());
        Self { version, sources: sources(&samples), troubles: troubles(&samples), ..self }
    }
}

impl Source {
    fn text(&self) -> String {
        let heard = self.heard.map(|time| format!(", last heard {time:.0}"));
        let failures = (self.failures > 0.0).then(|| format!(", failed {} times", self.failures));
        let up = if self.up { "up" } else { "DOWN" };
        format!("{up}{}{}", heard.unwrap_or_default(), failures.unwrap_or_default())
    }
}

fn health(at: SocketAddr) -> Health {
    match get(at, "/livez") {
        Ok((200, _)) => Health::Healthy,
        Ok((status, body)) => Health::Unhealthy(format!("{at}/livez answers {status}: {body}")),
        Err(error) => Health::Unreachable(format!("{at} does not answer: {error}")),
    }
}

/// An agent of another version may not tell.
fn problems(at: SocketAddr) -> Vec<Logged> {
    let answer = get(at, recent::PATH).ok().filter(|(status, _)| *status == 200);
    answer.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
}

fn sources(samples: &[Sample<'_>]) -> Vec<Source> {
    let of = |name: &str, kind: &str| {
        let found =
            samples.iter().find(|it| it.name == name && it.labels.get("kind") == Some(&kind));
        found.map(|it| it.value)
    };
    let up = samples.iter().filter(|it| it.name == "waggle_watch_up");
    let source = |it: &Sample<'_>| {
        let kind = *it.labels.get("kind")?;
        let heard = of("waggle_watch_last_event_timestamp_seconds", kind).filter(|it| *it > 0.0);
        Some(Source {
            kind: kind.to_owned(),
            up: it.value > 0.0,
            failures: of("waggle_watch_failures_total", kind).unwrap_or_default(),
            heard: heard.and_then(time),
        })
    };
    up.filter_map(source).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
fn time(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_second(seconds as i64).ok()
}

fn troubles(samples: &[Sample<'_>]) -> Vec<String> {
    let mut troubles = Vec::new();
    for (name, meaning) in TROUBLES {
        for sample in samples.iter().filter(|it| it.name == name && it.value > 0.0) {
            let label = sample.labels.values().next().map(|label| format!(" ({label})"));
            troubles.push(format!("{} {meaning}{}", sample.value, label.unwrap_or_default()));
        }
    }
    troubles
}

/// `name{label="value",…} number`, as our own metrics are: no value of a label has a quote in it.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",");
    let labels = labels.filter_map(|label| label.split_once("=\""));
    let labels = labels.map(|(label, value)| (label, value.trim_end_matches('"')));
    Some(Sample { name, labels: labels.collect(), value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# HELP waggle_build_info The version of the agent
waggle_build_info{version=\"1.2.3\"} 1
waggle_watch_up{kind=\"service\"} 1
waggle_watch_up{kind=\"node\"} 0
waggle_watch_last_event_timestamp_seconds{kind=\"service\"} 1000.5
waggle_watch_failures_total{kind=\"node\"} 3
waggle_rejected_objects{kind=\"service\"} 2
waggle_unwritten_services 0
waggle_service_flows_total{namespace=\"a\",service=\"b\"} 7
";

    fn silent() -> Agent {
        Agent {
            health: Health::Healthy,
            version: None,
            sources: vec![],
            troubles: vec![],
            problems: vec![],
            metrics_error: None,
        }
    }

    #[test]
    fn version_watches_and_troubles_are_read_from_the_metrics() {
        let rows = silent().with(METRICS).rows();
        let expected = [
            ["agent", "healthy, version 1.2.3"],
            ["watch of service", "up, last heard 1970-01-01T00:16:40Z"],
            ["watch of node", "DOWN, failed 3 times"],
            ["trouble", "2 objects rejected (service)"],
        ];
        assert_eq!(rows, expected.map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn a_sample_has_a_name_labels_and_a_value() {
        let sample = sample("a_b{c=\"d, e\",f=\"\"} 1.5").unwrap();
        assert_eq!((sample.name, sample.value), ("a_b", 1.5));
        assert_eq!(sample.labels, [("c", "d, e"), ("f", "")].into());
        assert_eq!(super::sample("# EOF"), None);
    }

    #[test]
    fn who_does_not_answer_is_not_well() {
        let at = |health| Agent { health, ..silent() };
        assert!(at(Health::Healthy).is_well() && at(Health::Unknown).is_well());
        assert!(!at(Health::Unhealthy(String::new())).is_well());
        let agent = at(Health::Unreachable("[::1]:9 does not answer: refused".to_owned()));
        assert!(!agent.is_well());
        assert!(agent.rows()[0][1].contains("traffic goes on"), "{:?}", agent.rows());
    }
}
