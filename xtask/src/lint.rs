//! `lint`: what must be true of the code before it is committed.
//!
//! Kernel and userspace crates are looked at in calls of their own: together, cargo would unify
//! their features and bring std and aya into the kernel programs.

use std::process::Command;

use anyhow::{Result, bail};

use crate::needs::Group;
use crate::progress::Progress;
use crate::workspace::{Object, Workspace};
use crate::{build, manifests, setup};

/// Check layout, lints, documentation and the house rules; changes nothing.
///
/// All checks run, whatever the first ones find. The house rules are tests of their own: see
/// xtask/src/tidy.rs for each rule and how an exception is noted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: &Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    setup::need(&[Group::Build, Group::Lint], progress)?;
    // The agent cannot even be checked without the objects that it embeds.
    build::kernel_object(workspace, progress, Object::Datapath)?;
    build::kernel_object(workspace, progress, Object::Logging)?;
    let mut failed: Vec<_> = steps(workspace)
        .into_iter()
        .filter_map(|(title, command)| progress.step(title, command).err().map(|_| title))
        .collect();
    let manifests = manifests::run(&manifests::Args { check: true }, workspace, progress);
    if let Err(error) = manifests {
        eprintln!("{error:#}");
        failed.push("manifests");
    }
    if !failed.is_empty() {
        bail!("{} failed, see above", failed.join(", "));
    }
    Ok(())
}

fn steps(workspace: &Workspace) -> Vec<(&'static str, Command)> {
    vec![
        ("fmt", with(workspace.cargo("fmt"), &["--all", "--", "--check"])),
        ("clippy", clippy(workspace.cargo("clippy"), &["--all-targets"])),
        ("clippy with datapath-log", {
            let features = ["--all-targets", "--features", "lb-userspace/datapath-log"];
            clippy(workspace.cargo("clippy"), &features)
        }),
        ("clippy lb-common bare", lb_common(workspace, "")),
        ("clippy lb-common native", lb_common(workspace, "native")),
        ("clippy lb-common user", lb_common(workspace, "user")),
        ("clippy lb-ebpf", clippy(workspace.cargo_bpf("clippy", Object::Datapath), &[])),
        ("clippy lb-ebpf with log", clippy(workspace.cargo_bpf("clippy", Object::Logging), &[])),
        ("clippy lb-bench", clippy(workspace.cargo_bpf("clippy", Object::Bench), &[])),
        ("rustdoc", rustdoc(workspace)),
        ("tidy", with(workspace.cargo("test"), &["--package", "xtask", "tidy"])),
    ]
}

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

fn clippy(command: Command, arguments: &[&str]) -> Command {
    with(with(command, arguments), &["--", "-D", "warnings"])
}

/// `lb-common` as each of its users sees it: the kernel programs, the tests and the agent.
fn lb_common(workspace: &Workspace, features: &str) -> Command {
    let arguments = ["--package", "lb-common", "--all-targets", "--features", features];
    clippy(workspace.cargo("clippy"), &arguments)
}

fn rustdoc(workspace: &Workspace) -> Command {
    let mut command = with(workspace.cargo("doc"), &["--no-deps", "--document-private-items"]);
    // The documentation is for those who work on it, so links may lead to private items.
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
    command
}
