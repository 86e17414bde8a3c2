//! The BPF file system that keeps maps and links while no agent runs.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Whether `dir` lies on a BPF file system.
pub fn is_bpffs(dir: &Path) -> io::Result<bool> {
    Ok(statfs(dir)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a BPF file system at `dir` unless it lies on one; tells whether it had to.
pub fn ensure(dir: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(dir)?;
    if is_bpffs(dir)? {
        return Ok(false);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpffs"), dir, Some("bpf"), flags, Some("mode=0700"))?;
    Ok(true)
}
