//! Who sends a packet.

use std::net::IpAddr;

use super::{Cluster, Detector, Family, Interface, Node, Packet, Prefix};

/// Who sends a packet, as far as can be told (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A pod.
    Pod,
    /// This node.
    Node,
    /// Somebody outside, or nobody can tell.
    Other,
}

/// §4.3: the node is no pod, even by an address that it has in a network of pods.
pub(super) fn client(cluster: &Cluster, packet: &Packet) -> Client {
    if is_node_address(cluster, packet.source) {
        Client::Node
    } else if is_pod(cluster, packet) {
        Client::Pod
    } else {
        Client::Other
    }
}

/// §4.3, the local detectors. `Auto` is ours: the pod CIDRs of all Nodes, and whoever comes in where
/// pods are.
fn is_pod(cluster: &Cluster, packet: &Packet) -> bool {
    let within = |prefixes: &[Prefix]| prefixes.iter().any(|prefix| prefix.contains(packet.source));
    match &cluster.settings.detector {
        Detector::None => false,
        Detector::ClusterCidr(prefixes) => within(prefixes),
        Detector::Auto => {
            let by_interface =
                packet.interface == Interface::Workload && !is_node_address(cluster, packet.source);
            by_interface || cluster.nodes.iter().any(|node| within(&node.pod_cidrs))
        }
    }
}

/// §4.3: whether there is a detector for `family`.
pub(super) fn can_tell_pods(cluster: &Cluster, family: Family) -> bool {
    match &cluster.settings.detector {
        Detector::None => false,
        Detector::ClusterCidr(prefixes) => prefixes.iter().any(|prefix| prefix.family() == family),
        Detector::Auto => true,
    }
}

/// §4.3: whether the node has `address`.
pub(super) fn is_node_address(cluster: &Cluster, address: IpAddr) -> bool {
    cluster.interface_addresses.contains(&address)
}

/// §4.7: the first address of `family` that the own Node object has.
pub(super) fn primary_address(cluster: &Cluster, family: Family) -> Option<IpAddr> {
    let addresses = this_node(cluster)?.addresses();
    addresses.into_iter().find(|address| Family::of(*address) == family)
}

/// The own Node object, if there is one.
pub(super) fn this_node(cluster: &Cluster) -> Option<&Node> {
    cluster.nodes.iter().find(|node| node.name == cluster.this_node)
}
