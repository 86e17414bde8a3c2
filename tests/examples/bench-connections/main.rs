//! What connections cost through Waggle, beside the direct way and beside nftables rules of
//! kube-proxy's shape, with few Services and with many.
//!
//! Needs root and the agent that `WAGGLE_BIN` names (`cargo xtask bench connections` builds it and
//! runs this). Everything happens in namespaces of its own. Results are ratios within one run,
//! because rates of different machines and hours cannot be compared.

mod chart;
mod cpu;
mod goals;
mod load;
mod manifests;
mod measure;
mod nftables;
mod report;
mod rig;
mod server;

use std::fs::{self, File};
use std::io::stdout;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, value_parser};
use indicatif::{ProgressBar, ProgressStyle};

use cpu::Cpu;
use load::Workload;
use report::Report;
use rig::{Rig, Way};

/// Measures what connections cost through Waggle. On a machine that others use as well, start it
/// with `nice -n -20`.
#[derive(Debug, Parser)]
struct Args {
    /// How many rounds a median is made of.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each workload lasts on each path in a round, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = value_parser!(u64).range(10..))]
    slice: u64,
    /// How many Services there are, ascending.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,10000,50000", value_parser = value_parser!(u32).range(1..=60_000))]
    services: Vec<u32>,
    /// The folder for connections.txt, connections.json and connections.svg.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench"))]
    results: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let cpu = Cpu::set_apart()?;
    let rigs = build(&args.services, cpu)?;
    let report = measure(&args, &rigs, cpu)?;
    write(&report, &args.results)?;
    report.tables(&mut stdout().lock())
}

fn build(services: &[u32], cpu: Cpu) -> Result<Vec<Rig>> {
    let ways = [Way::Tc, Way::Socket, Way::Nftables];
    let filled = ways.into_iter().flat_map(|way| services.iter().map(move |many| (way, *many)));
    let wanted: Vec<_> =
        [(Way::Direct, 0), (Way::DirectAgain, 0)].into_iter().chain(filled).collect();
    let progress = bar(wanted.len())?;
    let build = |(way, services): (Way, u32)| {
        progress.set_message(format!("{}, {services} Services", way.title()));
        let rig = Rig::new(way, services, cpu);
        progress.inc(1);
        rig.with_context(|| format!("build {} with {services} Services", way.title()))
    };
    let rigs = wanted.into_iter().map(build).collect();
    progress.finish_and_clear();
    rigs
}

fn measure(args: &Args, rigs: &[Rig], cpu: Cpu) -> Result<Report> {
    let paths: Vec<_> = rigs.iter().flat_map(Rig::paths).collect();
    let rounds = usize::from(args.rounds);
    let progress = bar((rounds + 1) * paths.len() * Workload::ALL.len())?;
    progress.set_message("measuring");
    let slice = Duration::from_millis(args.slice);
    let all = measure::measure(&paths, rounds, slice, cpu, || progress.inc(1))?;
    progress.finish_and_clear();
    Report::new(&all)
}

fn write(report: &Report, folder: &PathBuf) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let create = |name| {
        let file = folder.join(name);
        File::create(&file).with_context(|| format!("write {}", file.display()))
    };
    report.tables(&mut create("connections.txt")?)?;
    serde_json::to_writer_pretty(create("connections.json")?, report)?;
    chart::draw(report, &folder.join("connections.svg"))
}

fn bar(length: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}")?;
    Ok(ProgressBar::new(u64::try_from(length)?).with_style(style))
}
