//! `bench`: measures; never part of the tests, for a shared machine proves nothing about time.

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::needs::Group;
use crate::progress::{Progress, stream};
use crate::workspace::{Object, Workspace};
use crate::{build, setup};

/// The benchmarks: `bench <name>` runs the example `bench-<name>` of the tests' crate.
const NAMES: [&str; 3] = ["connections", CONTROL, DATAPATH];
const CONTROL: &str = "control";
const DATAPATH: &str = "datapath";

/// Measure what packets and connections cost, and the agent itself (root).
///
/// connections: short and long connections and UDP through Waggle and through nftables, as ratios
/// to the direct way in the same round, with 1 to 50,000 Services. About seven minutes.
///
/// control: the agent's own time and memory in clusters of up to 50,000 Services: its start, what it
/// keeps, and its look at whether the maps are as they should be. About four minutes.
///
/// datapath: what each kernel program costs a packet, as a ratio to one map hit of the same run.
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
    // The agent embeds the datapath's object; what is measured runs in the kernel, so that nothing
    // here needs to be optimised, unless the agent itself is measured.
    let release = args.name == CONTROL;
    let agent = build::build(build::Args { release, ..Default::default() }, workspace, progress)?;
    let mut command = workspace.cargo("run");
    command.args(["--quiet", "--package", "lb-tests", "--example"]);
    command.arg(format!("bench-{}", args.name)).arg("--").args(&args.passed_on);
    if args.name == DATAPATH {
        build::kernel_object(workspace, progress, Object::Bench)?;
        command.arg("--objects").arg(workspace.kernel_object(Object::Bench).with_file_name(""));
    } else {
        command.env("WAGGLE_BIN", agent);
    }
    stream(command)
}
