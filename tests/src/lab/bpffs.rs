//! A bpf file system of one's own, for pins that vanish with it.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::leftovers::{require_root, temporary_directory};

/// A bpffs mounted on a temporary directory; unmounted and removed when dropped, with every program
/// and link that was held by a pin only.
#[derive(Debug)]
pub struct Bpffs {
    directory: TempDir,
}

impl Bpffs {
    /// Mounts one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "mounting a file system is not a default")]
    pub fn new() -> Self {
        require_root();
        let directory = temporary_directory("bpffs");
        mount(None::<&str>, directory.path(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .unwrap_or_else(|error| {
                panic!("mount a bpffs on {}: {error}", directory.path().display())
            });
        Self { directory }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        umount2(self.directory.path(), MntFlags::MNT_DETACH).ok();
    }
}
