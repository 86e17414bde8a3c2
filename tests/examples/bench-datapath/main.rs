//! What a packet costs in the kernel programs, measured with `BPF_PROG_TEST_RUN`.
//!
//! Needs root and both objects (`cargo xtask bench datapath` builds them and runs this). Attaches
//! nothing and leaves nothing behind. Results are ratios to one `LRU_HASH` hit of the same run,
//! because nanoseconds of different machines and hours cannot be compared.

use std::io::stdout;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lb_common::net::Family;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

mod frame;
mod kernel;
mod measure;
mod report;
mod scenario;

use report::Row;

/// Measures what a packet costs in the kernel programs.
#[derive(Debug, Parser)]
struct Args {
    /// The folder with waggle.o and bench.o.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/datapath"))]
    objects: PathBuf,
    /// How many good samples a median is made of.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(9..))]
    samples: u16,
    /// Only scenarios with this in their name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> Result<()> {
    let args = Args::parse();
    stay_on_this_cpu()?;
    let rows = measure(&args)?;
    match args.output {
        Output::Table => report::table(&mut stdout().lock(), &rows),
        Output::Json => report::json(&mut stdout().lock(), &rows),
    }
}

fn measure(args: &Args) -> Result<Vec<Row>> {
    let scenarios: Vec<_> =
        scenario::ALL.into_iter().filter(|scenario| scenario.name.contains(&args.only)).collect();
    let samples = usize::from(args.samples);
    let hops: usize = scenarios.iter().map(|scenario| scenario.hops.len()).sum();
    let progress = ProgressBar::new(u64::try_from(2 * hops * samples)?)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}")?);
    let mut rows = Vec::new();
    for family in [Family::V4, Family::V6] {
        for scenario in &scenarios {
            let name = format!("{}, {}", report::name(family), scenario.name);
            progress.set_message(name.clone());
            let cost =
                measure::measure(&args.objects, family, *scenario, samples, || progress.inc(1))
                    .with_context(|| format!("measure {name}"))?;
            rows.push(Row::new(family, *scenario, cost));
        }
    }
    progress.finish_and_clear();
    Ok(rows)
}

/// A cache that is warm on one CPU is not on another.
fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu().context("ask for the CPU")?)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("stay on one CPU")
}
