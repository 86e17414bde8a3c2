//! `/metrics`: numbers for Prometheus, as `OpenMetrics` text.
//!
//! The agent sets gauges after each pass, as atomics: a scrape never waits for it and it never for a
//! scrape. What the programs count is read from the kernel when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lb_common::net::Family as AddressFamily;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::flows::{Stage, Walk};
use crate::maps::dump::CounterRow;
use crate::maps::kernel::Counters;
use crate::maps::{MapError, flows_map};
use crate::reconcile::Figures;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label and its value.
type Label = [(&'static str, &'static str); 1];

/// What the agent shows of itself. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    rejected: Family<Label, Gauge>,
    conflicts: Gauge,
    services: Gauge,
    backends: Gauge,
    entries: Family<Label, Gauge>,
    capacity: Family<Label, Gauge>,
    flow_entries: Family<[(&'static str, &'static str); 2], Gauge>,
    flow_entries_removed: Family<Label, Counter>,
    flow_entries_healed: Family<Label, Counter>,
    flows_ended: Family<Label, Counter>,
    flow_walk: Family<Label, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    /// All zero so far, and the routes that show them.
    pub fn new(counters: Counters) -> (Self, Router) {
        let metrics = Self::default();
        let mut registry = metrics.registry();
        registry.register_collector(Box::new(DatapathEvents(move || counters.read())));
        let router = Router::new().route("/metrics", get(scrape)).with_state(Arc::new(registry));
        (metrics, router)
    }

    /// Shows these figures from now on.
    pub fn show(&self, figures: &Figures) {
        // Kinds with which nothing is wrong any more.
        self.rejected.clear();
        for (kind, count) in &figures.rejected {
            self.rejected.get_or_create(&[("kind", kind)]).set(number(*count));
        }
        self.conflicts.set(number(figures.contested));
        self.services.set(number(figures.usage.services));
        self.backends.set(number(figures.usage.backends));
        for usage in &figures.usage.maps {
            let label = [("map", usage.map)];
            self.entries.get_or_create(&label).set(number(usage.entries));
            self.capacity.get_or_create(&label).set(usage.capacity.into());
        }
    }

    /// Shows what this walk through the flows has met, and adds what it has removed.
    pub fn show_walk(&self, walk: &Walk) {
        let family = match walk.family {
            AddressFamily::V4 => "IPv4",
            AddressFamily::V6 => "IPv6",
        };
        for stage in Stage::ALL {
            let count = walk.tally.entries.get(&stage).copied().unwrap_or_default();
            let labels = [("family", family), ("state", stage.word())];
            self.flow_entries.get_or_create(&labels).set(number(count));
        }
        let label = [("family", family)];
        self.flow_entries_removed.get_or_create(&label).inc_by(walk.tally.removed);
        self.flow_entries_healed.get_or_create(&label).inc_by(walk.tally.healed);
        self.flows_ended.get_or_create(&label).inc_by(walk.tally.ended);
        self.flow_walk.get_or_create(&label).set(walk.duration.as_secs_f64());
        let label = [("map", flows_map(walk.family))];
        self.entries.get_or_create(&label).set(number(walk.tally.entries.values().sum()));
        self.capacity.get_or_create(&label).set(walk.capacity.into());
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("waggle");
        let mut family =
            |name, help, family: &Family<_, _>| registry.register(name, help, family.clone());
        family(
            "rejected_objects",
            "Objects that cannot be used now, whole or in part",
            &self.rejected,
        );
        family("map_entries", "Entries in use", &self.entries);
        family("map_capacity", "Entries there is room for", &self.capacity);
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("address_conflicts", "Frontends that more than one Service claims", &self.conflicts);
        gauge("services", "Ports of Services in the maps, per family", &self.services);
        gauge("backends", "Backends of all services in the maps", &self.backends);
        self.register_flows(&mut registry);
        registry
    }

    fn register_flows(&self, registry: &mut Registry) {
        let help = "Entries for flows at the last walk through them";
        registry.register("flow_entries", help, self.flow_entries.clone());
        let help = "Entries for flows that the agent has removed";
        registry.register("flow_entries_removed", help, self.flow_entries_removed.clone());
        let help = "Entries for flows that were evicted and that the agent has put back";
        registry.register("flow_entries_healed", help, self.flow_entries_healed.clone());
        let help = "Flows whose entries the agent has removed";
        registry.register("flows_ended", help, self.flows_ended.clone());
        let help = "How long the last walk through the flows took, pauses left out";
        registry.register_with_unit("flow_walk", help, Unit::Seconds, self.flow_walk.clone());
    }
}

