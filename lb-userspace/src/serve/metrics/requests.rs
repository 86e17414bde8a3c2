//! Requests to the API server, under the names that all components of Kubernetes use.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::sources::kube::requests::Asked;

/// Requests and their durations. Clones are the same.
#[derive(Clone, Debug)]
pub struct Requests {
    total: Family<[(&'static str, String); 3], Counter>,
    duration: Durations,
}

type Durations = Family<[(&'static str, String); 2], Histogram, fn() -> Histogram>;

impl Default for Requests {
    fn default() -> Self {
        Self { total: Family::default(), duration: Durations::new_with_constructor(buckets) }
    }
}

impl Requests {
    /// Counts a request.
    pub fn count(&self, asked: Asked) {
        let Asked { method, host, code, took } = asked;
        let duration = [("verb", method.clone()), ("host", host.clone())];
        self.duration.get_or_create(&duration).observe(took.as_secs_f64());
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        self.total.get_or_create(&[("code", code), ("method", method), ("host", host)]).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API server by the status of the answer";
        registry.register("rest_client_requests", help, self.total.clone());
        let help = "How long the API server took to begin its answer";
        registry.register("rest_client_request_duration_seconds", help, self.duration.clone());
    }
}

fn buckets() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0])
}
