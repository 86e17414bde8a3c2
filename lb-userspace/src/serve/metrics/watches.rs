//! The state of the watches of the API server.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::sources::watches::{WatchState, Watches};

/// Shows what is known of each watch.
#[derive(Debug)]
pub(super) struct WatchStates(pub(super) Watches);

impl Collector for WatchStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Parsers take no metric without a sample.
        if self.0.states().next().is_none() {
            return Ok(());
        }
        let encoder = &mut encoder;
        let help = "Whether the API server answers the watch of a kind; the last state is served";
        self.show(encoder, ("watch_up", help), MetricType::Gauge, |watch| {
            ConstGauge::new(i64::from(watch.is_up))
        })?;
        let help = "When the API server said something last";
        let name = "watch_last_event_timestamp_seconds";
        self.show(encoder, (name, help), MetricType::Gauge, |watch| {
            ConstGauge::new(watch.heard_s)
        })?;
        let help = "Full lists of a kind";
        self.show(encoder, ("watch_lists", help), MetricType::Counter, |watch| {
            ConstCounter::new(watch.lists)
        })?;
        let help = "Lists and watches of a kind that have failed";
        self.show(encoder, ("watch_failures", help), MetricType::Counter, |watch| {
            ConstCounter::new(watch.failures)
        })
    }
}

impl WatchStates {
    fn show<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        kind: MetricType,
        metric: impl Fn(&WatchState) -> M,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (kind, watch) in self.0.states() {
            metric(&watch).encode(family.encode_family(&[("kind", kind.word())])?)?;
        }
        Ok(())
    }
}
