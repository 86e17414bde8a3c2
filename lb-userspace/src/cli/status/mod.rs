//! `waggle status`: how the datapath of this node is, on one screen.
//!
//! What the kernel holds is read from the pins, with or without an agent. What only the agent knows is
//! asked over HTTP where it listens; that it does not answer is told, and is an answer too.

mod agent;
mod http;
mod maps;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::agent::Agent;
use self::maps::{Counts, MapLine};
use super::output::{self, Format};
use super::{Global, inspect, runtime};
use crate::datapath::hooks::{self, Attached};
use crate::datapath::pins::Pins;
use crate::serve::BindAddress;

pub(super) const HELP: &str = "\
Exits with 1 if the agent is not well, or something is not attached that should be.";

/// Flags of `waggle status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the agent tells how it is; empty if it does not
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10256")]
    healthz_bind_address: BindAddress<10_256>,
    /// Where it tells its metrics; empty if it does not
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10249")]
    metrics_bind_address: BindAddress,
}

/// All that is shown.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    /// Of the maps' layouts.
    abi: u32,
    kernel: String,
    /// Where the maps are pinned.
    pins: PathBuf,
    agent: Agent,
    counts: Counts,
    interfaces: Vec<Attached>,
    /// The programs with a link to a cgroup.
    sockets: Vec<String>,
    maps: Vec<MapLine>,
}

pub(super) fn run(global: &Global, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = Status::gather(global, args)?;
    match global.output {
        Format::Json => output::json(&status)?,
        Format::Table => output::text(&status.text())?,
    }
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Status {
    fn gather(global: &Global, args: &StatusArgs) -> anyhow::Result<Self> {
        let (pins, opened) = (Pins::new(&global.bpffs), inspect::open(global)?);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let (counts, maps) = maps::read(&opened, &pins.maps())?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            abi: lb_common::abi::VERSION,
            kernel: release.trim().to_owned(),
            agent: Agent::ask(args.healthz_bind_address.0, args.metrics_bind_address.0),
            counts,
            interfaces: runtime()?.block_on(hooks::interfaces(&pins))?,
            sockets: hooks::sockets(&pins).context("read the pins of sockets")?,
            maps,
            pins: pins.maps(),
        })
    }

    fn is_well(&self) -> bool {
        self.agent.is_well() && self.interfaces.iter().all(Attached::is_whole)
    }

    fn text(&self) -> String {
        let Self { version, abi, kernel, pins, agent, counts, sockets, .. } = self;
        let sockets = if sockets.is_empty() { "none".to_owned() } else { sockets.join(" ") };
        let mut rows = vec![
            ["waggle".to_owned(), format!("{version}, map layout v{abi} in {}", pins.display())],
            ["kernel".to_owned(), kernel.clone()],
        ];
        rows.extend(agent.rows());
        rows.push(["holds".to_owned(), counts.to_string()]);
        rows.push(["at sockets".to_owned(), sockets]);
        let parts = [
            output::table(["STATUS", ""], rows),
            output::table(["INTERFACE", "INGRESS", "EGRESS"], self.hooks()),
            output::table(["MAP", "ENTRIES", "CAPACITY", "FULL"], self.pressure()),
            agent.problems(),
        ];
        let shown = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty());
        shown.collect::<Vec<_>>().join("\n\n")
    }

    fn hooks(&self) -> Vec<[String; 3]> {
        let row = |it: &Attached| {
            let gone = || format!("{} (gone)", it.ifindex);
            let name = it.interface.clone().unwrap_or_else(gone);
            [name, it.ingress.word().to_owned(), it.egress.word().to_owned()]
        };
        self.interfaces.iter().map(row).collect()
    }

    /// The fullest maps first; those that are empty say nothing.
    fn pressure(&self) -> Vec<[String; 4]> {
        let mut maps: Vec<_> = self.maps.iter().filter(|map| map.entries > 0).collect();
        maps.sort_by(|a, b| b.percent().total_cmp(&a.percent()).then(a.map.cmp(b.map)));
        maps.iter().map(|map| map.cells()).collect()
    }
}
