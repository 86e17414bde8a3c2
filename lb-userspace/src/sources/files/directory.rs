//! What a directory of manifests holds, and what changed in it since it was last read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{Contents, Manifest, Object};
use crate::model::{Kind, NamespacedName, Subject};
use crate::store::{Event, Update};

/// A directory as it was last read.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    proxy_name: Option<Arc<str>>,
    files: BTreeMap<PathBuf, File>,
    was_read: bool,
}

/// A file as it was last read.
#[derive(Debug, Default)]
struct File {
    /// Of the bytes that were read; none if they could not be read.
    hash: Option<u64>,
    contents: Contents,
}

impl Directory {
    /// Nothing is read yet. Of the Services, those of `proxy_name` are ours.
    pub(super) fn new(path: PathBuf, proxy_name: Option<Arc<str>>) -> Self {
        Self { path, proxy_name, files: BTreeMap::new(), was_read: false }
    }

    /// Reads what changed. A directory that cannot be read keeps all its objects.
    pub(super) fn refresh(&mut self) -> Vec<Event> {
        let paths = match manifest_paths(&self.path) {
            Ok(paths) => paths,
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                return vec![Event::File(self.path.clone(), vec![reason])];
            }
        };
        let gone: Vec<_> = self.files.keys().filter(|p| !paths.contains(*p)).cloned().collect();
        let mut changed = !std::mem::replace(&mut self.was_read, true) || !gone.is_empty();
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            let file = self.files.entry(path.clone()).or_default();
            changed |= file.refresh(&path, self.proxy_name.as_deref());
        }
        if !changed {
            return vec![Event::File(self.path.clone(), Vec::new())];
        }
        let fine = gone.into_iter().chain([self.path.clone()]);
        fine.map(|path| Event::File(path, Vec::new())).chain(self.events()).collect()
    }

    /// Everything there is. An object that is defined twice is the one of the first file by name.
    fn events(&self) -> Vec<Event> {
        let mut first: BTreeMap<(Kind, &NamespacedName), (&Path, usize)> = BTreeMap::new();
        let (mut services, mut slices) = (Vec::new(), Vec::new());
        let (mut nodes, mut service_cidrs, mut pods) = (Vec::new(), Vec::new(), Vec::new());
        let mut events = Vec::new();
        let mut origins = BTreeMap::new();
        for (path, file) in &self.files {
            let mut problems = file.contents.problems.clone();
            for manifest in &file.contents.manifests {
                match first.entry((manifest.kind(), &manifest.name)) {
                    Entry::Occupied(other) => problems.push(duplicate(manifest, *other.get())),
                    Entry::Vacant(entry) => {
                        entry.insert((path, manifest.line));
                        let name = manifest.name.clone();
                        let subject = Subject::Object(manifest.kind(), name.clone());
                        origins.insert(subject, path.clone());
                        match manifest.object.clone() {
                            Object::Service(service) => services.push((name, service)),
                            Object::Slice(slice) => slices.push((name, slice)),
                            Object::Node(node) => nodes.push((name, node)),
                            Object::ServiceCidr(cidr) => service_cidrs.push((name, cidr)),
                            Object::Pod(pod) => pods.push((name, pod)),
                        }
                    }
                }
            }
            events.push(Event::File(path.clone(), problems));
        }
        events.push(Event::Origins(origins));
        events.push(Event::Nodes(Update::Replace(nodes)));
        events.push(Event::ServiceCidrs(Update::Replace(service_cidrs)));
        events.push(Event::Pods(Update::Replace(pods)));
        events.push(Event::Services(Update::Replace(services)));
        events.push(Event::Slices(Update::Replace(slices)));
        events
    }
}

impl File {
    /// Reads the file at `path`; returns whether it changed.
    fn refresh(&mut self, path: &Path, proxy_name: Option<&str>) -> bool {
        let read = std::fs::read(path).and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                let problems = vec![format!("cannot be read: {error}")];
                let changed = self.contents.problems != problems;
                (self.hash, self.contents.problems) = (None, problems);
                return changed;
            }
        };
        let hash = Some(hash(&text));
        let changed = self.hash != hash;
        if changed {
            let old = std::mem::replace(&mut self.contents, Contents::parse(&text, proxy_name));
            self.hash = hash;
            if self.contents.is_broken {
                self.keep(old.manifests);
            }
        }
        changed
    }

    /// Keeps the objects that a broken file had.
    fn keep(&mut self, old: Vec<Manifest>) {
        let new = &mut self.contents.manifests;
        let named: BTreeSet<_> = new.iter().map(|new| (new.kind(), new.name.clone())).collect();
        new.extend(old.into_iter().filter(|old| !named.contains(&(old.kind(), old.name.clone()))));
    }
}

fn duplicate(manifest: &Manifest, (path, line): (&Path, usize)) -> String {
    let (kind, name, own_line) = (manifest.kind(), &manifest.name, manifest.line);
    let path = path.display();
    format!("line {own_line}: {kind} {name} is already in {path} line {line}, which is used")
}

/// The manifests in a directory. Hidden files are editors' own.
fn manifest_paths(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(OsStr::to_str);
        if !hidden && matches!(extension, Some("yaml" | "yml" | "json")) && !path.is_dir() {
            paths.insert(path);
        }
    }
    Ok(paths)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
