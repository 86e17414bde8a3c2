//! A cgroup for the processes of one node, so that what an agent attaches to it meets no others.
//!
//! A threaded one (cgroups(7)): threads of this process that act inside a namespace enter it, and the
//! sockets they make belong to it wherever they are used later.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::leftovers::{fresh_name, while_not_ending};

/// A cgroup, removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one below that of this process.
    #[must_use]
    pub(super) fn new(label: &str) -> Self {
        Self::at(home().join(fresh_name(label)))
    }

    /// Makes one called `name` below another.
    #[must_use]
    pub(super) fn below(above: &Self, name: &str) -> Self {
        Self::at(above.path.join(name))
    }

    fn at(path: PathBuf) -> Self {
        let make =
            || fs::create_dir(&path).and_then(|()| fs::write(path.join("cgroup.type"), "threaded"));
        while_not_ending(make)
            .unwrap_or_else(|error| panic!("make the cgroup {}: {error}", path.display()));
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the calling thread into it, and with it what processes the thread starts.
    pub(super) fn enter(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.threads"), "0")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.path).ok();
    }
}

/// The directory of this process's own cgroup.
pub(super) fn home() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("read /proc/mounts");
    let mount = mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, at, "cgroup2", ..] => Some(at.to_owned()),
        _ => None,
    });
    let own = fs::read_to_string("/proc/self/cgroup").expect("read /proc/self/cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let (mount, own) = mount.zip(own).expect("a cgroup2 is mounted, at /sys/fs/cgroup by custom");
    Path::new(&mount).join(own)
}
