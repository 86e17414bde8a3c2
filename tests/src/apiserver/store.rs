//! The objects, their versions and the history that watches are made of. Pure: no clock, no socket.
//!
//! Every change gets the next version and is kept with the object before and after it, so that what
//! a watch sees follows from its selector alone: an object that begins to match is added, one that
//! ceases to match is deleted, whatever really happened to it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::resource::Resource;
use super::selector::Selector;
use super::status::Refusal;

/// The name of an object, ordered as lists are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    resource: &'static str,
    namespace: String,
    name: String,
}

impl Key {
    /// From `namespace/name`, or `name` where there are no namespaces.
    pub(super) fn new(resource: &Resource, name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        Self { resource: resource.plural, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn of(resource: &Resource, object: &Value) -> Self {
        let metadata =
            |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self { resource: resource.plural, namespace: metadata("namespace"), name: metadata("name") }
    }

    fn shown(&self) -> String {
        format!("{} {:?}", self.resource, self.name)
    }
}

/// What a list or a watch is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) resource: &'static Resource,
    /// All namespaces if `None`.
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
}

impl Scope {
    fn contains(&self, key: &Key, object: &Value) -> bool {
        key.resource == self.resource.plural
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.selector.matches(object)
    }
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    /// Where to watch from after the last page.
    pub(super) version: u64,
    /// Where the next page begins; empty on the last one.
    pub(super) next: String,
}

/// The version of a list, and the namespace and name of its last object so far.
type Continuation<'a> = (u64, Option<(&'a str, &'a str)>);

#[derive(Debug)]
struct Change {
    version: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
}

/// All objects and what happened to them since the history was last forgotten.
#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    history: Vec<Change>,
    version: u64,
    oldest: u64,
}

impl Default for Store {
    /// Version 0 means "any" to a server, so the first is 1.
    fn default() -> Self {
        Self { objects: BTreeMap::new(), history: Vec::new(), version: 1, oldest: 0 }
    }
}

impl Store {
    /// The newest version.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version that can be watched from.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Forgets the history, under a version that nobody has seen.
    pub(super) fn expire(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }

    pub(super) fn get(&self, key: &Key) -> Result<Value, Refusal> {
        self.objects.get(key).cloned().ok_or_else(|| Refusal::not_found(&key.shown()))
    }

    pub(super) fn all(&self, resource: &Resource) -> Vec<Value> {
        let of_it = self.objects.iter().filter(|(key, _)| key.resource == resource.plural);
        of_it.map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn create(&mut self, resource: &Resource, object: Value) -> Result<Value, Refusal> {
        let key = Key::of(resource, &object);
        if self.objects.contains_key(&key) {
            return Err(Refusal::already_exists(&key.shown()));
        }
        Ok(self.put(key, object))
    }

    /// Replaces an object; one that names a version must name the newest.
    pub(super) fn replace(&mut self, resource: &Resource, object: Value) -> Result<Value, Refusal> {
        let key = Key::of(resource, &object);
        let wanted = &object["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != self.get(&key)?["metadata"]["resourceVersion"] {
            return Err(Refusal::conflict(&key.shown()));
        }
        self.get(&key)?;
        Ok(self.put(key, object))
    }

    /// Creates or replaces an object, whatever version it names.
    pub(super) fn apply(&mut self, resource: &Resource, object: Value) {
        self.put(Key::of(resource, &object), object);
    }

    pub(super) fn delete(&mut self, key: &Key) -> Result<Value, Refusal> {
        let object = self.objects.remove(key).ok_or_else(|| Refusal::not_found(&key.shown()))?;
        self.record(key.clone(), Some(object.clone()), None);
        Ok(object)
    }

    /// A page of at most `limit` objects (0: all), from the start or from where another page ended.
    pub(super) fn list(&self, scope: &Scope, limit: usize, from: &str) -> Result<Page, Refusal> {
        let (version, last) = self.continuation(from)?;
        let mut found = self.objects.iter().filter(|(key, object)| {
            scope.contains(key, object)
                && last.is_none_or(|last| (&*key.namespace, &*key.name) > last)
        });
        let page: Vec<_> =
            found.by_ref().take(if limit == 0 { usize::MAX } else { limit }).collect();
        let next = match (page.last(), found.next()) {
            (Some((last, _)), Some(_)) => format!("{version}/{}/{}", last.namespace, last.name),
            _ => String::new(),
        };
        Ok(Page {
            items: page.into_iter().map(|(_, object)| object.clone()).collect(),
            version,
            next,
        })
    }

    /// The watch events after a version, as JSON objects.
    pub(super) fn events_since(&self, version: u64, scope: &Scope) -> Result<Vec<Value>, Refusal> {
        self.check_kept(version)?;
        let news = self.history.iter().filter(|change| change.version > version);
        Ok(news.filter_map(|change| event(change, scope)).collect())
    }

    /// Reads a token made by [`Self::list`].
    fn continuation<'a>(&self, token: &'a str) -> Result<Continuation<'a>, Refusal> {
        if token.is_empty() {
            return Ok((self.version, None));
        }
        let mut parts = token.splitn(3, '/');
        let version = parts.next().and_then(|version| version.parse().ok());
        let (Some(version), Some(namespace), Some(name)) = (version, parts.next(), parts.next())
        else {
            return Err(Refusal::bad_request(format!(
                "continue token {token:?} is not of this server"
            )));
        };
        self.check_kept(version)?;
        Ok((version, Some((namespace, name))))
    }

    fn check_kept(&self, version: u64) -> Result<(), Refusal> {
        if version > self.version {
            return Err(Refusal::too_large(version, self.version));
        }
        if version < self.oldest { Err(Refusal::gone(version, self.oldest)) } else { Ok(()) }
    }

    fn put(&mut self, key: Key, mut object: Value) -> Value {
        let before = self.objects.get(&key).cloned();
        let version = self.version + 1;
        let first = json!({"uid": format!("uid-{version}"), "creationTimestamp": created(version)});
        let birth = before.as_ref().map_or(&first, |old| &old["metadata"]);
        for field in ["uid", "creationTimestamp"] {
            object["metadata"][field] = birth[field].clone();
        }
        stamp(&mut object, version);
        self.objects.insert(key.clone(), object.clone());
        self.record(key, before, Some(object.clone()));
        object
    }

    fn record(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        self.version += 1;
        self.history.push(Change { version: self.version, key, before, after });
    }
}

/// What a change is to a watch of this scope.
fn event(change: &Change, scope: &Scope) -> Option<Value> {
    let within = |object: &&Value| scope.contains(&change.key, object);
    let before = change.before.as_ref().filter(within);
    let (kind, object) = match (before, change.after.as_ref().filter(within)) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => ("DELETED", before),
    };
    let mut object = object.clone();
    stamp(&mut object, change.version);
    Some(json!({"type": kind, "object": object}))
}

/// A second passes with every version: what is created later is younger.
fn created(version: u64) -> String {
    let (hours, minutes, seconds) = (version / 3600 % 24, version / 60 % 60, version % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}Z")
}

fn stamp(object: &mut Value, version: u64) {
    object["metadata"]["resourceVersion"] = json!(version.to_string());
}
