//! The oracle: what has to become of a packet, said a second time.
//!
//! A small and slow model of the sections 1 to 4 of the behaviour that kube-proxy has, written from
//! that description and not from our code: it shares no type and no function with either, keeps
//! nothing between two questions and computes everything anew. Each rule is a function that names
//! the section it comes from. Where kube-proxy's modes differ, nftables counts; where Waggle means
//! to differ, the rule says so.
//!
//! It answers for the first packet of a connection over TCP or UDP. It knows nothing of flows,
//! affinity, maps and time.

mod client;
mod cluster;
mod endpoints;
mod frontends;
mod prefix;

pub use cluster::{
    AddressType, Cluster, Detector, Endpoint, Family, Ingress, IpMode, Masquerade, Node,
    NodePortAddresses, Policy, Protocol, Service, ServicePort, ServiceType, Settings, Slice,
    SlicePort,
};
pub use frontends::{Claim, Kind, claims};
pub use prefix::Prefix;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use self::client::{Client, can_tell_pods, client, is_node_address, primary_address};
use self::endpoints::{Known, cluster_list, endpoints, is_usable, local_list};

/// The first packet of a connection, as it comes in at an interface of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends it.
    pub source: IpAddr,
    /// Where it comes in.
    pub interface: Interface,
    /// What is dialled.
    pub destination: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Where a packet comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Pods of this node are behind it.
    Workload,
    /// Everything else is.
    Uplink,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes to one of these endpoints, with the node's address as its source where `true`.
    Reaches(BTreeMap<SocketAddr, bool>),
    /// Its sender is told at once that nobody is there.
    Reject,
    /// It vanishes.
    Drop,
    /// It is no service's and goes where it would go without us.
    NotHandled,
}

/// What becomes of `packet`.
#[must_use]
pub fn decide(cluster: &Cluster, packet: &Packet) -> Answer {
    let claims = claims(cluster);
    match frontends::winner(&claims, packet.destination, packet.protocol) {
        Some(claim) => serve(cluster, packet, claim),
        None => refuse(cluster, packet.destination.ip(), &claims),
    }
}

/// §3.4 and §4.1: a packet to what a Service claims.
fn serve(cluster: &Cluster, packet: &Packet, claim: &Claim<'_>) -> Answer {
    if !source_ranges_allow(cluster, packet.source, claim) {
        return Answer::Drop;
    }
    let known = endpoints(cluster, claim.service, claim.port, Family::of(claim.address));
    let client = client(cluster, packet);
    let list = if takes_local_list(claim, client) {
        local_list(&known)
    } else {
        cluster_list(cluster, &known)
    };
    if list.is_empty() {
        return if known.iter().any(is_usable) { Answer::Drop } else { Answer::Reject };
    }
    let reached = |endpoint: &&Known| {
        (endpoint.address, masquerades(cluster, packet, claim, client, endpoint))
    };
    Answer::Reaches(list.iter().map(reached).collect())
}

/// §4.5: the ranges guard LoadBalancer addresses only, per family, before everything else. Whoever
/// lets the node in lets in the Service's own addresses, which the node may have bound.
fn source_ranges_allow(cluster: &Cluster, source: IpAddr, claim: &Claim<'_>) -> bool {
    if claim.kind != Kind::LoadBalancer {
        return true;
    }
    let family = Family::of(claim.address);
    let ranges: Vec<Prefix> =
        claim.service.source_ranges.iter().filter_map(|range| range.trim().parse().ok()).collect();
    let ranges: Vec<Prefix> = ranges.into_iter().filter(|range| range.family() == family).collect();
    let allows = |address| ranges.iter().any(|range| range.contains(address));
    let node_is_allowed = primary_address(cluster, family).is_some_and(allows);
    let is_own_address = claim.service.load_balancer_addresses().contains(&source);
    ranges.is_empty() || allows(source) || (node_is_allowed && is_own_address)
}

/// §3.4 and §4.4: which of the two lists. Pods and the node reach all endpoints of a Service whose
/// external policy is `Local`, as if they had left the node and come back.
fn takes_local_list(claim: &Claim<'_>, client: Client) -> bool {
    if claim.kind == Kind::ClusterIp {
        claim.service.internal_policy == Some(Policy::Local)
    } else {
        claim.is_external_local() && client == Client::Other
    }
}

/// §4.3: whether `endpoint` sees the node instead of the client.
fn masquerades(
    cluster: &Cluster,
    packet: &Packet,
    claim: &Claim<'_>,
    client: Client,
    endpoint: &Known,
) -> bool {
    let settings = &cluster.settings;
    // A local endpoint sees the client: Waggle's own rule, unless told to do as kube-proxy.
    let masks_external = settings.masquerade == Masquerade::KubeProxy || !endpoint.is_local;
    if endpoint.address.ip() == packet.source {
        return true; // a pod that meets itself; ours: whatever the endpoint's node is
    }
    match (claim.kind, client) {
        (Kind::ClusterIp, _) if settings.masquerade_all => true,
        (Kind::ClusterIp, Client::Pod) => false,
        (Kind::ClusterIp, _) => can_tell_pods(cluster, Family::of(packet.source)),
        (_, _) if !claim.is_external_local() => masks_external,
        (_, Client::Node) => masks_external,
        (_, Client::Pod | Client::Other) => false,
    }
}

/// §4.6: a packet to what no Service claims. Who lost all claims at an address is not there.
fn refuse(cluster: &Cluster, address: IpAddr, claims: &[Claim<'_>]) -> Answer {
    let here: Vec<_> = frontends::winners(claims).filter(|it| it.address == address).collect();
    let is_allocatable = cluster.service_cidrs.iter().any(|cidr| cidr.contains(address));
    if here.iter().any(|claim| exists_for_services_alone(cluster, claim)) {
        Answer::Reject
    } else if here.is_empty() && is_allocatable {
        Answer::Drop
    } else {
        Answer::NotHandled
    }
}

/// §4.6 for ClusterIPs; ours also for LoadBalancer addresses, unless a node has them.
fn exists_for_services_alone(cluster: &Cluster, claim: &Claim<'_>) -> bool {
    let of_a_node = || {
        let mut of_nodes = cluster.nodes.iter().flat_map(Node::addresses);
        is_node_address(cluster, claim.address) || of_nodes.any(|it| it == claim.address)
    };
    match claim.kind {
        Kind::ClusterIp => true,
        Kind::LoadBalancer => !of_a_node(),
        Kind::ExternalIp | Kind::NodePort => false,
    }
}
