//! Where things are pinned: `<bpffs>/waggle/v<ABI>/{maps,links,sockets,clsact,reserved}`.
//!
//! The tree is also the memory of what an earlier agent attached:
//! - `maps/<NAME>`: a map; `maps-next` and `maps-old` likewise, while one
//!   [generation](super::generation) follows another (names with dots are the file system's own);
//! - `links/<ifindex>-<hook>`: a tcx link;
//! - `sockets/<cgroup>-<program>`: a link to the cgroup with that id;
//! - `clsact/<ifindex>/`: our filters are on that interface (a file system of pins holds no files,
//!   but it holds directories); with `qdisc/` in it, the clsact qdisc is ours as well;
//! - `reserved/<LOW>-<HIGH>/`: ports that we have reserved.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use lb_common::abi;
use lb_common::abi::flow::Hook;

/// The paths of one agent.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    version: PathBuf,
}

impl Pins {
    /// The paths below the BPF file system at `bpffs`.
    #[must_use]
    pub fn new(bpffs: &Path) -> Self {
        let root = bpffs.join("waggle");
        Self { version: root.join(format!("v{}", abi::VERSION)), root }
    }

    /// The paths of every version that has left something there.
    pub fn versions(bpffs: &Path) -> io::Result<Vec<Self>> {
        let root = bpffs.join("waggle");
        let pins = |name: String| Self { version: root.join(name), root: root.clone() };
        Ok(names(&root)?.into_iter().map(pins).collect())
    }

    /// The directory that holds everything of ours, of every version.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    /// The directory of the maps that are to follow.
    #[must_use]
    pub fn next_maps(&self) -> PathBuf {
        self.version.join("maps-next")
    }

    /// The directory of the maps that went before.
    #[must_use]
    pub fn old_maps(&self) -> PathBuf {
        self.version.join("maps-old")
    }

    /// Where map `name` is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Where the tcx link of an interface is pinned.
    #[must_use]
    pub fn link(&self, ifindex: u32, hook: Hook) -> PathBuf {
        self.links().join(link_name(ifindex, hook))
    }

    /// Where the link of a program to a cgroup is pinned.
    #[must_use]
    pub fn socket_link(&self, cgroup: u64, program: &str) -> PathBuf {
        self.sockets().join(format!("{cgroup}-{program}"))
    }

    /// Where the links of all programs to cgroups are pinned.
    pub fn socket_links(&self) -> io::Result<Vec<PathBuf>> {
        let dir = self.sockets();
        Ok(names(&dir)?.into_iter().map(|name| dir.join(name)).collect())
    }

    /// The mark that our filters are on an interface.
    #[must_use]
    pub fn filters(&self, ifindex: u32) -> PathBuf {
        self.clsact().join(ifindex.to_string())
    }

    /// The mark that an interface's clsact qdisc is ours.
    #[must_use]
    pub fn qdisc(&self, ifindex: u32) -> PathBuf {
        self.filters(ifindex).join("qdisc")
    }

    /// The directory of the marks of ports that we have reserved.
    #[must_use]
    pub fn reserved_ports(&self) -> PathBuf {
        self.version.join("reserved")
    }

    /// Makes the directories, but for those of maps.
    pub fn create(&self) -> io::Result<()> {
        [self.links(), self.sockets(), self.clsact()].iter().try_for_each(fs::create_dir_all)
    }

    /// The paths of every other version that has left something there, the latest first.
    pub fn others(&self) -> io::Result<Vec<Self>> {
        let number = |name: &String| name.strip_prefix('v')?.parse::<u32>().ok();
        let mut found: Vec<_> = names(&self.root)?
            .into_iter()
            .filter_map(|name| Some((number(&name)?, name)))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        let pins = |(_, name)| Self { version: self.root.join(name), root: self.root.clone() };
        Ok(found.into_iter().map(pins).filter(|pins| pins.version != self.version).collect())
    }

    /// Takes over what `other` remembers of what is attached and reserved.
    pub(super) fn adopt(&self, other: &Self) -> io::Result<()> {
        let ours = [self.links(), self.sockets(), self.clsact(), self.reserved_ports()];
        let theirs = [other.links(), other.sockets(), other.clsact(), other.reserved_ports()];
        for (to, from) in ours.iter().zip(&theirs) {
            for name in names(from)? {
                fs::create_dir_all(to)?;
                if !to.join(&name).exists() {
                    fs::rename(from.join(&name), to.join(&name))?;
                }
            }
        }
        Ok(())
    }

    /// Removes everything of this version.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.version, &mut |_| {})
    }

    /// Every interface on which something of ours is attached, as far as the pins know.
    pub fn interfaces(&self) -> io::Result<BTreeSet<u32>> {
        let mut found = BTreeSet::new();
        for dir in [self.links(), self.clsact()] {
            found.extend(names(&dir)?.iter().filter_map(|name| ifindex(name)));
        }
        Ok(found)
    }

    fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    fn sockets(&self) -> PathBuf {
        self.version.join("sockets")
    }

    fn clsact(&self) -> PathBuf {
        self.version.join("clsact")
    }
}

/// Removes the file or empty directory at `path`; tells whether there was one.
pub fn remove(path: &Path) -> io::Result<bool> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => fs::remove_dir(path),
        other => other,
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes everything below `path` and itself, deepest first, since directories go only when they are
/// empty; tells `note` of each. What is not there is no error.
pub(super) fn remove_tree(path: &Path, note: &mut impl FnMut(&Path)) -> io::Result<()> {
    if path.is_dir() {
        for name in names(path)? {
            remove_tree(&path.join(name), note)?;
        }
    }
    if remove(path)? {
        note(path);
    }
    Ok(())
}

/// The names in `dir`; none if it is not there.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn link_name(ifindex: u32, hook: Hook) -> String {
    match hook {
        Hook::Ingress => format!("{ifindex}-ingress"),
        Hook::Egress => format!("{ifindex}-egress"),
    }
}

fn ifindex(name: &str) -> Option<u32> {
    name.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_back_from_the_names_of_their_pins() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(dir.path());
        assert!(pins.interfaces().unwrap().is_empty(), "before the directories are there");
        pins.create().unwrap();
        fs::write(pins.link(7, Hook::Ingress), "").unwrap();
        fs::write(pins.link(7, Hook::Egress), "").unwrap();
        fs::create_dir_all(pins.qdisc(12)).unwrap();
        fs::write(pins.link(3, Hook::Egress).with_file_name("not-ours"), "").unwrap();
        assert_eq!(pins.interfaces().unwrap(), BTreeSet::from([7, 12]));
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&folder).unwrap();
        for path in [&file, &folder] {
            assert!(remove(path).unwrap());
            assert!(!remove(path).unwrap());
        }
    }
}
