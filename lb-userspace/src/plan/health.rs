//! What a health check node port tells of a Service (kube-proxy-behaviour §5.1, §10.11).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use lb_common::net::Family;

use super::{NodePortAddresses, NodeView};
use crate::model::{NamespacedName, Slice};

/// All health check node ports, and where they answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthChecks {
    /// The addresses to listen at; `::` alone stands for all addresses of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// By the Service that asks for it.
    pub services: BTreeMap<NamespacedName, HealthCheck>,
}

/// The health check node port of a Service, and what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port, TCP.
    pub port: u16,
    /// How many endpoints of the Service are here and ready.
    pub local_endpoints: usize,
}

impl HealthChecks {
    /// Listens where node ports answer; tells whether that is somewhere else than before.
    pub(super) fn listen_at(&mut self, view: &NodeView, setting: &NodePortAddresses) -> bool {
        let addresses = match setting {
            NodePortAddresses::All => BTreeSet::from([IpAddr::V6(Ipv6Addr::UNSPECIFIED)]),
            _ => view.node_port_addresses.clone(),
        };
        let is_new = self.addresses != addresses;
        self.addresses = addresses;
        is_new
    }

    /// A Service has this health check now, or none; tells whether that is new.
    pub(super) fn set(&mut self, service: &NamespacedName, check: Option<HealthCheck>) -> bool {
        let old = match check {
            Some(check) => self.services.insert(service.clone(), check),
            None => self.services.remove(service),
        };
        old != check
    }
}

/// How many endpoints of a Service on the node `node_name` are ready: distinct addresses over all
/// ports. Terminating endpoints do not count, though they may still be served.
///
/// `slices` are those of the Service. A pod with an address of each family counts once: of two
/// families the one with more endpoints is told.
#[must_use]
pub fn local_ready_endpoints(slices: &[&Slice], node_name: &str) -> usize {
    let count = |family| {
        let slices =
            slices.iter().filter(|slice| slice.family == family && !slice.ports.is_empty());
        let endpoints = slices.flat_map(|slice| &slice.endpoints);
        let here = endpoints.filter(|it| it.ready && it.node.as_deref() == Some(node_name));
        here.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().len()
    };
    count(Family::V4).max(count(Family::V6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::slice;
    use crate::model::{Protocol, SlicePort};

    #[track_caller]
    fn check(slices: &[Slice], expected: usize) {
        let slices: Vec<_> = slices.iter().collect();
        assert_eq!(local_ready_endpoints(&slices, "n1"), expected);
    }

    #[test]
    fn only_endpoints_that_are_here_and_ready_count() {
        check(&[], 0);
        check(&[slice("default/a", "default/web", ".1 L r; .2 L r; .3 R r; .4 - r")], 2);
        check(&[slice("default/a", "default/web", ".1 L s; .2 L st; .3 L t; .4 L n")], 0);
    }

    #[test]
    fn an_address_counts_once_over_all_ports_and_slices() {
        let mut many = slice("default/a", "default/web", ".1 L r; .2 L r");
        many.ports.push(SlicePort { name: "b".into(), protocol: Protocol::Udp, port: 53 });
        check(&[many.clone(), slice("default/b", "default/web", ".2 L r; .3 L r")], 3);
        many.ports.clear();
        check(&[many], 0);
    }

    #[test]
    fn pods_with_addresses_of_both_families_count_once() {
        let v4 = slice("default/a", "default/web", ".1 L r; .2 L r");
        check(&[v4, slice("default/b", "default/web", "fd00::1 L r; fd00::2 L st")], 2);
    }
}
