//! What clients can dial to reach a port of a Service, and who may.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::net::Family;

use super::{Context, FrontendAddress, FrontendUse};
use crate::model::{Service, ServicePort, TrafficPolicy};

/// What a frontend is for its Service. Ordered by right: what the cluster allocates, then what a
/// controller reports, then an open port of the node, which gives way to an exact address as with
/// kube-proxy (§4.1), and last what whoever writes the Service makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FrontendKind {
    /// One of `clusterIPs`.
    ClusterIp,
    /// An ingress IP of the load balancer's status.
    LoadBalancerIp,
    /// `nodePort` on an address of this node.
    NodePort,
    /// One of `externalIPs`.
    ExternalIp,
}

/// The frontends of `port` in `family`: what each is, and how it is used. An address that is several
/// of these is the first of them in the order of [`FrontendKind`].
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    context: &Context<'_>,
) -> BTreeMap<FrontendAddress, (FrontendKind, FrontendUse)> {
    let mut frontends = BTreeMap::new();
    for (address, kind, used) in all(service, port, family, context) {
        frontends.entry(address).or_insert((kind, used));
    }
    frontends
}

/// Every frontend, the best kinds first: ClusterIPs under the internal traffic policy; LoadBalancer
/// addresses, NodePorts and external addresses under the external one.
///
/// Closed is what exists for services alone: ClusterIPs, and LoadBalancer addresses that no node
/// has. Where a node has one (a load balancer that forwards to the nodes' own addresses), its other
/// ports are the node's.
fn all(
    service: &Service,
    port: &ServicePort,
    family: Family,
    context: &Context<'_>,
) -> impl Iterator<Item = (FrontendAddress, FrontendKind, FrontendUse)> {
    use FrontendKind::{ClusterIp, ExternalIp, LoadBalancerIp, NodePort};
    let internal = FrontendUse {
        local: service.internal_policy == TrafficPolicy::Local,
        closed: true,
        ..FrontendUse::default()
    };
    let external = FrontendUse {
        local: service.external_policy == TrafficPolicy::Local,
        external: true,
        ..FrontendUse::default()
    };
    let guarded = own_ranges(service, family).next().is_some();
    let balanced =
        move |ip: &IpAddr| FrontendUse { guarded, closed: !context.is_of_a_node(ip), ..external };

    let (number, protocol) = (port.port, port.protocol);
    let cluster_ips = service.cluster_ips.iter().map(move |&ip| (ip, number, ClusterIp, internal));
    let balanced = service
        .load_balancer_ips
        .iter()
        .map(move |&ip| (ip, number, LoadBalancerIp, balanced(&ip)));
    let external_ips =
        service.external_ips.iter().filter(|_| !context.settings.ignore_external_ips);
    let external_ips = external_ips.map(move |&ip| (ip, number, ExternalIp, external));
    let node_ports = port.node_port.into_iter().flat_map(move |number| {
        let addresses = context.node.node_port_addresses.iter();
        addresses
            .map(move |&ip| (ip, number, NodePort, FrontendUse { node_port: true, ..external }))
    });

    let all = cluster_ips.chain(balanced).chain(node_ports).chain(external_ips);
    all.filter(move |(ip, ..)| Family::of(ip) == family)
        .map(move |(ip, port, kind, used)| (FrontendAddress { ip, port, protocol }, kind, used))
}

/// Who may use the guarded frontends of a Service in `family`. If its node may, its LoadBalancer
/// addresses may too: one of them may be bound here, and is then what the node dials itself with
/// (§4.5).
pub(super) fn source_ranges(
    service: &Service,
    family: Family,
    primary: &BTreeSet<IpAddr>,
) -> BTreeSet<IpNet> {
    let mut ranges: BTreeSet<IpNet> = own_ranges(service, family).map(IpNet::trunc).collect();
    if ranges.iter().any(|range| primary.iter().any(|ip| range.contains(ip))) {
        let balanced = service.load_balancer_ips.iter().filter(|ip| Family::of(ip) == family);
        ranges.extend(balanced.map(|&ip| IpNet::from(ip)));
    }
    ranges
}

fn own_ranges(service: &Service, family: Family) -> impl Iterator<Item = &IpNet> {
    service.source_ranges.iter().filter(move |range| Family::of(&range.addr()) == family)
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancerIp => "LoadBalancer IP",
            Self::ExternalIp => "externalIP",
        })
    }
}
