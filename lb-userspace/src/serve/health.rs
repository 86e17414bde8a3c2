//! `/healthz` and `/livez`, as kube-proxy answers them (kube-proxy-behaviour §5.2).
//!
//! The agent is healthy unless a change has waited longer than [`TIMEOUT`] to be written. That nobody
//! can be asked for changes is no illness: the last state is served. `/healthz` is for load balancers,
//! and also says no when the node is about to go; `/livez` is for the kubelet, and does not.
//!
//! Knows no planner and no maps: it is told. Reads no clock but when it is asked over HTTP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use lb_common::net::Family;
use serde::Serialize;
use tokio::time::Instant;

use super::json;
use crate::maps::PerFamily;

/// How long a change may wait: twice the period at which kube-proxy tries again, 30 s.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// What is known of the agent's health. Clones know the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    families: PerFamily<Sync>,
    node_is_eligible: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sync {
    /// Since when a change waits.
    waiting: Option<Instant>,
    /// When everything was written last.
    updated: Timestamp,
}

/// How often an answer was given, by its status.
pub trait Answers: Clone + Send + std::marker::Sync + 'static {
    /// `/healthz` has answered so.
    fn healthz(&self, status: StatusCode);
    /// `/livez` has answered so.
    fn livez(&self, status: StatusCode);
}

/// The answer, in the words of kube-proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Now while it is healthy, else when it was.
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Status,
}

#[derive(Debug, Serialize)]
struct Status {
    #[serde(rename = "IPv4")]
    v4: FamilyStatus,
    #[serde(rename = "IPv6")]
    v6: FamilyStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: Timestamp,
    healthy: bool,
}

impl Health {
    /// Healthy, as of `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let sync = Sync { waiting: None, updated: now };
        let families = PerFamily::new(|_| sync);
        Self(Arc::new(Mutex::new(Known { families, node_is_eligible: true })))
    }

    /// A change waits to be written, for both families.
    pub fn queued(&self, now: Instant) {
        let mut known = self.known();
        for family in [Family::V4, Family::V6] {
            known.families[family].waiting.get_or_insert(now);
        }
    }

    /// Everything there is of `family` has been written.
    pub fn updated(&self, family: Family, time: Timestamp) {
        self.known().families[family] = Sync { waiting: None, updated: time };
    }

    /// Whether traffic from outside may be sent to this node.
    pub fn set_node_eligible(&self, is_eligible: bool) {
        self.known().node_is_eligible = is_eligible;
    }

    /// Whether no change has waited too long.
    #[must_use]
    pub fn is_healthy(&self, now: Instant) -> bool {
        self.known().families.iter().all(|(_, sync)| sync.is_healthy(now))
    }

    /// The routes that tell.
    pub fn router(&self, answers: impl Answers) -> Router {
        let healthz = get(|State((health, answers)): State<(Self, _)>| async move {
            let report = health.report(Instant::now(), Timestamp::now(), true);
            let status = status(report.healthy && report.node_eligible == Some(true));
            Answers::healthz(&answers, status);
            answer(status, &report)
        });
        let livez = get(|State((health, answers)): State<(Self, _)>| async move {
            let report = health.report(Instant::now(), Timestamp::now(), false);
            let status = status(report.healthy);
            Answers::livez(&answers, status);
            answer(status, &report)
        });
        let router = Router::new().route("/healthz", healthz).route("/livez", livez);
        router.with_state((self.clone(), answers))
    }

    fn report(&self, now: Instant, time: Timestamp, of_node: bool) -> Report {
        let known = self.known();
        let status = Status {
            v4: known.families.v4.status(now, time),
            v6: known.families.v6.status(now, time),
        };
        let healthy = status.v4.healthy && status.v6.healthy;
        let newest = known.families.v4.updated.max(known.families.v6.updated);
        Report {
            last_updated: if healthy { time } else { newest },
            current_time: time,
            node_eligible: of_node.then_some(known.node_is_eligible),
            healthy,
            status,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sync {
    fn is_healthy(&self, now: Instant) -> bool {
        self.waiting.is_none_or(|since| now.duration_since(since) < TIMEOUT)
    }

    fn status(&self, now: Instant, time: Timestamp) -> FamilyStatus {
        let healthy = self.is_healthy(now);
        FamilyStatus { last_updated: if healthy { time } else { self.updated }, healthy }
    }
}

const fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn answer(status: StatusCode, report: &Report) -> Response {
    (status, json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well into the process, so that there is a time before.
    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(1000 + seconds)
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_is_healthy_until_a_change_has_waited_too_long() {
        let health = Health::new(time(0));
        let begin = later(0);
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(health.is_healthy(after(1_000_000)), "nothing waits");
        health.queued(begin);
        health.queued(after(50));
        assert!(health.is_healthy(after(59)));
        assert!(!health.is_healthy(after(60)), "the first of the changes counts");
        health.updated(Family::V4, time(61));
        assert!(!health.is_healthy(after(61)), "the other family is behind");
        health.updated(Family::V6, time(62));
        assert!(health.is_healthy(after(62)));
    }

    #[test]
    fn the_report_tells_each_family_and_when_it_was_well() {
        let health = Health::new(time(5));
        let begin = later(0);
        health.queued(begin);
        health.updated(Family::V4, time(7));
        health.set_node_eligible(false);
        let report = |of_node| {
            let report = health.report(begin + TIMEOUT, time(100), of_node);
            serde_json::to_value(report).unwrap()
        };
        let (now, v6) = ("1970-01-01T00:01:40Z", "1970-01-01T00:00:05Z");
        let mut expected = serde_json::json!({
            "lastUpdated": "1970-01-01T00:00:07Z",
            "currentTime": now,
            "healthy": false,
            "status": {
                "IPv4": {"lastUpdated": now, "healthy": true},
                "IPv6": {"lastUpdated": v6, "healthy": false},
            },
        });
        assert_eq!(report(false), expected);
        expected["nodeEligible"] = false.into();
        assert_eq!(report(true), expected);
    }
}
