//! What is known now, and what changed.
//!
//! A plain structure: events go in, dirty Services come out. Order of arrival does not matter;
//! endpoints of a Service that does not exist yet are kept. It never plans and never waits.
//!
//! An object that cannot be read any more stays as it was last (as with kube-proxy, which does not
//! get past it): whoever broke it did not say that it should go.
//!
//! Invariants: an object equal to the one known makes nothing dirty. Slices are kept by their own
//! name, so that endpoints may move between slices, and slices between Services.

mod changes;
mod event;
mod nodes;
mod rejections;
#[cfg(test)]
mod tests;

pub use changes::{Changes, Triggers};
pub use event::{Event, Update};
pub use rejections::Rejections;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use nodes::Nodes;

use crate::model::{
    Kind, NamespacedName, Node, Outcome, Pod, Problem, Rejection, Service, ServiceCidr, Slice,
    Subject,
};

/// Services, EndpointSlices, Nodes and `ServiceCIDR`s.
#[derive(Clone, Debug)]
pub struct Store {
    services: BTreeMap<NamespacedName, Service>,
    balanced_at: Index<IpAddr>,
    slices: BTreeMap<NamespacedName, Slice>,
    slices_of: Index<NamespacedName>,
    last_of_api_server: Vec<Slice>,
    nodes: Nodes,
    service_cidrs: BTreeMap<NamespacedName, ServiceCidr>,
    pods: BTreeMap<NamespacedName, Pod>,
    pods_changed: bool,
    listed: BTreeSet<Kind>,
    dirty: BTreeSet<NamespacedName>,
    networks_changed: bool,
    changes: Changes,
    rejections: Rejections,
    origins: BTreeMap<Subject, PathBuf>,
}

