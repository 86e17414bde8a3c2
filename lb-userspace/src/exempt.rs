//! Which cgroups are left to their packets, where the sockets of pods are translated: those of the pods
//! that say so (`waggle.dev/socket-lb: "off"`).
//!
//! A pod leads to its cgroup by its uid, which names a directory below the root of the hierarchy in a
//! way that the kubelet keeps stable; its id is the inode, and the kernel knows it of every process
//! that calls. Why not the network namespace, which the program sees too: to learn the cookie of one
//! means to enter it (`CAP_SYS_ADMIN`, which the agent has not), and the namespace comes after the
//! cgroup. Processes that somebody else sends into the pod's namespace (`nsenter`) are not exempt.
//!
//! The cgroup may come a moment after the pod; until it is found, it is looked for again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lb_common::abi::exempt::LEVELS;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::maps::kernel::Exempt;

/// The pause before missing cgroups are looked for again: less than a container takes to start.
const PAUSE: Duration = Duration::from_millis(250);

/// The uids of the pods that are to be exempt; `None` while nobody knows.
pub type Wanted = Option<BTreeSet<Arc<str>>>;

/// Keeps `table` as `wanted` says until nobody says any more. Cgroups are looked for below `root`.
pub async fn run(root: PathBuf, mut table: Exempt, mut wanted: watch::Receiver<Wanted>) {
    let mut is_missing = false;
    let mut told = None;
    loop {
        let changed = if is_missing {
            timeout(PAUSE, wanted.changed()).await.unwrap_or(Ok(()))
        } else {
            wanted.changed().await
        };
        if changed.is_err() {
            return;
        }
        let Some(uids) = wanted.borrow_and_update().clone() else { continue };
        let found = if uids.is_empty() { BTreeMap::new() } else { pods(&root) };
        let ids = uids.iter().filter_map(|uid| found.get(&**uid)).copied().collect();
        is_missing = found_less(&uids, &found);
        if told.as_ref() == Some(&ids) {
            continue;
        }
        match table.set(&ids) {
            Ok(()) => {
                tracing::info!(
                    pods = uids.len(),
                    cgroups = ids.len(),
                    "pods left to their packets"
                );
                told = Some(ids);
            }
            Err(error) => {
                tracing::warn!("pods cannot be left to their packets, trying again: {error}");
                is_missing = true;
            }
        }
    }
}

fn found_less(uids: &BTreeSet<Arc<str>>, found: &BTreeMap<String, u64>) -> bool {
    uids.iter().any(|uid| !found.contains_key(&**uid))
}

/// The ids of the cgroups of all pods below `root`, by uid.
fn pods(root: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..LEVELS {
        let entries = level.iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
        let mut below = Vec::new();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir())) {
            match entry.file_name().to_str().and_then(uid) {
                Some(uid) => drop(found.insert(uid, entry.ino())),
                None => below.push(entry.path()),
            }
        }
        level = below;
    }
    found
}

/// The uid in the name of a pod's cgroup: `pod<uid>` (driver `cgroupfs`), or
/// `kubepods-burstable-pod<uid>.slice` with `_` for `-` (driver `systemd`).
fn uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    (!uid.is_empty()).then_some(uid)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_cgroups_of_pods_are_found_with_either_driver_and_below_other_things() {
        let root = tempfile::tempdir().unwrap();
        let paths = [
            ("kubepods/podaa-1", "aa-1"),
            ("kubepods/besteffort/podaa-2", "aa-2"),
            ("kubepods.slice/kubepods-podaa_3.slice", "aa-3"),
            ("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaa_4.slice", "aa-4"),
            ("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podaa_5.slice", "aa-5"),
        ];
        for (path, _) in paths {
            fs::create_dir_all(root.path().join(path).join("container")).unwrap();
        }
        let inode = |path: &str| fs::metadata(root.path().join(path)).unwrap().ino();
        let expected = paths.map(|(path, uid)| (uid.to_owned(), inode(path)));
        assert_eq!(pods(root.path()), BTreeMap::from(expected));
    }
}
