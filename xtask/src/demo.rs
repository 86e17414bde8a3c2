//! `demo`: a small cluster of namespaces on this machine, to look at.

use anyhow::Result;

use crate::needs::Group;
use crate::progress::{Progress, stream};
use crate::workspace::Workspace;
use crate::{build, setup};

/// Show Waggle at work on this machine: namespaces as nodes and pods, no cluster needed (root).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments of the demo; `cargo xtask demo -- --help` lists them.
    #[arg(last = true, value_name = "ARG")]
    passed_on: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Build, Group::Test], progress)?;
    let release = build::Args { release: true, ..build::Args::default() };
    let agent = build::build(release, workspace, progress)?;
    let mut command = workspace.cargo("run");
    command.args(["--quiet", "--package", "lb-tests", "--example", "demo", "--"]);
    command.args(&args.passed_on).env("WAGGLE_BIN", agent);
    stream(command)
}
