//! Names that carry their owner's process id, and the removal of what dead owners left behind.
//!
//! Drop removes everything on the ordinary way and after a panic; a thread that waits for SIGINT and
//! SIGTERM removes it before the process ends; what SIGKILL leaves is swept by the next process that
//! makes a name. Nothing of a living process is ever touched, so several test processes may run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, PoisonError, RwLock};
use std::thread;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use super::cgroup;

/// Where named network namespaces live, as `ip netns` has it.
pub(super) const NAMESPACES: &str = "/run/netns";

/// Panics unless the process is root: building namespaces needs it, and no test is skipped.
#[track_caller]
pub fn require_root() {
    assert!(
        Uid::effective().is_root(),
        "network namespaces are made by root only: run this with sudo or in a privileged container"
    );
}

/// A fresh name, `wg-<pid>-<n>-<label>`. The first one in a process sweeps what dead ones left.
pub(super) fn fresh_name(label: &str) -> String {
    static PREPARED: Once = Once::new();
    static NEXT: AtomicU32 = AtomicU32::new(1);
    PREPARED.call_once(|| {
        sweep(|owner| !Path::new(&format!("/proc/{owner}")).exists());
        thread::spawn(sweep_when_told_to_end);
    });
    format!("wg-{}-{}-{label}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A new directory that is removed when dropped, or by the next run if this one is killed.
#[must_use]
pub fn temporary_directory(label: &str) -> TempDir {
    let name = fresh_name(label) + "-";
    let directory = while_not_ending(|| tempfile::Builder::new().prefix(&name).tempdir());
    directory.expect("make a temporary directory")
}

/// Does what leaves something behind, unless the process is ending: then it never returns, for the
/// sweep would not see what is made after it.
pub(super) fn while_not_ending<T>(make: impl FnOnce() -> T) -> T {
    let _not_ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    make()
}

/// Written when the process ends, and not given back.
static ENDING: RwLock<()> = RwLock::new(());

/// Waits for SIGINT or SIGTERM, removes what this process owns and ends it.
#[expect(clippy::disallowed_methods, reason = "a signal ends the process wherever its main is")]
fn sweep_when_told_to_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let number = runtime.expect("start a runtime that waits for signals").block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).expect("listen for SIGINT");
        let mut terminate = signal(SignalKind::terminate()).expect("listen for SIGTERM");
        tokio::select! {
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
        }
    });
    let _ending = ENDING.write().unwrap_or_else(PoisonError::into_inner);
    sweep(|owner| owner == process::id());
    process::exit(128 + number as i32);
}

/// Removes every namespace, cgroup and temporary directory whose owner is given up. Others may be sweeping
/// at the same time, so what cannot be removed is left alone.
fn sweep(given_up: impl Fn(u32) -> bool) {
    for path in owned_entries(Path::new(NAMESPACES), &given_up) {
        end_processes_in(&path);
        umount2(&path, MntFlags::MNT_DETACH).ok();
        fs::remove_file(&path).ok();
    }
    for path in owned_entries(&cgroup::home(), &given_up) {
        for below in fs::read_dir(&path).into_iter().flatten().flatten() {
            fs::remove_dir(below.path()).ok();
        }
        fs::remove_dir(&path).ok();
    }
    for path in owned_entries(&std::env::temp_dir(), &given_up) {
        umount2(&path, MntFlags::MNT_DETACH).ok();
        fs::remove_dir_all(&path).ok();
    }
}

fn owned_entries(directory: &Path, given_up: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| owner(path).is_some_and(&given_up)).collect()
}

/// The process id in a name made by [`fresh_name`].
fn owner(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("wg-")?.split('-').next()?.parse().ok()
}

/// Kills the agents and other children that were started in the namespace; never this process.
fn end_processes_in(namespace: &Path) {
    let Ok(wanted) = fs::metadata(namespace) else { return };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(found) = fs::metadata(process.path().join("ns/net")) else { continue };
        let inside = (found.dev(), found.ino()) == (wanted.dev(), wanted.ino());
        if inside && id != Pid::this().as_raw() {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
    }
}
