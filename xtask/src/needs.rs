//! What this repository needs of the machine: one table, and how to look and install.
//!
//! The table is data; [`Host`] is the machine. Looking never changes anything.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::progress::Progress;

/// The compiler, as `rust-toolchain.toml` pins it.
pub(crate) const TOOLCHAIN: &str = "1.95.0";
/// The toolchain that has Miri. Nothing else needs it.
pub(crate) const NIGHTLY: &str = "nightly";
/// The target of `build --static`.
pub(crate) const STATIC_TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// The same for the other processor that images are made for.
pub(crate) const FOREIGN_TARGET: &str = if cfg!(target_arch = "aarch64") {
    "x86_64-unknown-linux-musl"
} else {
    "aarch64-unknown-linux-musl"
};
/// Where Python finds Helm: its Go library, in the Python package helm-python-sdk.
pub(crate) const HELM: &str = "/usr/local/lib/helm-python-sdk";

/// Something that must be on the machine.
#[derive(Debug)]
pub(crate) struct Need {
    /// What people call it.
    pub(crate) name: &'static str,
    /// What we use it for.
    pub(crate) why: &'static str,
    /// When it is needed.
    pub(crate) group: Group,
    /// How to see that it is there.
    pub(crate) check: Check,
    /// How to get it: first these Debian packages, …
    pub(crate) packages: &'static [&'static str],
    /// … then this command.
    pub(crate) install: Option<Install>,
}

/// What a need is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Building the kernel programs and the agent.
    Build,
    /// Building the agent without a C library of the system.
    Static,
    /// Building the agent for the other processor that images are made for.
    Cross,
    /// Rendering the chart.
    Helm,
    /// Running the tests.
    Test,
    /// Looking over the code.
    Lint,
    /// Fuzzing the datapath.
    Fuzz,
    /// Running the datapath under Miri.
    Miri,
}

