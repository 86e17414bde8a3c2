//! What clients can dial to reach a port of a Service, and who may.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::net::Family;

use super::{Context, FrontendAddress, FrontendUse};
use crate::model::{Service, ServicePort, TrafficPolicy};

/// The frontends of `port` in `family`: ClusterIPs under the internal traffic policy; NodePorts,
/// LoadBalancer and external addresses under the external one. An address that is several of these
/// is the first of: ClusterIP, LoadBalancer address, external address, NodePort.
///
/// Closed is what exists for services alone: ClusterIPs, and LoadBalancer addresses that no node
/// has. Where a node has one (a load balancer that forwards to the nodes' own addresses), its other
/// ports are the node's.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    context: &Context<'_>,
) -> BTreeMap<FrontendAddress, FrontendUse> {
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
        |ip: &IpAddr| FrontendUse { guarded, closed: !context.is_of_a_node(ip), ..external };

    let cluster_ips = service.cluster_ips.iter().map(|&ip| (ip, port.port, internal));
    let balanced = service.load_balancer_ips.iter().map(|&ip| (ip, port.port, balanced(&ip)));
    let external_ips =
        service.external_ips.iter().filter(|_| !context.settings.ignore_external_ips);
    let external_ips = external_ips.map(|&ip| (ip, port.port, external));
    let node_ports = port.node_port.into_iter().flat_map(|number| {
        context.node.node_port_addresses.iter().map(move |&ip| (ip, number, external))
    });

    let mut frontends = BTreeMap::new();
    let all = cluster_ips.chain(balanced).chain(external_ips).chain(node_ports);
    for (ip, number, used) in all.filter(|(ip, _, _)| Family::of(ip) == family) {
        let address = FrontendAddress { ip, port: number, protocol: port.protocol };
        frontends.entry(address).or_insert(used);
    }
    frontends
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
