//! From pods to the cgroups of their processes.
//!
//! A pod leads to its cgroup by its uid, which names a directory below the root of the hierarchy in a
//! way that the kubelet keeps stable; its id is the inode, and the kernel knows it of every process
//! that calls. Why not the network namespace, which the program sees too: to learn the cookie of one
//! means to enter it (`CAP_SYS_ADMIN`, which the agent need not have), and the namespace comes after
//! the cgroup. Processes that somebody else sends into the pod's namespace (`nsenter`) are not exempt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lb_common::abi::exempt::LEVELS;

/// The cgroups of pods, as far as they were found. A pod that has one keeps it.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: PathBuf,
    found: BTreeMap<Arc<str>, u64>,
}

impl Cgroups {
    /// Those below `root`.
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root, found: BTreeMap::new() }
    }

    /// The ids of the cgroups of these pods, and the pods that have none.
    pub(super) fn of(&mut self, uids: &BTreeSet<Arc<str>>) -> (BTreeSet<u64>, BTreeSet<Arc<str>>) {
        self.found.retain(|uid, _| uids.contains(uid));
        if self.found.len() < uids.len() {
            let all = pods(&self.root);
            let id = |uid: &Arc<str>| Some((Arc::clone(uid), *all.get(&**uid)?));
            self.found = uids.iter().filter_map(id).collect();
        }
        let missing = uids.iter().filter(|uid| !self.found.contains_key(*uid));
        (self.found.values().copied().collect(), missing.cloned().collect())
    }
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

    #[test]
    fn a_cgroup_that_comes_later_is_found_then_and_forgotten_with_its_pod() {
        let root = tempfile::tempdir().unwrap();
        let uids = |uids: &[&str]| uids.iter().map(|&it| it.into()).collect::<BTreeSet<Arc<str>>>();
        let make = |uid: &str| {
            let path = root.path().join(format!("pod{uid}"));
            fs::create_dir(&path).unwrap();
            fs::metadata(&path).unwrap().ino()
        };
        let mut cgroups = Cgroups::below(root.path().to_owned());
        let a = make("a");
        assert_eq!(cgroups.of(&uids(&["a", "b"])), (BTreeSet::from([a]), uids(&["b"])));
        let b = make("b");
        assert_eq!(cgroups.of(&uids(&["a", "b"])), (BTreeSet::from([a, b]), uids(&[])));
        assert_eq!(cgroups.of(&uids(&["b"])), (BTreeSet::from([b]), uids(&[])));
        assert_eq!(cgroups.of(&uids(&[])), (BTreeSet::new(), uids(&[])));
        assert_eq!(cgroups.found, BTreeMap::new());
    }
}
