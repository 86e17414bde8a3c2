//! `waggle backends`: who serves, and how many flows each has. Reads the pinned maps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use lb_common::net::Family;
use serde::Serialize;

use super::Global;
use super::inspect::{is_of, open};
use super::output::{self, Format};
use crate::maps::dump::FlowRow;
use crate::maps::{BackendEntry, BackendId, ReadBack as _, Snapshot, flows_map};

/// Flags of `waggle backends`.
#[derive(Debug, Args)]
pub struct BackendsArgs {
    /// Only backends of this service
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]")]
    service: Option<String>,
}

pub(super) fn run(global: &Global, args: &BackendsArgs) -> anyhow::Result<ExitCode> {
    let maps = open(global)?;
    let mut lines = lines(&maps.snapshot()?, &maps.flows()?);
    if let Some(wanted) = &args.service {
        lines.retain(|line| is_of(&line.service, wanted));
    }
    match global.output {
        Format::Json => output::json(&lines)?,
        Format::Table => {
            let header = ["SERVICE", "ADDRESS", "STATE", "NODE", "LISTS", "FLOWS"];
            output::text(&output::table(header, lines.iter().map(Line::cells).collect()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A backend as people look at it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    service: String,
    address: SocketAddr,
    serving: bool,
    /// On this node.
    local: bool,
    /// The lists of its Service that it is in: new flows may go to it.
    lists: Vec<&'static str>,
    /// Flows that were sent to it, whatever became of them.
    flows: usize,
}

impl Line {
    fn cells(&self) -> [String; 6] {
        [
            self.service.clone(),
            self.address.to_string(),
            if self.serving { "serving" } else { "not serving" }.to_owned(),
            if self.local { "this" } else { "other" }.to_owned(),
            if self.lists.is_empty() { "-".to_owned() } else { self.lists.join(",") },
            self.flows.to_string(),
        ]
    }
}

/// All backends in use, by Service and address.
fn lines(snapshot: &Snapshot, flows: &[FlowRow]) -> Vec<Line> {
    let counts = counts(flows);
    let line = |(&(family, id), backend): (&(Family, BackendId), &BackendEntry)| {
        let key = (flows_map(family), id, backend.generation);
        let name = snapshot.names.get(&backend.service);
        let lists = [("cluster", backend.in_cluster_list), ("local", backend.in_local_list)];
        Line {
            service: name.map_or_else(|| backend.service.to_string(), |(name, _)| name.clone()),
            address: backend.address,
            serving: backend.serving,
            local: backend.local,
            lists: lists.into_iter().filter(|(_, is_in)| *is_in).map(|(list, _)| list).collect(),
            flows: counts.get(&key).copied().unwrap_or(0),
        }
    };
    let mut lines: Vec<_> = snapshot.backends.iter().map(line).collect();
    lines.sort_by(|a, b| (&a.service, a.address).cmp(&(&b.service, b.address)));
    lines
}

/// How many requests' entries there are of each backend, by the flows' map, its id and its generation.
fn counts(flows: &[FlowRow]) -> BTreeMap<(&'static str, BackendId, u32), usize> {
    let mut counts = BTreeMap::new();
    for row in flows.iter().filter(|row| !row.reply && row.set_dst.is_some()) {
        *counts.entry((row.map, row.backend, row.generation)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use lb_common::abi::flow::{Flow, FlowKey, flags};
    use lb_common::net::Addr4;

    use super::*;

    fn backend(port: u16, generation: u32, in_local_list: bool) -> BackendEntry {
        BackendEntry {
            address: ([10, 1, 0, 3], port).into(),
            service: 7,
            generation,
            serving: in_local_list,
            local: in_local_list,
            in_cluster_list: true,
            in_local_list,
        }
    }

    fn flow(backend: u32, generation: u32, set: u16) -> FlowRow {
        let flow = Flow::<Addr4> { backend, generation, flags: set, ..Flow::default() };
        FlowRow::new(&FlowKey::default(), &flow)
    }

    #[test]
    fn a_backend_counts_the_requests_of_its_own_generation() {
        let snapshot = Snapshot {
            backends: [
                ((Family::V4, 1), backend(8080, 2, true)),
                ((Family::V4, 2), backend(8081, 1, false)),
            ]
            .into(),
            names: [(7, ("demo/web:http/TCP".to_owned(), Family::V4))].into(),
            ..Snapshot::default()
        };
        let flows = [
            flow(1, 2, flags::SET_DST),
            flow(1, 2, flags::SET_SRC | flags::REPLY),
            flow(1, 1, flags::SET_DST),
        ];
        let cells: Vec<_> = lines(&snapshot, &flows).iter().map(Line::cells).collect();
        let name = "demo/web:http/TCP";
        assert_eq!(cells[0], [name, "10.1.0.3:8080", "serving", "this", "cluster,local", "1"]);
        assert_eq!(cells[1], [name, "10.1.0.3:8081", "not serving", "other", "cluster", "0"]);
    }
}
