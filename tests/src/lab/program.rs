//! Somebody else's program (a name server, a proxy), running in a namespace until it is dropped.
//!
//! It and the processes it starts are one process group, which ends as a whole. What it prints goes
//! to a file of its own folder, and is shown when the test that owns it fails.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Namespace, temporary_directory, wait_for};

/// A running program, killed with its children when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    process: Child,
    folder: TempDir,
}

impl Program {
    /// Starts `name` in a namespace; its arguments are told the temporary folder that it may use.
    #[must_use]
    pub fn start(ns: &Namespace, name: &str, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = temporary_directory(name);
        let log = File::create(log(&folder)).expect("make a file for what a program prints");
        let errors = log.try_clone().expect("use a file twice");
        let mut command = Command::new(name);
        command.args(arguments(folder.path())).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let process = ns.spawn(&mut command);
        let process = process.unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name: name.to_owned(), process, folder }
    }

    /// The folder that it may use.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read(log(&self.folder))
            .map(|text| String::from_utf8_lossy(&text).into())
            .unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_printed(&self, text: &str, patience: Duration) {
        wait_for(&format!("{} has printed {text:?}", self.name), patience, || {
            let printed = self.printed();
            if printed.contains(text) { Ok(()) } else { Err(printed) }
        });
    }

    /// Tells it to read its files again: SIGHUP, to itself alone.
    pub fn reload(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("signal a program that runs");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        killpg(self.pid(), Signal::SIGKILL).ok();
        self.process.wait().ok();
        if thread::panicking() {
            eprintln!("--- {} printed:\n{}---", self.name, self.printed());
        }
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}
