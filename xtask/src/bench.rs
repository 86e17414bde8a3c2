//! `bench`: measures; never part of the tests, for a shared machine proves nothing about time.

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::needs::Group;
use crate::progress::{Progress, stream};
use crate::workspace::Workspace;
use crate::{build, setup};

/// The benchmarks: `bench <name>` runs the example `bench-<name>` of the tests' crate.
const NAMES: [&str; 1] = ["datapath"];

/// Measure what packets cost (root).
///
/// datapath: what each kernel program costs a packet, next to the empty program of the same run.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    name: String,

    /// Arguments of the benchmark; `cargo xtask bench NAME -- --help` lists them.
    #[arg(last = true, value_name = "ARG")]
    passed_on: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Build, Group::Test], progress)?;
    let release = build::Args { release: true, ..build::Args::default() };
    let agent = build::build(release, workspace, progress)?;
    let mut command = workspace.cargo("run");
    command.args(["--quiet", "--release", "--package", "lb-tests", "--example"]);
    command.arg(format!("bench-{}", args.name)).arg("--").args(&args.passed_on);
    command.env("WAGGLE_BIN", agent);
    stream(command)
}
