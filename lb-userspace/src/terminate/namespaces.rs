//! Finds network namespaces by their cookies and enters them.
//!
//! A namespace has no name of its own: those with one in a directory (`ip netns`, container runtimes)
//! and those of processes are looked through, each once. The thread that enters them does nothing
//! else and ends afterwards; the caller's stays where it is.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::datapath::sockets::own_netns;

/// Does `work` for each of `wanted`, by the cookie of a namespace, on a thread inside it. A
/// namespace that cannot be found is left out: with it went its sockets, or the agent cannot see it.
///
/// An error of one does not stop the others; the first is returned. `PermissionDenied` without
/// `CAP_SYS_ADMIN`.
pub(super) fn visit<T: Send>(
    directory: &Path,
    wanted: BTreeMap<u64, T>,
    work: impl Fn(T) -> io::Result<()> + Sync,
) -> io::Result<()> {
    thread::scope(|scope| {
        let tour = scope.spawn(|| tour(directory, wanted, &work));
        tour.join().unwrap_or_else(|_| Err(io::Error::other("the thread for namespaces panicked")))
    })
}

fn tour<T>(
    directory: &Path,
    mut wanted: BTreeMap<u64, T>,
    work: &impl Fn(T) -> io::Result<()>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    let entered = each(directory, |cookie| {
        if let Some(one) = wanted.remove(&cookie) {
            outcome = std::mem::replace(&mut outcome, Ok(())).and(work(one));
        }
        if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    entered.and(outcome)
}

/// Enters every other namespace that can be found, each once, and hands its cookie to `visit` inside,
/// until that has seen enough. The calling thread stays in the last one, and is of no other use.
///
/// `PermissionDenied` without `CAP_SYS_ADMIN`.
pub(crate) fn each(
    directory: &Path,
    mut visit: impl FnMut(u64) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut seen = HashSet::from([identity(Path::new("/proc/thread-self/ns/net"))?]);
    for path in named(directory).chain(of_processes()) {
        // It may be gone by now, or not be ours to look at.
        let Ok(identity) = identity(&path) else { continue };
        if !seen.insert(identity) {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        match enter(&file) {
            Ok(cookie) => {
                if visit(cookie).is_break() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(error) => tracing::debug!(path = %path.display(), %error, "no network namespace"),
        }
    }
    Ok(())
}

/// What two paths to one namespace have in common.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Enters a namespace and returns its cookie.
fn enter(file: &File) -> io::Result<u64> {
    setns(file, CloneFlags::CLONE_NEWNET)?;
    own_netns().map_err(io::Error::other)
}

fn named(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn of_processes() -> impl Iterator<Item = PathBuf> {
    named(Path::new("/proc")).map(|process| process.join("ns/net"))
}
