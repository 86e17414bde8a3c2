//! What clients can dial to reach a port of a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::net::Family;

use super::{FrontendAddress, FrontendUse};
use crate::model::{Service, ServicePort, TrafficPolicy};

/// The frontends of `port` in `family`: ClusterIPs under the internal traffic policy; NodePorts,
/// LoadBalancer and external addresses under the external one. An address that is several of these
/// is the first of them.
pub(super) fn frontends(
    service: &Service,
    port: &ServicePort,
    family: Family,
    node_port_addresses: &BTreeSet<IpAddr>,
) -> BTreeMap<FrontendAddress, FrontendUse> {
    let internal = FrontendUse {
        local: service.internal_policy == TrafficPolicy::Local,
        ..FrontendUse::default()
    };
    let external = FrontendUse {
        local: service.external_policy == TrafficPolicy::Local,
        external: true,
        ..FrontendUse::default()
    };
    let cluster_ips = service.cluster_ips.iter().map(|&ip| (ip, port.port, internal));
    // Until the datapath looks at source ranges, an address that they should guard stays closed.
    let guarded = service.source_ranges.iter().any(|range| Family::of(&range.addr()) == family);
    let load_balancer_ips = service.load_balancer_ips.iter().filter(|_| !guarded);
    let external_ips = load_balancer_ips.chain(&service.external_ips);
    let external_ips = external_ips.map(|&ip| (ip, port.port, external));
    let node_ports = port
        .node_port
        .into_iter()
        .flat_map(|number| node_port_addresses.iter().map(move |&ip| (ip, number, external)));

    let mut frontends = BTreeMap::new();
    for (ip, number, used) in cluster_ips.chain(external_ips).chain(node_ports) {
        if Family::of(&ip) == family {
            let address = FrontendAddress { ip, port: number, protocol: port.protocol };
            frontends.entry(address).or_insert(used);
        }
    }
    frontends
}
