//! Where things are, and how cargo is called on them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The kernel target: little-endian BPF, as both architectures we run on.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// An object of kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// The datapath.
    Datapath,
    /// The datapath that prints what it rewrites and drops.
    Logging,
    /// What the benchmark measures with.
    Bench,
}

impl Object {
    /// What is being built, for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Datapath => "the kernel programs",
            Self::Logging => "the kernel programs that log",
            Self::Bench => "the kernel programs of the benchmark",
        }
    }

    /// The binary of `lb-ebpf` that becomes this object.
    pub(crate) const fn binary(self) -> &'static str {
        match self {
            Self::Datapath | Self::Logging => "lb-ebpf",
            Self::Bench => "lb-bench",
        }
    }

    const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Datapath => None,
            Self::Logging => Some("log"),
            Self::Bench => Some("bench"),
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Datapath => "waggle.o",
            Self::Logging => "waggle-log.o",
            Self::Bench => "bench.o",
        }
    }
}

/// The repository's folders.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, `CARGO_TARGET_DIR` or `target`.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, which started us, where we are.
    pub(crate) fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .context("find the workspace: start this program as `cargo xtask`")?;
        let root = Path::new(&manifest_dir).parent().context("find the workspace")?.to_path_buf();
        let target = root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        Ok(Self { root, target })
    }

    /// `cargo <subcommand>` in the workspace, free of what cargo told this program about itself:
    /// build scripts of dependencies watch those variables and would run again each time.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        self.on_cargo(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), subcommand)
    }

    /// The same with the cargo of another toolchain, which rustup finds.
    pub(crate) fn cargo_of(&self, toolchain: &str, subcommand: &str) -> Command {
        let mut command = self.on_cargo("cargo".into(), subcommand);
        command.env("RUSTUP_TOOLCHAIN", toolchain).env_remove("CARGO");
        command
    }

    fn on_cargo(&self, cargo: OsString, subcommand: &str) -> Command {
        let mut command = Command::new(cargo);
        command.arg(subcommand).current_dir(&self.root);
        for (name, _) in env::vars_os().filter(|(name, _)| describes_this_package(name)) {
            command.env_remove(name);
        }
        command
    }

    /// `cargo <subcommand>` for the kernel programs: target, flags and target folder are their own,
    /// so that userspace builds and kernel builds never invalidate each other.
    ///
    /// The target has no prebuilt `core`, hence `build-std`, which the pinned stable compiler
    /// allows with `RUSTC_BOOTSTRAP`. BTF is made from debug information. The helpers that read
    /// registers depend on the machine's architecture (`bpf_target_arch`).
    pub(crate) fn cargo_bpf(&self, subcommand: &str, object: Object) -> Command {
        let arch_flag = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
        let flags = [&arch_flag, "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\u{1f}");
        let mut command = self.cargo(subcommand);
        command
            .args(["--release", "--package", "lb-ebpf", "--bin", object.binary()])
            .args(["--target", BPF_TARGET, "-Z", "build-std=core", "--target-dir"])
            .arg(self.target.join("ebpf"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        if let Some(feature) = object.feature() {
            command.args(["--features", feature]);
        }
        command
    }

    /// Where a finished object lies; the agent embeds one of them.
    pub(crate) fn kernel_object(&self, object: Object) -> PathBuf {
        self.target.join("datapath").join(object.file())
    }
}

fn describes_this_package(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO_BIN_NAME"
            || name == "CARGO_CRATE_NAME"
    })
}
