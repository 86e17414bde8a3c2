//! `demo`: a small cluster of namespaces on this machine, to look at.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::needs::{Group, is_root};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{build, setup};

/// Show Waggle at work on this machine: namespaces as nodes and pods, no cluster needed (root).
///
/// It sends real HTTP requests to a Service with three pods, shows who answered, shows the maps,
/// and scales the Service. Everything it makes is its own and is taken down at the end, after
/// Ctrl-C as well.
///
/// With `--story` it shows a cluster of two nodes instead: a Service found by its name, from pods,
/// nodes and outside, through an ingress, and scaled while everybody asks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the last node until Enter is pressed, to look around in it.
    #[arg(long, conflicts_with = "story")]
    stay: bool,

    /// Tell the story of a Service in a small cluster, which the tests play as well.
    #[arg(long)]
    story: bool,
}

/// Runs the command; the demo takes this process's place, so that the terminal's signals are its own.
pub(crate) fn run(args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    ensure!(
        is_root(),
        "the demo makes network namespaces and loads kernel programs: run it as root"
    );
    setup::need(&[Group::Build, Group::Test], progress)?;
    // A debug build: minutes sooner on a fresh machine, and the kernel programs are the same.
    let agent = build::build(build::Args::default(), workspace, progress)?;
    let mut example = workspace.cargo("build");
    example.args(["--package", "lb-tests", "--example", "demo"]);
    progress.step("build the demo", example)?;
    let mut demo = Command::new(workspace.target.join("debug/examples/demo"));
    demo.args(args.stay.then_some("--stay")).args(args.story.then_some("--story"));
    demo.env("WAGGLE_BIN", agent);
    Err(demo.exec()).context("start the demo")
}