/// A gauge is signed; no map has that many entries.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn scrape(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What the programs have counted since the maps were made.
struct DatapathEvents<F>(F);

impl<F> fmt::Debug for DatapathEvents<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatapathEvents").finish_non_exhaustive()
    }
}

impl<F> Collector for DatapathEvents<F>
where
    F: Fn() -> Result<Vec<CounterRow>, MapError> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = match (self.0)() {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!("the metrics lack what the programs count: {error}");
                return Ok(());
            }
        };
        let help = "What the programs met: new flows, and packets by the reason they were refused";
        let mut metric =
            encoder.encode_descriptor("datapath_events", help, None, MetricType::Counter)?;
        for row in rows {
            let label = [("event", row.name)];
            ConstCounter::new(row.value).encode(metric.encode_family(&label)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flows::Tally;
    use crate::tables::{MapUsage, Usage};

    fn figures() -> Figures {
        let maps = vec![MapUsage { map: "SLOTS", entries: 7, capacity: 100 }];
        Figures {
            rejected: [("service", 2)].into(),
            contested: 3,
            usage: Usage { services: 4, backends: 5, maps },
        }
    }

    fn text(metrics: &Metrics) -> String {
        let mut registry = metrics.registry();
        let rows = || Ok(vec![CounterRow { name: "new_flow", value: 9 }]);
        registry.register_collector(Box::new(DatapathEvents(rows)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[track_caller]
    fn check(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} in\n{text}");
        }
    }

    #[test]
    fn figures_and_counters_are_shown_under_their_names() {
        let metrics = Metrics::default();
        metrics.show(&figures());
        check(
            &text(&metrics),
            &[
                "# TYPE waggle_rejected_objects gauge",
                "waggle_rejected_objects{kind=\"service\"} 2",
                "waggle_address_conflicts 3",
                "waggle_services 4",
                "waggle_backends 5",
                "waggle_map_entries{map=\"SLOTS\"} 7",
                "waggle_map_capacity{map=\"SLOTS\"} 100",
                "# TYPE waggle_datapath_events counter",
                "waggle_datapath_events_total{event=\"new_flow\"} 9",
                "# EOF",
            ],
        );
    }

    #[test]
    fn walks_through_flows_show_what_is_there_and_add_up_what_is_gone() {
        let metrics = Metrics::default();
        let mut walk = Walk {
            family: AddressFamily::V6,
            tally: Tally {
                entries: [(Stage::Open, 6), (Stage::New, 1)].into(),
                removed: 3,
                ended: 2,
                healed: 4,
            },
            capacity: 100,
            duration: Duration::from_millis(1500),
        };
        metrics.show_walk(&walk);
        walk.tally.entries.remove(&Stage::New);
        metrics.show_walk(&walk);
        check(
            &text(&metrics),
            &[
                "waggle_flow_entries{family=\"IPv6\",state=\"open\"} 6",
                "waggle_flow_entries{family=\"IPv6\",state=\"new\"} 0",
                "waggle_flow_entries_removed_total{family=\"IPv6\"} 6",
                "waggle_flow_entries_healed_total{family=\"IPv6\"} 8",
                "waggle_flows_ended_total{family=\"IPv6\"} 4",
                "waggle_flow_walk_seconds{family=\"IPv6\"} 1.5",
                "waggle_map_entries{map=\"FLOWS_V6\"} 6",
                "waggle_map_capacity{map=\"FLOWS_V6\"} 100",
            ],
        );
    }

    #[test]
    fn a_kind_with_which_nothing_is_wrong_any_more_is_not_shown() {
        let metrics = Metrics::default();
        metrics.show(&figures());
        metrics.show(&Figures { rejected: [("node", 1)].into(), ..figures() });
        let text = text(&metrics);
        check(&text, &["waggle_rejected_objects{kind=\"node\"} 1"]);
        assert!(!text.contains("kind=\"service\""), "{text}");
    }
}
