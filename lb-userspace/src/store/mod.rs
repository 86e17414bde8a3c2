//! What is known now, and what changed.
//!
//! A plain structure: events go in, dirty Services come out. Order of arrival does not matter;
//! endpoints of a Service that does not exist yet are kept. It never plans and never waits.
//!
//! Invariants: an object equal to the one known makes nothing dirty. Slices are kept by their own
//! name, so that endpoints may move between slices, and slices between Services.

mod event;
mod rejections;
#[cfg(test)]
mod tests;

pub use event::{Event, Update};
pub use rejections::Rejections;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{
    Kind, NamespacedName, Node, Outcome, Rejection, Service, ServiceCidr, Slice, Subject,
};

/// Services, EndpointSlices and the own Node.
#[derive(Clone, Debug)]
pub struct Store {
    node_name: Arc<str>,
    services: BTreeMap<NamespacedName, Service>,
    slices: BTreeMap<NamespacedName, Slice>,
    slices_of: BTreeMap<NamespacedName, BTreeSet<NamespacedName>>,
    last_of_api_server: Vec<Slice>,
    node: Option<Node>,
    service_cidrs: BTreeMap<NamespacedName, ServiceCidr>,
    listed: BTreeSet<Kind>,
    dirty: BTreeSet<NamespacedName>,
    rejections: Rejections,
    origins: BTreeMap<Subject, PathBuf>,
}

