//! What is read from the kernel's maps when somebody asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Label, number};
use crate::maps::MapError;
use crate::maps::dump::CounterRow;
use crate::tables::MapUsage;

/// What the programs have counted since the maps were made.
pub(super) struct DatapathEvents<F>(pub(super) F);

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

/// How full each map is: by the agent's books, at the last walk, or counted now.
pub(super) struct MapEntries<F> {
    /// Counts those that nobody keeps books on.
    pub(super) count: F,
    pub(super) entries: Family<Label, Gauge>,
    pub(super) capacity: Family<Label, Gauge>,
}

impl<F> fmt::Debug for MapEntries<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapEntries").finish_non_exhaustive()
    }
}

impl<F> Collector for MapEntries<F>
where
    F: Fn() -> Result<Vec<MapUsage>, MapError> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match (self.count)() {
            Ok(usage) => {
                for usage in &usage {
                    show_usage(usage, &self.entries, &self.capacity);
                }
            }
            Err(error) => tracing::warn!("the metrics lack how full some maps are: {error}"),
        }
        for (name, help, metric) in [
            ("map_entries", "Entries in use", &self.entries),
            ("map_capacity", "Entries there is room for", &self.capacity),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode(family)?;
        }
        Ok(())
    }
}

/// Shows how full a map is.
pub(super) fn show_usage(
    usage: &MapUsage,
    entries: &Family<Label, Gauge>,
    capacity: &Family<Label, Gauge>,
) {
    let label = [("map", usage.map)];
    entries.get_or_create(&label).set(number(usage.entries));
    capacity.get_or_create(&label).set(usage.capacity.into());
}
