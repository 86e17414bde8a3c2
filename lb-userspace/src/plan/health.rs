//! What a health check node port tells of a Service (kube-proxy-behaviour §5.1, §10.11).

use std::collections::BTreeSet;

use lb_common::net::Family;

use crate::model::Slice;

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