impl Store {
    /// Empty; of all Nodes it keeps the one of this name.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.into(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            last_of_api_server: Vec::new(),
            node: None,
            service_cidrs: BTreeMap::new(),
            listed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            rejections: Rejections::default(),
            origins: BTreeMap::new(),
        }
    }

    /// Takes in what a source learnt.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Services(update) => self.update(Kind::Service, update, Self::put_service),
            Event::Slices(update) => self.update(Kind::EndpointSlice, update, Self::put_slice),
            Event::Nodes(update) => self.update(Kind::Node, update, Self::put_node),
            Event::ServiceCidrs(update) => {
                self.update(Kind::ServiceCidr, update, Self::put_service_cidr);
            }
            Event::File(path, reasons) => self.rejections.set(Subject::File(path), reasons),
            Event::Origins(origins) => self.origins = origins,
        }
    }

    /// Whether every kind has delivered its first full list: before that, what is missing here may
    /// well exist.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        [Kind::Service, Kind::EndpointSlice, Kind::Node].iter().all(|k| self.listed.contains(k))
    }

    /// The Service, if there is one to balance.
    #[must_use]
    pub fn service(&self, name: &NamespacedName) -> Option<&Service> {
        self.services.get(name)
    }

    /// The names of all Services there are to balance.
    pub fn service_names(&self) -> impl Iterator<Item = &NamespacedName> {
        self.services.keys()
    }

    /// The slices of a Service, by name. Those of the API server's own Service are never empty
    /// once they were not: without it, nobody could tell us its new endpoints.
    #[must_use]
    pub fn slices(&self, service: &NamespacedName) -> Vec<&Slice> {
        let current = self.current_slices(service);
        if is_api_server(service) && !current.iter().copied().any(can_serve) {
            return self.last_of_api_server.iter().collect();
        }
        current
    }

    /// The node's own name.
    #[must_use]
    pub fn node_name(&self) -> &Arc<str> {
        &self.node_name
    }

    /// The own Node, if the cluster has described it.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The Services that changed, came, went, or whose slices did, since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<NamespacedName> {
        std::mem::take(&mut self.dirty)
    }

    /// What cannot be used and nobody has been told of yet.
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        self.rejections.take_news()
    }

    /// The file that an object is in, if it came from one.
    #[must_use]
    pub fn origin(&self, object: &Subject) -> Option<&PathBuf> {
        self.origins.get(object)
    }

    fn update<T>(&mut self, kind: Kind, update: Update<T>, put: Put<T>) {
        match update {
            Update::Apply(name, outcome) => self.apply_outcome(kind, name, outcome, put),
            Update::Delete(name) => self.apply_outcome(kind, name, Outcome::NotOurs, put),
            Update::Replace(objects) => {
                let mut gone = self.known(kind);
                for (name, outcome) in objects {
                    gone.remove(&name);
                    self.apply_outcome(kind, name, outcome, put);
                }
                for name in gone {
                    self.apply_outcome(kind, name, Outcome::NotOurs, put);
                }
                self.listed.insert(kind);
            }
        }
    }

    fn apply_outcome<T>(
        &mut self,
        kind: Kind,
        name: NamespacedName,
        outcome: Outcome<T>,
        put: Put<T>,
    ) {
        if kind == Kind::Node && name.name != self.node_name {
            return;
        }
        let (object, reasons) = match outcome {
            Outcome::Usable(object, left_out) => (Some(object), left_out),
            Outcome::NotOurs => (None, Vec::new()),
            Outcome::Rejected(reason) => (None, vec![reason]),
        };
        self.rejections.set(Subject::Object(kind, name.clone()), reasons);
        put(self, name, object);
    }

    /// The names of all objects of a kind that are kept or rejected.
    fn known(&self, kind: Kind) -> BTreeSet<NamespacedName> {
        let mut names: BTreeSet<_> = self.rejections.objects(kind).cloned().collect();
        match kind {
            Kind::Service => names.extend(self.services.keys().cloned()),
            Kind::EndpointSlice => names.extend(self.slices.keys().cloned()),
            Kind::ServiceCidr => names.extend(self.service_cidrs.keys().cloned()),
            Kind::Node => {
                names.extend(self.node.iter().map(|node| NamespacedName::new("", &node.name)));
            }
        }
        names
    }

    fn put_service(&mut self, name: NamespacedName, service: Option<Service>) {
        if self.services.get(&name) == service.as_ref() {
            return;
        }
        self.dirty.insert(name.clone());
        put(&mut self.services, name, service);
    }

    fn put_slice(&mut self, name: NamespacedName, slice: Option<Slice>) {
        let old = self.slices.get(&name);
        if old == slice.as_ref() {
            return;
        }
        let before = old.map(|slice| slice.service.clone());
        let after = slice.as_ref().map(|slice| slice.service.clone());
        if let Some(service) = &before {
            self.remember_api_server(service);
            self.unlink(service, &name);
        }
        if let Some(service) = &after {
            self.slices_of.entry(service.clone()).or_default().insert(name.clone());
        }
        self.dirty.extend(before.into_iter().chain(after));
        put(&mut self.slices, name, slice);
    }

    fn put_node(&mut self, _name: NamespacedName, node: Option<Node>) {
        self.node = node;
    }

    fn put_service_cidr(&mut self, name: NamespacedName, cidr: Option<ServiceCidr>) {
        put(&mut self.service_cidrs, name, cidr);
    }

    fn unlink(&mut self, service: &NamespacedName, slice: &NamespacedName) {
        if let Some(names) = self.slices_of.get_mut(service) {
            names.remove(slice);
            if names.is_empty() {
                self.slices_of.remove(service);
            }
        }
    }

    fn current_slices(&self, service: &NamespacedName) -> Vec<&Slice> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names.filter_map(|name| self.slices.get(name)).collect()
    }

    fn remember_api_server(&mut self, service: &NamespacedName) {
        if !is_api_server(service) {
            return;
        }
        let current = self.current_slices(service);
        if current.iter().copied().any(can_serve) {
            self.last_of_api_server = current.into_iter().cloned().collect();
        }
    }
}

type Put<T> = fn(&mut Store, NamespacedName, Option<T>);

fn put<T>(objects: &mut BTreeMap<NamespacedName, T>, name: NamespacedName, object: Option<T>) {
    match object {
        Some(object) => objects.insert(name, object),
        None => objects.remove(&name),
    };
}

/// Whether `service` is the API server's own: without it, nobody could tell us its endpoints.
pub(crate) fn is_api_server(service: &NamespacedName) -> bool {
    &*service.namespace == "default" && &*service.name == "kubernetes"
}

fn can_serve(slice: &Slice) -> bool {
    slice.endpoints.iter().any(|endpoint| endpoint.ready || endpoint.serving)
}