/// How to see that something is there.
#[derive(Debug)]
pub(crate) enum Check {
    /// A program in `PATH`.
    Program(&'static str),
    /// A program whose `--version` prints exactly this.
    Version(&'static str, &'static str),
    /// A path of the machine.
    Path(&'static str),
    /// A path in the toolchain's folder.
    Toolchain(&'static str),
    /// A path in the folder of the toolchain [`NIGHTLY`], whichever version that is.
    Nightly(&'static str),
}

/// A command that installs something Debian does not package.
#[derive(Debug)]
pub(crate) struct Install {
    /// Variables to set for it.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// The program and its arguments.
    pub(crate) command: &'static [&'static str],
}

/// The machine.
pub(crate) trait Host {
    /// Whether `check` finds what it looks for.
    fn has(&self, check: &Check) -> bool;
    /// Whether we may install packages.
    fn is_root(&self) -> bool;
    /// Runs `command` with `env` as the step `title`.
    fn install(&self, title: &str, env: &[(&str, &str)], command: &[&str]) -> Result<()>;
}

/// Keeps the daemon that a package has started from running, now and at each boot.
const DISABLE: &str = r#"update-rc.d "$0" disable && { invoke-rc.d --quiet "$0" stop || true; }"#;

const fn by(command: &'static [&'static str]) -> Install {
    Install { env: &[], command }
}

/// A program that comes in a Debian package.
const fn tool(program: &'static str, packages: &'static [&'static str], why: &'static str) -> Need {
    let check = Check::Program(program);
    Need { name: program, why, group: Group::Test, check, packages, install: None }
}

/// Everything. Order is order of installation.
pub(crate) const NEEDS: &[Need] = &[
    Need {
        name: "rust-src",
        why: "core for the BPF target is built from source",
        group: Group::Build,
        check: Check::Toolchain("lib/rustlib/src/rust/library/core/src/lib.rs"),
        packages: &[],
        install: Some(by(&["rustup", "component", "add", "rust-src", "--toolchain", TOOLCHAIN])),
    },
    Need {
        name: "bpf-linker 0.13.0",
        why: "links the kernel programs; built against LLVM 22, the compiler's own version",
        group: Group::Build,
        check: Check::Version("bpf-linker", "bpf-linker 0.13.0"),
        packages: &["llvm-22-dev", "libpolly-22-dev", "g++"],
        install: Some(Install {
            env: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
            command: &[
                "cargo",
                "install",
                "bpf-linker",
                "--version",
                "0.13.0",
                "--locked",
                "--no-default-features",
                "--features",
                "llvm-22",
            ],
        }),
    },
    Need {
        name: "rustfmt",
        why: "`lint` checks the layout of the code",
        group: Group::Lint,
        check: Check::Toolchain("bin/rustfmt"),
        packages: &[],
        install: Some(by(&["rustup", "component", "add", "rustfmt", "--toolchain", TOOLCHAIN])),
    },
    Need {
        name: "clippy",
        why: "`lint` looks for likely mistakes",
        group: Group::Lint,
        check: Check::Toolchain("bin/cargo-clippy"),
        packages: &[],
        install: Some(by(&["rustup", "component", "add", "clippy", "--toolchain", TOOLCHAIN])),
    },
    Need {
        name: "musl target",
        why: "`build --static` links against it",
        group: Group::Static,
        check: if cfg!(target_arch = "aarch64") {
            Check::Toolchain("lib/rustlib/aarch64-unknown-linux-musl")
        } else {
            Check::Toolchain("lib/rustlib/x86_64-unknown-linux-musl")
        },
        packages: &[],
        install: Some(by(&["rustup", "target", "add", STATIC_TARGET, "--toolchain", TOOLCHAIN])),
    },
    Need {
        name: "musl-gcc",
        why: "`build --static` compiles the C parts of TLS with it",
        group: Group::Static,
        check: Check::Program("musl-gcc"),
        packages: &["musl-tools"],
        install: None,
    },
    Need {
        name: "musl target of the other processor",
        why: "`image` links against it",
        group: Group::Cross,
        check: if cfg!(target_arch = "aarch64") {
            Check::Toolchain("lib/rustlib/x86_64-unknown-linux-musl")
        } else {
            Check::Toolchain("lib/rustlib/aarch64-unknown-linux-musl")
        },
        packages: &[],
        install: Some(by(&["rustup", "target", "add", FOREIGN_TARGET, "--toolchain", TOOLCHAIN])),
    },
    Need {
        name: "gcc of the other processor",
        why: "`image` compiles the C parts of TLS with it",
        group: Group::Cross,
        check: if cfg!(target_arch = "aarch64") {
            Check::Program("x86_64-linux-gnu-gcc")
        } else {
            Check::Program("aarch64-linux-gnu-gcc")
        },
        packages: if cfg!(target_arch = "aarch64") {
            &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"]
        } else {
            &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]
        },
        install: None,
    },
    Need {
        name: "pip",
        why: "installs Helm",
        group: Group::Helm,
        check: Check::Program("pip3"),
        packages: &["python3-pip"],
        install: None,
    },
    Need {
        name: "Helm 4.2.3",
        why: "`manifests` renders the chart with it",
        group: Group::Helm,
        check: Check::Path("/usr/local/lib/helm-python-sdk/helm_python_sdk-0.2.2.dist-info"),
        packages: &[],
        install: Some(by(&[
            "python3",
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--target",
            HELM,
            "helm-python-sdk==0.2.2",
        ])),
    },
    Need {
        name: "cargo-fuzz 0.13.2",
        why: "`fuzz` builds its targets with it",
        group: Group::Fuzz,
        check: Check::Version("cargo-fuzz", "cargo-fuzz 0.13.2"),
        packages: &[],
        install: Some(by(&["cargo", "install", "cargo-fuzz", "--version", "0.13.2", "--locked"])),
    },
    Need {
        name: "c++",
        why: "`fuzz` compiles the fuzzing engine with it",
        group: Group::Fuzz,
        check: Check::Program("c++"),
        packages: &["g++"],
        install: None,
    },
    Need {
        name: "nightly",
        why: "only this toolchain has Miri",
        group: Group::Miri,
        check: Check::Nightly("bin/rustc"),
        packages: &[],
        install: Some(by(&[
            "rustup",
            "toolchain",
            "install",
            NIGHTLY,
            "--profile",
            "minimal",
            "--no-self-update",
        ])),
    },
    Need {
        name: "Miri",
        why: "`miri` interprets the datapath with it",
        group: Group::Miri,
        check: Check::Nightly("bin/miri"),
        packages: &[],
        install: Some(by(&["rustup", "component", "add", "miri", "--toolchain", NIGHTLY])),
    },
    Need {
        name: "rust-src of nightly",
        why: "Miri interprets the standard library as well",
        group: Group::Miri,
        check: Check::Nightly("lib/rustlib/src/rust/library/std/src/lib.rs"),
        packages: &[],
        install: Some(by(&["rustup", "component", "add", "rust-src", "--toolchain", NIGHTLY])),
    },
    tool("ip", &["iproute2"], "the lab makes network namespaces, links and routes"),
    tool("nft", &["nftables"], "the tests look at what others' rules see"),
    tool("bpftool", &["bpftool"], "the tests compare what it prints before and after us"),
    tool("sysctl", &["procps"], "the lab sets rp_filter and forwarding"),
    tool("nsenter", &["util-linux"], "the lab runs programs inside a namespace"),
    tool("curl", &["curl"], "the tests ask health checks and metrics as a probe does"),
    tool("unshare", &["util-linux"], "the story's pods have files of their own about names"),
    tool("dnsmasq", &["dnsmasq-base"], "the story's pods look names up in it"),
    Need {
        name: "unbound",
        why: "a resolver of the tests; Debian would also run one on port 53, now and at each boot",
        group: Group::Test,
        check: Check::Program("unbound"),
        packages: &["unbound"],
        install: Some(by(&["sh", "-c", DISABLE, "unbound"])),
    },
    Need {
        name: "nginx",
        why: "the story's ingress; Debian would also run one on port 80, now and at each boot",
        group: Group::Test,
        check: Check::Program("nginx"),
        packages: &["nginx"],
        install: Some(by(&["sh", "-c", DISABLE, "nginx"])),
    },
];

/// The needs of `groups` that `host` does not meet.
pub(crate) fn missing(host: &impl Host, groups: &[Group]) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| groups.contains(&need.group) && !host.has(&need.check)).collect()
}

