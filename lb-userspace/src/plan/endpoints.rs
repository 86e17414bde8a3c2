//! Which endpoints a port of a Service uses: the cluster list and the local list.
//!
//! Both lists fall back to terminating endpoints each by itself (KEP-1669), and topology hints
//! (KEP-2433, KEP-3015) narrow the cluster list only. A level of topology is used only if every
//! ready endpoint has a hint for it and one of them is hinted for this node, so that narrowing
//! never leaves an empty list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::net::Family;

use super::{BackendState, NodeView};
use crate::model::{Endpoint, ServicePort, Slice};

/// The endpoints of a port of a Service in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) backends: BTreeMap<SocketAddr, BackendState>,
    pub(super) cluster: BTreeSet<SocketAddr>,
    pub(super) local: BTreeSet<SocketAddr>,
    /// Some endpoint could be used, on whatever node.
    pub(super) usable: bool,
}

/// The lists of `port` as seen from `node`.
pub(super) fn lists(
    slices: &[&Slice],
    port: &ServicePort,
    family: Family,
    node: &NodeView,
) -> Lists {
    let known = merge(slices, port, family);
    let is_local = |endpoint: &Endpoint| endpoint.node.as_deref() == Some(&*node.name);
    let topology = Topology::of(&known, node);
    let cluster = usable(&known, |_| true, |endpoint| topology.admits(endpoint, node));
    let local = usable(&known, is_local, |_| true);
    let state = |address: &SocketAddr, endpoint: &Endpoint| BackendState {
        serving: endpoint.ready || endpoint.serving,
        local: is_local(endpoint),
        in_cluster_list: cluster.contains(address),
        in_local_list: local.contains(address),
    };
    let backends = known.iter().map(|(address, endpoint)| (*address, state(address, endpoint)));
    Lists {
        backends: backends.collect(),
        // The cluster list is empty only if no endpoint of any node could be used (§3.2).
        usable: !cluster.is_empty(),
        cluster,
        local,
    }
}

type Known<'a> = BTreeMap<SocketAddr, &'a Endpoint>;

/// All endpoints of `port`, each with the port of its own slice. Of two with one address and port
/// the one that is not terminating counts: the address of a pod that shuts down may have been
/// given to a new pod already. Among equals the last one counts.
fn merge<'a>(slices: &[&'a Slice], port: &ServicePort, family: Family) -> Known<'a> {
    let mut known = Known::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let same = |p: &&_| is_same_port(p, port);
        for slice_port in slice.ports.iter().filter(same) {
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, slice_port.port);
                let other = known.entry(address).or_insert(endpoint);
                if !endpoint.terminating || other.terminating {
                    *other = endpoint;
                }
            }
        }
    }
    known
}

fn is_same_port(slice_port: &crate::model::SlicePort, port: &ServicePort) -> bool {
    slice_port.name == port.name && slice_port.protocol == port.protocol
}

/// The ready endpoints among the `candidates` that are `preferred`; if none is ready, those that
/// still serve while they terminate, preferred or not.
fn usable(
    known: &Known<'_>,
    candidate: impl Fn(&Endpoint) -> bool,
    preferred: impl Fn(&Endpoint) -> bool,
) -> BTreeSet<SocketAddr> {
    let candidates = || known.iter().filter(|(_, endpoint)| candidate(endpoint));
    if candidates().any(|(_, endpoint)| endpoint.ready) {
        let ready = candidates().filter(|(_, endpoint)| endpoint.ready && preferred(endpoint));
        ready.map(|(&address, _)| address).collect()
    } else {
        let draining = candidates().filter(|(_, e)| e.serving && e.terminating);
        draining.map(|(&address, _)| address).collect()
    }
}

/// How far the cluster list reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topology {
    SameNode,
    SameZone,
    Everywhere,
}

impl Topology {
    fn of(known: &Known<'_>, node: &NodeView) -> Self {
        let ready: Vec<_> = known.values().copied().filter(|endpoint| endpoint.ready).collect();
        if every_one_hints(&ready, |endpoint| &endpoint.node_hints, &node.name) {
            Self::SameNode
        } else if every_one_hints(&ready, |endpoint| &endpoint.zone_hints, &node.zone) {
            Self::SameZone
        } else {
            Self::Everywhere
        }
    }

    fn admits(self, endpoint: &Endpoint, node: &NodeView) -> bool {
        match self {
            Self::SameNode => endpoint.node_hints.contains(&node.name),
            Self::SameZone => endpoint.zone_hints.contains(&node.zone),
            Self::Everywhere => true,
        }
    }
}

/// Whether all have hints and one of the hints is `ours`.
fn every_one_hints(
    ready: &[&Endpoint],
    hints: impl Fn(&Endpoint) -> &BTreeSet<Arc<str>>,
    ours: &Arc<str>,
) -> bool {
    let all_have_hints = ready.iter().all(|endpoint| !hints(endpoint).is_empty());
    let one_is_ours = ready.iter().any(|endpoint| hints(endpoint).contains(ours));
    all_have_hints && one_is_ours && !ours.is_empty()
}
