//! `setup` on machines that exist only here.

use std::cell::{Cell, RefCell};

use super::*;
use crate::needs::NEEDS;

/// A machine on which `present` is installed, and what was run on it.
struct FakeHost {
    present: fn(&Check) -> bool,
    root: bool,
    installs_work: bool,
    installed: Cell<bool>,
    commands: RefCell<Vec<String>>,
}

impl FakeHost {
    fn new(present: fn(&Check) -> bool) -> Self {
        Self {
            present,
            root: true,
            installs_work: true,
            installed: Cell::new(false),
            commands: RefCell::default(),
        }
    }
}

impl Host for FakeHost {
    fn has(&self, check: &Check) -> bool {
        (self.present)(check) || (self.installed.get() && self.installs_work)
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn install(&self, _title: &str, _env: &[(&str, &str)], command: &[&str]) -> Result<()> {
        self.installed.set(true);
        self.commands.borrow_mut().push(command.join(" "));
        Ok(())
    }
}

fn only_apt(check: &Check) -> bool {
    matches!(check, Check::Program("apt-get"))
}

fn error(host: &FakeHost) -> String {
    ensure(host, &[Group::Build]).unwrap_err().to_string()
}

#[test]
fn nothing_is_run_where_all_is_there() {
    let host = FakeHost::new(|_| true);
    ensure(&host, &[Group::Build, Group::Static, Group::Test, Group::Lint]).unwrap();
    assert_eq!(*host.commands.borrow(), [""; 0]);
}

#[test]
fn packages_come_in_one_call_and_before_what_is_built_with_them() {
    let host = FakeHost::new(only_apt);
    ensure(&host, &[Group::Build]).unwrap();
    let commands = host.commands.borrow();
    let starts: Vec<_> = commands.iter().map(|line| line.split(' ').take(3).collect()).collect();
    let expected = ["apt-get update", "apt-get install --yes", "rustup component add"];
    assert_eq!(
        starts.iter().map(|words: &Vec<_>| words.join(" ")).take(3).collect::<Vec<_>>(),
        expected
    );
    assert!(commands[1].contains("llvm-22-dev libpolly-22-dev"), "{commands:?}");
    assert!(commands[3].starts_with("cargo install bpf-linker --version 0.13.0"), "{commands:?}");
}

#[test]
fn a_missing_component_alone_needs_neither_apt_nor_root() {
    let mut host = FakeHost::new(|check| matches!(check, Check::Version(..)));
    host.root = false;
    ensure(&host, &[Group::Build]).unwrap();
    let expected = "rustup component add rust-src --toolchain 1.95.0";
    assert_eq!(*host.commands.borrow(), [expected]);
}

#[test]
fn without_apt_nothing_is_installed_and_the_way_is_told() {
    let host = FakeHost::new(|_| false);
    let error = error(&host);
    assert!(error.starts_with("no apt-get here; nothing was installed"), "{error}");
    assert!(error.contains("llvm-22-dev"), "{error}");
    assert!(error.contains("`LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker"), "{error}");
    assert_eq!(*host.commands.borrow(), [""; 0]);
}

#[test]
fn without_root_no_package_is_installed() {
    let mut host = FakeHost::new(only_apt);
    host.root = false;
    assert!(error(&host).starts_with("only root may install packages"));
    assert_eq!(*host.commands.borrow(), [""; 0]);
}

#[test]
fn an_installation_without_effect_is_an_error() {
    let mut host = FakeHost::new(only_apt);
    host.installs_work = false;
    assert_eq!(
        error(&host),
        "still missing after installing: rust-src, bpf-linker 0.13.0; is it in PATH?"
    );
}

#[test]
fn every_need_can_be_installed() {
    for need in NEEDS {
        assert!(!need.packages.is_empty() || need.install.is_some(), "{}", need.name);
    }
}

#[test]
fn the_toolchain_is_the_one_that_is_pinned() {
    let pinned = include_str!("../../../rust-toolchain.toml");
    assert!(pinned.contains(&format!("channel = \"{}\"", crate::needs::TOOLCHAIN)));
}
