//! `miri`: the datapath under an interpreter that knows what is undefined.

use std::process::Command;

use anyhow::Result;

use crate::needs::{Group, NIGHTLY};
use crate::progress::Progress;
use crate::setup;
use crate::workspace::Workspace;

/// Look for undefined behaviour in what kernel and agent share, with Miri.
///
/// Runs the unit tests of lb-common, and every packet of the fuzz corpus through the decisions of the
/// datapath. The one command that needs a nightly toolchain.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Miri], progress)?;
    progress.step(
        "miri: the tests of lb-common",
        miri(workspace, &["--package", "lb-common", "--features", "native"]),
    )?;
    progress.step(
        "miri: the fuzz corpus",
        miri(workspace, &["--manifest-path", "fuzz/Cargo.toml", "--test", "corpus"]),
    )
}

fn miri(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.cargo_of(NIGHTLY, "miri");
    command.arg("test").args(arguments).arg("--target-dir").arg(workspace.target.join("miri"));
    // The corpus is read from files, and proptest asks where it is. Each case takes a second.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "8");
    command
}
