//! The facade of the control plane: events go in, plans of what changed come out.
//!
//! Only the services concerned by a change are planned again. Nothing here waits, and nothing
//! fails: what cannot be used comes back as rejections, each told once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::net::Family;

use super::claims::{Claim, Claims};
use super::frontends;
use super::health::{HealthCheck, HealthChecks, local_ready_endpoints};
use super::surroundings::surroundings;
use super::{
    Context, NodePortAddresses, NodeView, ServiceKey, ServicePlan, Settings, Surroundings, plan,
};
use crate::model::{
    Kind, NamespacedName, Node, Problem, Rejection, Service, ServicePort, ServicePortName, Subject,
};
use crate::netlink::Network;
use crate::store::{Changes, Event, Rejections, Store};

/// Plans the services of one node.
#[derive(Clone, Debug)]
pub struct Planner {
    store: Store,
    settings: Settings,
    network: Arc<Network>,
    interface_addresses: BTreeSet<IpAddr>,
    network_changed: bool,
    taken: Option<Surroundings>,
    view: NodeView,
    claims: Claims,
    conflicts: Rejections,
    checks: HealthChecks,
    checks_changed: bool,
}

impl Planner {
    /// A planner for the node called `node_name`, which knows nothing yet.
    #[must_use]
    pub fn new(node_name: &str, settings: Settings) -> Self {
        Self {
            store: Store::new(node_name),
            settings,
            network: Arc::default(),
            interface_addresses: BTreeSet::new(),
            network_changed: true,
            taken: None,
            view: NodeView::default(),
            claims: Claims::default(),
            conflicts: Rejections::of(Problem::AddressConflict),
            checks: HealthChecks::default(),
            checks_changed: false,
        }
    }

    /// Takes in what a source learnt.
    pub fn apply(&mut self, event: Event) {
        self.store.apply(event);
    }

    /// The interfaces and addresses that the node has now.
    pub fn set_network(&mut self, network: Arc<Network>) {
        let addresses = network.addresses.iter().map(|address| address.ip).collect();
        let old = std::mem::replace(&mut self.interface_addresses, addresses);
        old.symmetric_difference(&self.interface_addresses).for_each(|ip| self.store.touch(ip));
        self.network_changed |= self.network != network;
        self.network = network;
    }

