//! What the agent itself costs: how long it takes from its start until everything is in the maps, how
//! much memory it keeps, and how much CPU time it takes to look whether the maps are still as they
//! should be.
//!
//! Needs root and the agent that `WAGGLE_BIN` names (`cargo xtask bench control` builds it and runs
//! this). The cluster is the lab's API server, in this process: its work is part of what a start takes.

mod cluster;
mod process;
mod report;
mod run;

use std::io::stdout;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};
use clap::Parser;
use lb_tests::lab::require_root;

/// Measures what the agent costs in clusters of several sizes.
#[derive(Debug, Parser)]
struct Args {
    /// How many Services there are, and how many endpoints each has.
    #[arg(
        long,
        value_name = "SERVICESxENDPOINTS,…",
        value_delimiter = ',',
        default_value = "1x4,10000x4,30000x4,50000x4,5000x50"
    )]
    sizes: Vec<Size>,
}

/// A cluster's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) services: u32,
    /// Of each Service.
    pub(crate) endpoints: u32,
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (services, endpoints) = text.split_once('x').context("50000x4, say")?;
        Ok(Self { services: services.parse()?, endpoints: endpoints.parse()? })
    }
}

fn main() -> Result<()> {
    require_root();
    let args = Args::parse();
    let mut rows = Vec::new();
    for size in args.sizes {
        let Size { services, endpoints } = size;
        eprintln!("{services} Services of {endpoints} endpoints …");
        let what = || format!("measure {services} Services of {endpoints} endpoints");
        rows.push(run::run(size).with_context(what)?);
    }
    report::write(&rows, &mut stdout().lock())
}
