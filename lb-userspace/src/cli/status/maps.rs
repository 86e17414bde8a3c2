//! What the maps hold, in numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use lb_common::abi::{capacity, map};
use lb_common::net::Family;
use serde::Serialize;

use crate::maps::kernel::{KernelMaps, LruMaps};
use crate::maps::{
    Capacities, ReadBack as _, Snapshot, addresses_map, backends_map, clients_map, frontends_map,
    is_of, service_cidrs_map, source_ranges_map,
};
use crate::tables::MapUsage;

/// How much there is.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Services, whatever their ports and families.
    services: usize,
    /// Ports of Services, per family.
    service_ports: usize,
    frontends: usize,
    backends: usize,
    /// Of them, those that serve.
    serving: usize,
    /// Flow entries; a flow takes two, with masquerade four.
    flow_entries: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { services, service_ports, frontends, backends, serving, flow_entries } = self;
        write!(
            f,
            "{services} services ({service_ports} ports, {frontends} frontends), {backends} backends \
             ({serving} serving), {flow_entries} flow entries"
        )
    }
}

/// How full a map is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct MapLine {
    pub(super) map: &'static str,
    pub(super) entries: usize,
    capacity: u32,
}

impl MapLine {
    /// How full it is in percent.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn percent(&self) -> f64 {
        100.0 * self.entries as f64 / f64::from(self.capacity.max(1))
    }

    pub(super) fn cells(&self) -> [String; 4] {
        let full = format!("{:.0} %", self.percent());
        [self.map.to_owned(), self.entries.to_string(), self.capacity.to_string(), full]
    }
}

/// Counts what is in the maps, those pinned in `directory` that only the programs fill included.
pub(super) fn read(maps: &KernelMaps, directory: &Path) -> anyhow::Result<(Counts, Vec<MapLine>)> {
    let snapshot = maps.snapshot().context("read the maps")?;
    let mut lines = lines(&snapshot, &maps.capacities());
    let programs = LruMaps::with_flows(directory).and_then(|mut maps| maps.usage());
    let line = |MapUsage { map, entries, capacity }| MapLine { map, entries, capacity };
    lines
        .extend(programs.context("count the entries of the programs' maps")?.into_iter().map(line));
    Ok((counts(&snapshot, &lines), lines))
}

fn counts(snapshot: &Snapshot, lines: &[MapLine]) -> Counts {
    let whole =
        |(name, _): &(String, Family)| Some(name.rsplit_once('/')?.0.split(':').next()?.to_owned());
    let is_flows = |line: &&MapLine| [map::FLOWS_V4, map::FLOWS_V6].contains(&line.map);
    Counts {
        services: snapshot.names.values().filter_map(whole).collect::<BTreeSet<_>>().len(),
        service_ports: snapshot.services.len(),
        frontends: snapshot.frontends.len(),
        backends: snapshot.backends.len(),
        serving: snapshot.backends.values().filter(|backend| backend.serving).count(),
        flow_entries: lines.iter().filter(is_flows).map(|line| line.entries).sum(),
    }
}

/// The maps that the agent fills.
fn lines(snapshot: &Snapshot, room: &Capacities) -> Vec<MapLine> {
    let line = |map, entries, capacity| MapLine { map, entries, capacity };
    let slots = snapshot.services.values().map(|it| it.cluster.len() + it.local.len()).sum();
    let mut lines = vec![
        line(map::SERVICES, snapshot.services.len(), room.services - 1),
        line(map::SLOTS, slots, room.slots),
        line(map::SERVICE_NAMES, snapshot.names.len(), room.services),
        line(map::INTERFACES, snapshot.interfaces.len(), capacity::INTERFACES),
    ];
    for family in [Family::V4, Family::V6] {
        let frontends = snapshot.frontends.keys().filter(|it| is_of(family, &it.ip)).count();
        let addresses = snapshot.addresses.keys().filter(|ip| is_of(family, ip)).count();
        let backends = snapshot.backends.keys().filter(|(of, _)| *of == family).count();
        let ranges = snapshot.source_ranges.iter().filter(|(_, net)| is_of(family, &net.addr()));
        let clients = snapshot.clients.keys().filter(|net| is_of(family, &net.addr())).count();
        let cidrs = snapshot.service_cidrs.iter().filter(|net| is_of(family, &net.addr())).count();
        lines.extend([
            line(frontends_map(family), frontends, room.frontends),
            line(addresses_map(family), addresses, room.frontends),
            line(backends_map(family), backends, room.backends - 1),
            line(source_ranges_map(family), ranges.count(), room.source_ranges),
            line(clients_map(family), clients, room.clients),
            line(service_cidrs_map(family), cidrs, capacity::SERVICE_CIDRS),
        ]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_two_ports_and_families_is_one_service() {
        let name = |port: &str, family| (format!("shop/web:{port}/TCP"), family);
        let names = [name("http", Family::V4), name("https", Family::V4), name("http", Family::V6)];
        let names = (1..).zip(names).chain([(9, ("shop/api/UDP".to_owned(), Family::V4))]);
        let snapshot = Snapshot { names: names.collect(), ..Snapshot::default() };
        let flows = |map| MapLine { map, entries: 3, capacity: 10 };
        let lines = [flows(map::FLOWS_V4), flows(map::FLOWS_V6), flows(map::AFFINITY_V4)];
        let expected = Counts { services: 2, flow_entries: 6, ..Counts::default() };
        assert_eq!(counts(&snapshot, &lines), expected);
    }

    #[test]
    fn a_map_is_full_in_percent() {
        let line = |entries, capacity| MapLine { map: map::SLOTS, entries, capacity };
        assert_eq!(line(0, 0).cells()[3], "0 %");
        assert_eq!(line(3, 4).cells(), ["SLOTS", "3", "4", "75 %"]);
    }
}