impl Store {
    /// Empty; the Node of this name is the own one.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            services: BTreeMap::new(),
            balanced_at: BTreeMap::new(),
            slices: BTreeMap::new(),
            slices_of: BTreeMap::new(),
            last_of_api_server: Vec::new(),
            nodes: Nodes::new(node_name),
            service_cidrs: BTreeMap::new(),
            pods: BTreeMap::new(),
            pods_changed: false,
            listed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            networks_changed: false,
            changes: Changes::default(),
            rejections: Rejections::of(Problem::InvalidObject),
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
            Event::Pods(update) => {
                // The first list too: an earlier run may have left more than there are.
                self.pods_changed |= matches!(update, Update::Replace(_));
                self.update(Kind::Pod, update, Self::put_pod);
            }
            Event::File(path, reasons) => self.rejections.set(Subject::File(path), reasons),
            Event::Origins(origins) => self.origins = origins,
        }
    }

    /// Whether every kind has delivered its first full list: before that, what is missing here may
    /// well exist.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let all = [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];
        all.iter().all(|kind| self.listed.contains(kind))
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
    pub const fn node_name(&self) -> &Arc<str> {
        self.nodes.own_name()
    }

    /// The own Node, if the cluster has described it. It stays as it was last when it is deleted:
    /// this machine goes on serving, and nothing may change under live traffic.
    #[must_use]
    pub const fn node(&self) -> Option<&Node> {
        self.nodes.own()
    }

    /// Whether traffic from outside may be sent to this node: its Node is there and is not about to
    /// go, or the cluster has no Nodes at all.
    #[must_use]
    pub fn node_is_eligible(&self) -> bool {
        self.nodes.own_is_eligible()
    }

    /// Whether some Node has this address.
    #[must_use]
    pub fn is_of_a_node(&self, address: &IpAddr) -> bool {
        self.nodes.have(address)
    }

    /// The pod CIDRs of all Nodes.
    pub fn pod_cidrs(&self) -> impl Iterator<Item = &IpNet> {
        self.nodes.pod_cidrs()
    }

    /// The prefixes of all `ServiceCIDR`s.
    pub fn service_cidrs(&self) -> impl Iterator<Item = &IpNet> {
        self.service_cidrs.values().flat_map(|cidr| &cidr.cidrs)
    }

    /// Whether [`pod_cidrs`](Self::pod_cidrs), [`service_cidrs`](Self::service_cidrs) or the
    /// addresses of the own [`node`](Self::node) changed since the last call.
    pub fn take_networks_changed(&mut self) -> bool {
        std::mem::take(&mut self.networks_changed)
    }

    /// By what the cgroups of those pods of this node are named that are left to their packets, if
    /// that may have changed since the last call; nothing before their first full list.
    pub fn take_exempt_pods(&mut self) -> Option<BTreeSet<Arc<str>>> {
        if !std::mem::take(&mut self.pods_changed) || !self.listed.contains(&Kind::Pod) {
            return None;
        }
        let own = self.pods.values().filter(|pod| pod.node == *self.nodes.own_name());
        Some(own.map(|pod| Arc::clone(&pod.uid)).collect())
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Makes the Services dirty that have a LoadBalancer IP at `address`: somebody got or lost it.
    pub fn touch(&mut self, address: &IpAddr) {
        let services = self.balanced_at.get(address);
        self.dirty.extend(services.into_iter().flatten().cloned());
    }

    /// The Services that changed, came, went, or whose slices did, since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<NamespacedName> {
        std::mem::take(&mut self.dirty)
    }

    /// What cannot be used and nobody has been told of yet.
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        self.rejections.take_news()
    }

    /// Everything that cannot be used now, whole or in part.
    pub fn rejected(&self) -> impl Iterator<Item = &Subject> {
        self.rejections.subjects()
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
        let (object, reasons) = match outcome {
            Outcome::Usable(object, left_out) => (Some(Some(object)), left_out),
            Outcome::NotOurs => (Some(None), Vec::new()),
            Outcome::Rejected(reason) => (Some(None), vec![reason]),
            Outcome::Unreadable(reason) => (None, vec![reason]),
        };
        self.rejections.set(Subject::Object(kind, name.clone()), reasons);
        if let Some(object) = object {
            put(self, name, object);
        }
    }

    /// The names of all objects of a kind that are kept or rejected.
    fn known(&self, kind: Kind) -> BTreeSet<NamespacedName> {
        let mut names: BTreeSet<_> = self.rejections.objects(kind).cloned().collect();
        match kind {
            Kind::Service => names.extend(self.services.keys().cloned()),
            Kind::EndpointSlice => names.extend(self.slices.keys().cloned()),
            Kind::ServiceCidr => names.extend(self.service_cidrs.keys().cloned()),
            Kind::Node => names.extend(self.nodes.names()),
            Kind::Pod => names.extend(self.pods.keys().cloned()),
        }
        names
    }

    fn put_service(&mut self, name: NamespacedName, service: Option<Service>) {
        let old = self.services.get(&name);
        if old == service.as_ref() {
            return;
        }
        self.changes.services += 1;
        let before = old.map(|old| old.load_balancer_ips.clone()).unwrap_or_default();
        for address in before {
            unlink(&mut self.balanced_at, &address, &name);
        }
        for address in service.iter().flat_map(|service| &service.load_balancer_ips) {
            link(&mut self.balanced_at, *address, &name);
        }
        self.dirty.insert(name.clone());
        put(&mut self.services, name, service);
    }

    fn put_slice(&mut self, name: NamespacedName, slice: Option<Slice>) {
        let old = self.slices.get(&name);
        let is_same = match (old, &slice) {
            (Some(old), Some(new)) => old.says_the_same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if is_same {
            return;
        }
        let before = old.map(|slice| slice.service.clone());
        let after = slice.as_ref().map(|slice| slice.service.clone());
        if let Some(service) = &before {
            self.remember_api_server(service);
            unlink(&mut self.slices_of, service, &name);
        }
        if let Some(service) = &after {
            link(&mut self.slices_of, service.clone(), &name);
        }
        self.changes.slices += 1;
        if let Some(slice) = slice.as_ref().filter(|_| self.listed.contains(&Kind::EndpointSlice)) {
            self.changes.note_trigger(slice);
        }
        self.dirty.extend(before.into_iter().chain(after));
        put(&mut self.slices, name, slice);
    }

    fn put_node(&mut self, name: NamespacedName, node: Option<Node>) {
        let moved = self.nodes.put(name.name, node);
        self.networks_changed |= moved.pods || moved.own_addresses;
        moved.addresses.iter().for_each(|address| self.touch(address));
    }

    fn put_service_cidr(&mut self, name: NamespacedName, cidr: Option<ServiceCidr>) {
        self.networks_changed |= self.service_cidrs.get(&name) != cidr.as_ref();
        put(&mut self.service_cidrs, name, cidr);
    }

    fn put_pod(&mut self, name: NamespacedName, pod: Option<Pod>) {
        self.pods_changed |= self.pods.get(&name) != pod.as_ref();
        put(&mut self.pods, name, pod);
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

/// Names of objects, sorted, by what they have in common: nearly always one.
type Index<K> = BTreeMap<K, Vec<NamespacedName>>;

fn link<K: Ord>(index: &mut Index<K>, key: K, name: &NamespacedName) {
    let names = index.entry(key).or_insert_with(|| Vec::with_capacity(1));
    if let Err(at) = names.binary_search(name) {
        names.insert(at, name.clone());
    }
}

/// Removes `name` from what is known under `key`.
fn unlink<K: Ord>(index: &mut Index<K>, key: &K, name: &NamespacedName) {
    if let Some(names) = index.get_mut(key) {
        names.retain(|one| one != name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

/// Whether `service` is the API server's own: without it, nobody could tell us its endpoints.
pub(crate) fn is_api_server(service: &NamespacedName) -> bool {
    &*service.namespace == "default" && &*service.name == "kubernetes"
}

fn can_serve(slice: &Slice) -> bool {
    slice.endpoints.iter().any(|endpoint| endpoint.ready || endpoint.serving)
}