    /// Whether every kind of object has delivered its first full list. Nothing may be written
    /// before: what is missing here may well exist.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// The own Node, if the cluster has described it.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.store.node()
    }

    /// Whether traffic from outside may be sent to this node.
    #[must_use]
    pub fn node_is_eligible(&self) -> bool {
        self.store.node_is_eligible()
    }

    /// As [`Store::take_exempt_pods`].
    pub fn take_exempt_pods(&mut self) -> Option<BTreeSet<Arc<str>>> {
        self.store.take_exempt_pods()
    }

    /// What has changed in the cluster since the last call.
    pub fn take_changes(&mut self) -> Changes {
        self.store.take_changes()
    }

    /// What health check node ports tell, if that may differ from what was last taken. It is known
    /// only after [`changes`](Self::changes) or [`all`](Self::all).
    pub fn take_health_checks(&mut self) -> Option<HealthChecks> {
        std::mem::take(&mut self.checks_changed).then(|| self.checks.clone())
    }

    /// The plans that may differ from the last ones given, ordered by key; `None` is gone. A
    /// frontend can move from one service to another within one such batch.
    pub fn changes(&mut self) -> Vec<(ServiceKey, Option<ServicePlan>)> {
        let stale = self.settle();
        stale.into_iter().map(|key| self.plan(&key)).collect()
    }

    /// All plans, for a full comparison; [`changes`](Self::changes) starts anew after it.
    pub fn all(&mut self) -> BTreeMap<ServiceKey, ServicePlan> {
        self.settle();
        let plans = self.claims.keys().map(|key| self.plan(key));
        plans.filter_map(|(key, plan)| Some((key, plan?))).collect()
    }

    /// What surrounds the services, if it may differ from what was last taken; nothing before the
    /// first full lists.
    pub fn take_surroundings(&mut self) -> Option<Surroundings> {
        if !self.is_synced() {
            return None;
        }
        let networks_changed = self.store.take_networks_changed();
        if !std::mem::take(&mut self.network_changed) && !networks_changed {
            return None;
        }
        let now = surroundings(&self.settings.detector, &self.store, &self.network);
        if self.taken.as_ref() == Some(&now) {
            return None;
        }
        self.taken = Some(now.clone());
        Some(now)
    }

    /// Lets [`take_surroundings`](Self::take_surroundings) tell all once more.
    pub fn forget_surroundings(&mut self) {
        self.taken = None;
        self.network_changed = true;
    }

    /// What cannot be used and was not told before. Frontends that several Services claim are known
    /// only after [`changes`](Self::changes) or [`all`](Self::all).
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        let mut rejections = self.store.take_rejections();
        rejections.append(&mut self.conflicts.take_news());
        for rejection in &mut rejections {
            rejection.file = self.store.origin(&rejection.object).cloned();
        }
        rejections
    }

    /// Everything that cannot be used now, whole or in part; those that lack only frontends that
    /// others have included.
    #[must_use]
    pub fn rejected(&self) -> BTreeSet<&Subject> {
        self.store.rejected().chain(self.conflicts.subjects()).collect()
    }

    /// How many frontends more than one service claims now.
    #[must_use]
    pub fn contested(&self) -> usize {
        self.claims.contested()
    }

    /// Brings the claims up to date and returns the services that have to be planned again.
    fn settle(&mut self) -> BTreeSet<ServiceKey> {
        let mut dirty = self.store.take_dirty();
        let view = self.look_at_node();
        if view != self.view {
            self.view = view;
            self.checks_changed |= self.checks.listen_at(&self.view, &self.settings.node_ports);
            dirty.extend(self.store.service_names().cloned());
        }
        let mut stale = BTreeSet::new();
        for service in &dirty {
            stale.extend(self.claim(service));
            self.check(service);
        }
        let concerned: BTreeSet<_> = stale.iter().map(|key| key.name.service.clone()).collect();
        for service in concerned {
            self.report_conflicts(service);
        }
        stale
    }

    fn look_at_node(&self) -> NodeView {
        let node = self.store.node();
        let select = |setting: &NodePortAddresses| setting.select(node, &self.interface_addresses);
        NodeView {
            name: self.store.node_name().clone(),
            zone: node.map(|node| node.zone.clone()).unwrap_or_default(),
            node_port_addresses: select(&self.settings.node_ports),
            primary: select(&NodePortAddresses::Primary),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            node: &self.view,
            settings: &self.settings,
            interface_addresses: &self.interface_addresses,
            store: &self.store,
        }
    }

    /// Renews the claims of a Service; returns its keys, old and new, and those of others concerned.
    fn claim(&mut self, name: &NamespacedName) -> BTreeSet<ServiceKey> {
        let mut claims: BTreeMap<ServiceKey, Option<Claim>> =
            self.claims.of(name).map(|key| (key.clone(), None)).collect();
        if let Some(service) = self.store.service(name) {
            for (key, port) in keys(service) {
                let frontends = frontends::frontends(service, port, key.family, &self.context());
                let frontends = frontends.into_iter().map(|(at, (kind, _))| (at, kind)).collect();
                claims.insert(key, Some(Claim { created_s: service.created_s, frontends }));
            }
        }
        let mut stale = BTreeSet::new();
        for (key, claim) in claims {
            stale.extend(self.claims.set(&key, claim));
            stale.insert(key);
        }
        stale
    }

    /// Renews what the health check node port of a Service tells, if it has one.
    fn check(&mut self, name: &NamespacedName) {
        let port = self.store.service(name).and_then(|service| service.health_check_node_port);
        let count = || local_ready_endpoints(&self.store.slices(name), &self.view.name);
        let check = port.map(|port| HealthCheck { port, local_endpoints: count() });
        self.checks_changed |= self.checks.set(name, check);
    }

    fn plan(&self, key: &ServiceKey) -> (ServiceKey, Option<ServicePlan>) {
        let plan = self.store.service(&key.name.service).and_then(|service| {
            let (_, port) = keys(service).find(|(found, _)| found == key)?;
            let slices = self.store.slices(&key.name.service);
            let mut plan = plan(service, port, key.family, &slices, &self.context());
            plan.keep_frontends(|address| self.claims.owner(address) == Some(key));
            Some(plan)
        });
        (key.clone(), plan)
    }

    fn report_conflicts(&mut self, service: NamespacedName) {
        let conflicts = self.claims.conflicts(&service);
        self.conflicts.set(Subject::Object(Kind::Service, service), conflicts);
    }
}

/// What a Service is planned as: its ports in each family that it has a ClusterIP of.
fn keys(service: &Service) -> impl Iterator<Item = (ServiceKey, &ServicePort)> {
    service.ports.iter().flat_map(move |port| {
        service.cluster_ips.iter().map(move |ip| {
            let (port_name, protocol) = (port.name.clone(), port.protocol);
            let name = ServicePortName { service: service.name.clone(), port: port_name, protocol };
            (ServiceKey { name, family: Family::of(ip) }, port)
        })
    })
}
