//! `build`: the kernel object first, then the agent with the object inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::needs::{Group, STATIC_TARGET};
use crate::progress::Progress;
use crate::setup;
use crate::workspace::{BPF_TARGET, Object, Workspace};

/// Build the kernel programs and the agent `waggle` that carries them.
///
/// The result is one file, target/debug/waggle or, with --release, target/release/waggle. It needs
/// no compiler, no headers and no other file where it runs.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Optimise the agent (the kernel programs always are).
    #[arg(long)]
    pub(crate) release: bool,

    /// Link against musl, so that the agent runs on any Linux of this architecture.
    #[arg(long = "static")]
    pub(crate) is_static: bool,

    /// Embed the kernel programs that print every packet they rewrite or drop to the agent's log.
    #[arg(long)]
    pub(crate) datapath_log: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args, workspace: &Workspace, progress: Progress) -> Result<()> {
    let binary = build(args, workspace, progress)?;
    let shown = binary.strip_prefix(&workspace.root).unwrap_or(&binary);
    let bytes = fs::metadata(&binary).with_context(|| format!("find {}", shown.display()))?.len();
    eprintln!("{} ({} KiB)", shown.display(), bytes / 1024);
    Ok(())
}

/// Builds both and returns the path of the agent.
pub(crate) fn build(args: Args, workspace: &Workspace, progress: Progress) -> Result<PathBuf> {
    let mut groups = vec![Group::Build];
    groups.extend(args.is_static.then_some(Group::Static));
    setup::need(&groups, progress)?;
    let object = if args.datapath_log { Object::Logging } else { Object::Datapath };
    kernel_object(workspace, progress, object)?;
    progress.step("build the agent", agent_command(args, workspace))?;
    Ok(agent_path(args, workspace))
}

/// Builds kernel programs and puts the object where those who embed or load it look for it.
pub(crate) fn kernel_object(
    workspace: &Workspace,
    progress: Progress,
    object: Object,
) -> Result<()> {
    let command = workspace.cargo_bpf("build", object);
    progress.step(&format!("build {}", object.title()), command)?;
    let built =
        workspace.target.join("ebpf").join(BPF_TARGET).join("release").join(object.binary());
    copy_if_different(&built, &workspace.kernel_object(object))
}

/// A debug agent is built with the features that the tests' crates ask of shared dependencies, so
/// that the tests do not build them again; one that is to be used has its own features only.
fn agent_command(args: Args, workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("build");
    command.args(["--bin", "waggle"]);
    if args.release || args.is_static {
        command.args(["--package", "lb-userspace"]);
    }
    if args.release {
        command.arg("--release");
    }
    if args.is_static {
        command.args(["--target", STATIC_TARGET]);
    }
    if args.datapath_log {
        command.args(["--features", "lb-userspace/datapath-log"]);
    }
    command
}

fn agent_path(args: Args, workspace: &Workspace) -> PathBuf {
    let target = if args.is_static { STATIC_TARGET } else { "" };
    let profile = if args.release { "release" } else { "debug" };
    workspace.target.join(target).join(profile).join("waggle")
}

/// A file that is not touched does not make cargo build the agent again.
fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(to, new).with_context(|| format!("write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(args: Args) -> String {
        let workspace = Workspace { root: "/w".into(), target: "/w/target".into() };
        let command = agent_command(args, &workspace);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        format!("{} > {}", words.join(" "), agent_path(args, &workspace).display())
    }

    #[test]
    fn a_debug_agent_shares_its_dependencies_with_the_tests() {
        assert_eq!(arguments(Args::default()), "build --bin waggle > /w/target/debug/waggle");
    }

    #[test]
    fn an_agent_to_be_used_has_only_its_own_features() {
        let args = Args { release: true, ..Args::default() };
        let expected =
            "build --bin waggle --package lb-userspace --release > /w/target/release/waggle";
        assert_eq!(arguments(args), expected);
    }

    #[test]
    fn a_static_agent_lies_in_its_targets_folder() {
        let args = Args { is_static: true, ..Args::default() };
        let path = format!("/w/target/{STATIC_TARGET}/debug/waggle");
        assert!(arguments(args).ends_with(&path), "{}", arguments(args));
    }
}
