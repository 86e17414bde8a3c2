//! The two text formats of metrics: `OpenMetrics`, and Prometheus' older one for who does not ask for
//! the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_1: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a scrape. What has to be asked of the kernel for it holds up nobody else.
pub(super) async fn scrape(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_open = accepted.into_iter().any(|value| value.contains(OPEN_METRICS));
    let written = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    });
    match written.await {
        Ok(Ok(text)) if is_open => ([(CONTENT_TYPE, OPEN_METRICS_1)], text).into_response(),
        Ok(Ok(text)) => ([(CONTENT_TYPE, PLAIN_TEXT)], plain(&text)).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The same in the older format: there a metric is called by the name of its samples, what is an info
/// is a gauge, and lines about units and about the end do not exist.
fn plain(open: &str) -> String {
    let suffixes: BTreeMap<_, _> = open.lines().filter_map(suffix).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF") {
        match about(line).and_then(|it| Some((it, suffixes.get(it.1)?))) {
            Some((("TYPE", name, kind), suffix)) => {
                let kind = if kind == "info" { "gauge" } else { kind };
                text.extend(["# TYPE ", name, suffix, " ", kind]);
            }
            Some(((word, name, rest), suffix)) => {
                text.extend(["# ", word, " ", name, suffix, " ", rest]);
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// The name of a metric that is introduced by `line`, and what its samples are called by beyond that.
fn suffix(line: &str) -> Option<(&str, &'static str)> {
    match about(line)? {
        ("TYPE", name, "counter") => Some((name, "_total")),
        ("TYPE", name, "info") => Some((name, "_info")),
        _ => None,
    }
}

/// What a line says of a metric: the sort of saying, the name, the rest.
fn about(line: &str) -> Option<(&str, &str, &str)> {
    let (word, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    Some((word, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_calls_metrics_by_the_name_of_their_samples() {
        let open = "# HELP a Things.\n# TYPE a counter\na_total{b=\"c\"} 1\n\
                    # TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP d_seconds Time.\n# TYPE d_seconds gauge\n# UNIT d_seconds seconds\n\
                    d_seconds 1.5\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
                        # TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # HELP d_seconds Time.\n# TYPE d_seconds gauge\nd_seconds 1.5\n";
        assert_eq!(plain(open), expected);
    }
}
