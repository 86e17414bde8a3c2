//! Where the hierarchy of cgroups v2 begins. Alone (`/sys/fs/cgroup`), beside v1
//! (`/sys/fs/cgroup/unified`) or anywhere else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The inode of the root of a hierarchy: in a container, what is mounted may be a part of it.
const ROOT: u64 = 1;

/// The root of the hierarchy.
pub fn root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let found: Vec<_> = mounts_of(&mounts).collect();
    let is_root = |path: &&PathBuf| id(path).is_ok_and(|id| id == ROOT);
    found.iter().find(is_root).cloned().with_context(|| match found.first() {
        Some(part) => format!(
            "{} is only a part of the cgroups; mount the host's /sys/fs/cgroup into the pod and name \
             it by --cgroup-root",
            part.display()
        ),
        None => "no cgroup2 is mounted; mount -t cgroup2 none /sys/fs/cgroup".to_owned(),
    })
}

/// The id of the cgroup at `path`.
pub(super) fn id(path: &Path) -> std::io::Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

/// Where a cgroup2 is mounted, as `/proc/mounts` says.
fn mounts_of(mounts: &str) -> impl Iterator<Item = PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
    cgroups.filter_map(|fields| Some(unescaped(fields.get(1)?).into()))
}

/// The kernel writes a space as `\040` (`proc_pid_mounts(5)`).
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mounts: &str, expected: &[&str]) {
        let found: Vec<_> = mounts_of(mounts).collect();
        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn mounts_of_cgroup2_are_found_alone_and_beside_v1() {
        check("proc /proc proc rw 0 0\n", &[]);
        check(
            "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
            &["/sys/fs/cgroup"],
        );
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      none /mnt/a\\040b cgroup2 rw 0 0\n";
        check(hybrid, &["/sys/fs/cgroup/unified", "/mnt/a b"]);
    }
}