/// The machine we run on.
#[derive(Debug)]
pub(crate) struct Machine {
    progress: Progress,
    sysroot: PathBuf,
}

impl Machine {
    /// Asks the compiler where its toolchain is.
    pub(crate) fn new(progress: Progress) -> Self {
        let sysroot = output("rustc", &["--print", "sysroot"]).unwrap_or_default();
        Self { progress, sysroot: sysroot.into() }
    }
}

impl Host for Machine {
    fn has(&self, check: &Check) -> bool {
        match check {
            Check::Program(name) => in_path(name),
            Check::Version(program, version) => {
                output(program, &["--version"]).is_some_and(|printed| printed == *version)
            }
            Check::Path(path) => Path::new(path).exists(),
            Check::Toolchain(path) => self.sysroot.join(path).exists(),
            Check::Nightly(path) => {
                output("rustup", &["run", NIGHTLY, "rustc", "--print", "sysroot"])
                    .is_some_and(|sysroot| Path::new(&sysroot).join(path).exists())
            }
        }
    }

    fn is_root(&self) -> bool {
        is_root()
    }

    fn install(&self, title: &str, env: &[(&str, &str)], command: &[&str]) -> Result<()> {
        let [program, arguments @ ..] = command else { return Ok(()) };
        let mut child = Command::new(program);
        child.args(arguments).envs(env.iter().copied());
        self.progress.step(title, child)
    }
}

/// Whether this process runs as root: the owner of its `/proc` entry is its effective user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Whether `program` is in `PATH` or where Debian keeps administrators' programs.
fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// What `program` prints, trimmed, if it is there and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
