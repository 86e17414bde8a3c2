//! What the maps should hold for a Service, computed from what the cluster says.
//!
//! Everything here is a pure function of its arguments: no clock, no client, no map, no task.
//! Objects that cannot be used come back as rejections; they never stop the others.

mod claims;
mod endpoints;
mod frontends;
mod health;
pub(crate) mod maglev;
mod node_ports;
mod planner;
mod surroundings;
#[cfg(test)]
mod tests;

pub use health::{HealthCheck, HealthChecks, local_ready_endpoints};
pub use maglev::TableSize;
pub use node_ports::{BadNodePortAddresses, NodePortAddresses};
pub use planner::Planner;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
#[cfg(doc)]
use lb_common::abi::interface;
use lb_common::net::Family;

use crate::model::{Affinity, Algorithm, Protocol, Service, ServicePort, ServicePortName, Slice};
use crate::store::Store;

/// What clients dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for FrontendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.ip, self.port), self.protocol)
    }
}

/// How a frontend uses its service.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the map")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendUse {
    /// Balanced over the local list, not the cluster list.
    pub local: bool,
    /// A NodePort, LoadBalancer or external address.
    pub external: bool,
    /// Only clients in the plan's source ranges may use it.
    pub guarded: bool,
    /// Its address exists for services alone: other ports of it are rejected.
    pub closed: bool,
    /// A NodePort: at loopback addresses too, for processes of the node.
    pub node_port: bool,
}

/// What is known of an endpoint that a service could use.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the map")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendState {
    /// It answers: flows to it may go on.
    pub serving: bool,
    /// It is on this node.
    pub local: bool,
    /// It is in the service's cluster list.
    pub in_cluster_list: bool,
    /// It is in the service's local list.
    pub in_local_list: bool,
}

/// The identity of a planned service: one port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The port.
    pub name: ServicePortName,
    /// The family.
    pub family: Family,
}

/// One port of a Service in one family, as the maps should have it.
///
/// Ordered collections throughout: the same input gives the same plan, and differences read well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// What clients dial; all of the key's family.
    pub frontends: BTreeMap<FrontendAddress, FrontendUse>,
    /// Every endpoint that is known, usable or not.
    pub backends: BTreeMap<SocketAddr, BackendState>,
    /// The list for traffic policy `Cluster`; a subset of `backends`.
    pub cluster: BTreeSet<SocketAddr>,
    /// The list for traffic policy `Local`; a subset of `backends`.
    pub local: BTreeSet<SocketAddr>,
    /// Some endpoint could be used, on whatever node: an empty list drops instead of rejecting.
    pub usable: bool,
    /// Each list is a Maglev table of this size; `None`: every endpoint of it once.
    pub table: Option<TableSize>,
    /// How long a client sticks to its backend, in seconds; 0 = no affinity.
    pub affinity_s: u32,
    /// Who may use the guarded frontends; all of the key's family. Without guarded frontends empty.
    pub source_ranges: BTreeSet<IpNet>,
}

/// What the datapath must know besides services. Planned as a whole, written as differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Who the addresses of a prefix are; the longest prefix counts.
    pub clients: BTreeMap<IpNet, Client>,
    /// The prefixes that ClusterIPs are allocated from.
    pub service_cidrs: BTreeSet<IpNet>,
    /// What is known of interfaces, by ifindex; under [`interface::NODE`] what holds for those
    /// without an entry, or without an address of a family.
    pub interfaces: BTreeMap<u32, InterfaceEntry>,
}

/// Who the addresses of a prefix are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Pods.
    pub pod: bool,
    /// This node itself.
    pub node: bool,
    /// Nobody can tell pods from others in this family: there is no detector.
    pub untold: bool,
}

/// What is known of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Pods of this node are behind it.
    pub workload: bool,
    /// The source of masqueraded IPv4 packets that leave here.
    pub v4: Option<Ipv4Addr>,
    /// The source of masqueraded IPv6 packets that leave here.
    pub v6: Option<Ipv6Addr>,
}

/// What plans depend on besides the Service and its slices.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The node they are made for.
    pub node: &'a NodeView,
    /// What the operator decided.
    pub settings: &'a Settings,
    /// The addresses of the node's interfaces.
    pub interface_addresses: &'a BTreeSet<IpAddr>,
    /// Where Nodes are looked up.
    pub store: &'a Store,
}

impl Context<'_> {
    /// Whether an address belongs to this node or to another.
    fn is_of_a_node(&self, address: &IpAddr) -> bool {
        self.interface_addresses.contains(address) || self.store.is_of_a_node(address)
    }
}

/// What every plan depends on: the node it is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The node's name: what is local.
    pub name: Arc<str>,
    /// Its zone; empty if unknown.
    pub zone: Arc<str>,
    /// The addresses on which NodePorts answer.
    pub node_port_addresses: BTreeSet<IpAddr>,
    /// Its first address per family; while there is no Node object, all addresses that others can
    /// reach.
    pub primary: BTreeSet<IpAddr>,
}

/// What the operator decided and plans depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where NodePorts are opened.
    pub node_ports: NodePortAddresses,
    /// How pods are told from other clients.
    pub detector: Detector,
    /// `externalIPs` are left alone: whoever may write Services could take over any address with
    /// them (CVE-2020-8554).
    pub ignore_external_ips: bool,
    /// How Services are balanced that do not say it.
    pub algorithm: Algorithm,
    /// The size of Maglev tables.
    pub table_size: TableSize,
}

/// How pods are told from other clients (`--detect-local-mode`, kube-proxy-behaviour §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detector {
    /// By the pod CIDRs of all Nodes, and by the interfaces behind which pods of this node are.
    #[default]
    Auto,
    /// By these prefixes, the first of each family as with kube-proxy. A family without prefix has
    /// no detector.
    ClusterCidr(Vec<IpNet>),
    /// By the pod CIDRs of the own Node. A family without one has no detector.
    NodeCidr,
    /// By the bridge of this name, at whose ports all pods of this node are. For both families.
    BridgeInterface(String),
    /// By interfaces whose names begin so, and by the ports of such bridges. For both families.
    InterfaceNamePrefix(String),
    /// Not at all: every client could be a pod.
    None,
}

/// The plan of a Service's `port` in `family`, as if no other Service claimed its frontends.
#[must_use]
pub fn plan(
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &[&Slice],
    context: &Context<'_>,
) -> ServicePlan {
    let endpoints::Lists { backends, cluster, local, usable } =
        endpoints::lists(slices, port, family, context.node);
    let mut plan = ServicePlan {
        frontends: frontends::frontends(service, port, family, context)
            .into_iter()
            .map(|(address, (_, used))| (address, used))
            .collect(),
        backends,
        cluster,
        local,
        usable,
        table: match service.algorithm.unwrap_or(context.settings.algorithm) {
            Algorithm::Random => None,
            Algorithm::Maglev => Some(context.settings.table_size),
        },
        affinity_s: match service.affinity {
            Affinity::None => 0,
            Affinity::ClientIp { timeout_s } => timeout_s,
        },
        source_ranges: frontends::source_ranges(service, family, &context.node.primary),
    };
    plan.keep_frontends(|_| true);
    plan
}

impl ServicePlan {
    /// Leaves out the frontends that are not to be kept, and source ranges that guard nothing.
    fn keep_frontends(&mut self, keep: impl Fn(&FrontendAddress) -> bool) {
        self.frontends.retain(|address, _| keep(address));
        if !self.frontends.values().any(|used| used.guarded) {
            self.source_ranges.clear();
        }
    }
}
