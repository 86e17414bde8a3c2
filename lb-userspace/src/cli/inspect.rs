//! `waggle services`, `waggle flows` and `waggle dump`: what the maps hold now.
//!
//! They read the pinned maps, so they need no agent.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use lb_common::clock::Ticks;
use serde::Serialize;

use super::Global;
use super::output::{self, Format};
use crate::datapath::pins::Pins;
use crate::flows;
use crate::maps::ReadBack as _;
use crate::maps::dump::{
    BackendRow, CarriedRow, CounterRow, Dump, FlowRow, FrontendRow, Ids, ServiceRow, SocketRow,
};
use crate::maps::kernel::KernelMaps;

/// Flags of `waggle flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Only flows of this service
    #[arg(long, value_name = "NAMESPACE/NAME[:PORT]")]
    service: Option<String>,
}

/// `waggle dump`: every map.
pub(super) fn dump(global: &Global) -> anyhow::Result<ExitCode> {
    #[derive(Serialize)]
    struct Everything {
        #[serde(flatten)]
        written: Dump,
        flows: Vec<FlowRow>,
        sockets: Vec<SocketRow>,
        carried: Vec<CarriedRow>,
        counters: Vec<CounterRow>,
    }
    let maps = open(global)?;
    let written = Dump::new(&maps.snapshot()?);
    let (flows, sockets) = (maps.flows()?, maps.sockets()?);
    let (carried, counters) = (maps.carried(), maps.counters()?);
    match global.output {
        Format::Json => output::json(&Everything { written, flows, sockets, carried, counters })?,
        Format::Table => {
            let mut text = written.text(Ids::Shown);
            text.extend(flows.iter().map(|row| format!("{row}\n")));
            text.extend(sockets.iter().map(|row| format!("{row}\n")));
            text.extend(carried.iter().map(|row| format!("{row}\n")));
            text.extend(counters.iter().map(|row| format!("{row}\n")));
            output::text(&text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `waggle services`: how services are balanced.
pub(super) fn services(global: &Global) -> anyhow::Result<ExitCode> {
    let rows = service_lines(&Dump::new(&open(global)?.snapshot()?));
    match global.output {
        Format::Json => output::json(&rows)?,
        Format::Table => {
            let header = ["SERVICE", "FAMILY", "FRONTENDS", "BACKENDS", "POLICY", "AFFINITY"];
            output::text(&output::table(header, rows.iter().map(ServiceLine::cells).collect()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `waggle flows`: who talks to whom.
pub(super) fn flows(global: &Global, args: &FlowsArgs) -> anyhow::Result<ExitCode> {
    let maps = open(global)?;
    let dump = Dump::new(&maps.snapshot()?);
    let now = flows::now().context("read the monotonic clock")?;
    let mut rows = flow_lines(&maps.flows()?, &dump.services, now);
    if let Some(wanted) = &args.service {
        rows.retain(|row| is_of(&row.service, wanted));
    }
    match global.output {
        Format::Json => output::json(&rows)?,
        Format::Table => {
            let header =
                ["CLIENT", "FRONTEND", "BACKEND", "SERVICE", "STATE", "IDLE", "PACKETS", "BYTES"];
            output::text(&output::table(header, rows.iter().map(FlowLine::cells).collect()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A service as people look at it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ServiceLine {
    name: String,
    family: &'static str,
    frontends: Vec<String>,
    backends: usize,
    serving: usize,
    policies: Vec<&'static str>,
    affinity_s: u32,
}

impl ServiceLine {
    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            self.family.to_owned(),
            self.frontends.join(","),
            format!("{}/{}", self.serving, self.backends),
            self.policies.join(","),
            if self.affinity_s == 0 { "-".into() } else { format!("{}s", self.affinity_s) },
        ]
    }
}

/// A flow as people look at it: both directions in one.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FlowLine {
    client: String,
    frontend: String,
    backend: String,
    service: String,
    state: String,
    idle_s: u64,
    packets: u64,
    bytes: u64,
}

impl FlowLine {
    fn cells(&self) -> [String; 8] {
        [
            self.client.clone(),
            self.frontend.clone(),
            self.backend.clone(),
            self.service.clone(),
            stage(&self.state).to_owned(),
            format!("{}s", self.idle_s),
            self.packets.to_string(),
            self.bytes.to_string(),
        ]
    }
}

pub(super) fn open(global: &Global) -> anyhow::Result<KernelMaps> {
    let directory = Pins::new(&global.bpffs).maps();
    let shown = directory.display();
    fs::metadata(&directory).with_context(|| {
        format!("find maps in {shown}; has an agent run with this --bpffs, and are you root?")
    })?;
    KernelMaps::from_pins(&directory).with_context(|| format!("open the maps in {shown}"))
}

fn service_lines(dump: &Dump) -> Vec<ServiceLine> {
    let frontends = by_service(&dump.frontends, |row| row.service.id);
    let backends = by_service(&dump.backends, |row| row.service.id);
    let of = |row: &ServiceRow| {
        let id = &row.service.id;
        let frontends = frontends.get(id).map_or(&[][..], Vec::as_slice);
        service_line(row, frontends, backends.get(id).map_or(&[][..], Vec::as_slice))
    };
    let mut lines: Vec<_> = dump.services.iter().filter(|row| row.in_use).map(of).collect();
    lines.sort_by(|a, b| (&a.name, a.family).cmp(&(&b.name, b.family)));
    lines
}

/// The rows of each service, in their order: one walk for all services.
fn by_service<T>(rows: &[T], service: impl Fn(&T) -> u32) -> BTreeMap<u32, Vec<&T>> {
    let mut found: BTreeMap<u32, Vec<&T>> = BTreeMap::new();
    for row in rows {
        found.entry(service(row)).or_default().push(row);
    }
    found
}

fn service_line(
    row: &ServiceRow,
    frontends: &[&FrontendRow],
    backends: &[&BackendRow],
) -> ServiceLine {
    let mut policies: Vec<_> =
        frontends.iter().map(|it| if it.local { "Local" } else { "Cluster" }).collect();
    policies.sort_unstable();
    policies.dedup();
    ServiceLine {
        name: row.service.name.clone().unwrap_or_else(|| row.service.id.to_string()),
        family: row.family,
        frontends: frontends.iter().map(|frontend| frontend.address.clone()).collect(),
        backends: backends.len(),
        serving: backends.iter().filter(|backend| backend.serving).count(),
        policies,
        affinity_s: row.affinity_s,
    }
}

/// One line a request entry, with what its reply entry has counted.
fn flow_lines(flows: &[FlowRow], services: &[ServiceRow], now: Ticks) -> Vec<FlowLine> {
    let names: BTreeMap<u32, &str> = services
        .iter()
        .filter_map(|row| Some((row.service.id, row.service.name.as_deref()?)))
        .collect();
    let replies: BTreeMap<_, &FlowRow> = flows
        .iter()
        .filter(|row| row.reply)
        .map(|row| ((&row.protocol, row.src, row.dst), row))
        .collect();
    let line = |row: &FlowRow| {
        let backend = row.set_dst?;
        let reply = replies.get(&(&row.protocol, backend, row.src));
        let seen = reply.map_or(row.seen, |reply| row.seen.max(reply.seen));
        Some(FlowLine {
            client: row.src.to_string(),
            frontend: format!("{}/{}", row.dst, row.protocol),
            backend: backend.to_string(),
            service: names
                .get(&row.service)
                .map_or_else(|| row.service.to_string(), ToString::to_string),
            state: row.state.clone(),
            idle_s: Ticks::to_seconds(now.0.saturating_sub(seen)),
            packets: row.packets + reply.map_or(0, |reply| reply.packets),
            bytes: row.bytes + reply.map_or(0, |reply| reply.bytes),
        })
    };
    flows.iter().filter(|row| !row.reply).filter_map(line).collect()
}

/// How far a flow has come, of the events seen in it.
fn stage(state: &str) -> &'static str {
    let has = |event| state.split(',').any(|word| word == event);
    match (has("client-fin"), has("server-fin")) {
        _ if has("reset") => "reset",
        (true, true) => "closed",
        (true, false) | (false, true) => "closing",
        (false, false) if has("replied") => "open",
        (false, false) => "new",
    }
}

/// Whether `name`, `namespace/name:port/PROTOCOL`, is `wanted` or a port of it.
pub(super) fn is_of(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::dump::{BackendRef, ServiceRef};

    fn web() -> ServiceRef {
        ServiceRef { id: 1, name: Some("demo/web:http/TCP".into()) }
    }

    fn service() -> ServiceRow {
        ServiceRow {
            service: web(),
            family: "IPv4",
            in_use: true,
            cluster: vec![],
            local: vec![],
            affinity_s: 60,
            usable: true,
        }
    }

    fn flow(src: &str, dst: &str, reply: bool) -> FlowRow {
        let backend = (!reply).then(|| "10.1.0.3:8080".parse().unwrap());
        FlowRow {
            map: "FLOWS_V4",
            hook: if reply { "egress" } else { "ingress" },
            protocol: "TCP".into(),
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            set_src: None,
            set_dst: backend,
            reply,
            service: 1,
            backend: 1,
            generation: 1,
            state: "replied".into(),
            packets: 2,
            bytes: 100,
            seen: if reply { 90 } else { 50 },
        }
    }

    #[test]
    fn a_service_is_one_line_with_all_its_frontends_and_backends() {
        let frontend = |address: &str, local| FrontendRow {
            map: "FRONTENDS_V4",
            address: address.into(),
            service: web(),
            local,
            external: local,
            guarded: false,
            closed: false,
            node_port: false,
        };
        let backend = |id, serving| BackendRow {
            map: "BACKENDS_V4",
            backend: BackendRef { id, address: None },
            service: web(),
            generation: 1,
            serving,
            local: false,
        };
        let dump = Dump {
            frontends: vec![
                frontend("10.96.0.10:80/TCP", false),
                frontend("192.0.2.1:80/TCP", true),
            ],
            services: vec![ServiceRow { in_use: false, ..service() }, service()],
            backends: vec![backend(1, true), backend(2, false)],
            ..Dump::default()
        };
        let lines: Vec<_> = service_lines(&dump).iter().map(ServiceLine::cells).collect();
        assert_eq!(
            lines.concat(),
            [
                "demo/web:http/TCP",
                "IPv4",
                "10.96.0.10:80/TCP,192.0.2.1:80/TCP",
                "1/2",
                "Cluster,Local",
                "60s"
            ]
        );
    }

    #[test]
    fn a_flow_is_one_line_with_what_both_directions_counted() {
        let rows = [
            flow("10.1.0.2:40000", "10.96.0.10:80", false),
            flow("10.1.0.3:8080", "10.1.0.2:40000", true),
        ];
        let lines: Vec<_> =
            flow_lines(&rows, &[service()], Ticks(100)).iter().map(FlowLine::cells).collect();
        let expected = [
            "10.1.0.2:40000",
            "10.96.0.10:80/TCP",
            "10.1.0.3:8080",
            "demo/web:http/TCP",
            "open",
            "10s",
            "4",
            "200",
        ];
        assert_eq!(lines.concat(), expected);
    }

    #[test]
    fn a_flow_is_new_open_closing_closed_or_reset() {
        let stages =
            ["", "replied", "replied,client-fin", "client-fin,server-fin", "replied,reset"];
        assert_eq!(stages.map(stage), ["new", "open", "closing", "closed", "reset"]);
    }

    #[test]
    fn a_service_is_named_with_or_without_its_port() {
        let name = "demo/web:http/TCP";
        assert!(["demo/web", "demo/web:http", name].iter().all(|wanted| is_of(name, wanted)));
        assert!(!["demo/we", "web", "demo/web:h"].iter().any(|wanted| is_of(name, wanted)));
    }
}
