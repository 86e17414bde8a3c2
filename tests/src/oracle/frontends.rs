//! §1: what Services claim, and who gets it.

use std::net::{IpAddr, SocketAddr};

use super::client::primary_address;
use super::{
    Cluster, Family, NodePortAddresses, Policy, Prefix, Protocol, Service, ServicePort, ServiceType,
};

/// What kind of address a Service claims. The first of them counts: an exact address before a
/// NodePort (§4.1), but nobody takes over what a node has by an externalIP (CVE-2020-8554).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ClusterIP.
    ClusterIp,
    /// An address of its load balancer.
    LoadBalancer,
    /// An address of the node.
    NodePort,
    /// One of its `externalIPs`.
    ExternalIp,
}

/// One address, port and protocol that a port of a Service wants.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The address.
    pub address: IpAddr,
    /// The number of the port.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// What kind of address it is.
    pub kind: Kind,
    /// Who wants it.
    pub service: &'a Service,
    /// For which of its ports.
    pub port: &'a ServicePort,
}

impl Claim<'_> {
    /// §1.3: whether the external policy applies and is `Local`.
    pub(super) fn is_external_local(&self) -> bool {
        self.kind != Kind::ClusterIp && self.service.external_policy == Some(Policy::Local)
    }
}

/// All claims of all Services on this node.
#[must_use]
pub fn claims(cluster: &Cluster) -> Vec<Claim<'_>> {
    let mut claims = Vec::new();
    for service in cluster.services.iter().filter(|service| is_visible(service)) {
        for family in families(service) {
            for port in &service.ports {
                claims.extend(claims_of(cluster, service, port, family));
            }
        }
    }
    claims
}

/// Who gets an address, a port and a protocol that several want: the best kind, then the oldest
/// Service, then the one whose name comes first.
pub(super) fn winner<'a, 'b>(
    claims: &'b [Claim<'a>],
    destination: SocketAddr,
    protocol: Protocol,
) -> Option<&'b Claim<'a>> {
    let wants = |claim: &&Claim<'_>| {
        (claim.address, claim.number, claim.protocol)
            == (destination.ip(), destination.port(), protocol)
    };
    claims.iter().filter(wants).min_by_key(|claim| {
        let Service { created_s, namespace, name, .. } = claim.service;
        (claim.kind, created_s, namespace, name)
    })
}

/// The claims of which Services get what they want.
pub(super) fn winners<'a, 'b>(claims: &'b [Claim<'a>]) -> impl Iterator<Item = &'b Claim<'a>> {
    claims.iter().filter(|claim| {
        let destination = SocketAddr::new(claim.address, claim.number);
        winner(claims, destination, claim.protocol)
            .is_some_and(|it| (it.kind, it.service) == (claim.kind, claim.service))
    })
}

/// §1.1.1, §1.1.5, §1.1.6.
fn is_visible(service: &Service) -> bool {
    service.proxy_name.is_none()
        && service.service_type != ServiceType::ExternalName
        && !cluster_ips(service).is_empty()
}

/// §1.1.5: what is no address (`None`, nothing) is no ClusterIP.
fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    service.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// §1.1.7: a Service exists in the families of its ClusterIPs.
fn families(service: &Service) -> Vec<Family> {
    let of = |family: &Family| cluster_ips(service).iter().any(|ip| Family::of(*ip) == *family);
    [Family::V4, Family::V6].into_iter().filter(of).collect()
}

/// §1.4: what one port of a Service claims in one family.
fn claims_of<'a>(
    cluster: &Cluster,
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
) -> Vec<Claim<'a>> {
    let protocol = port.protocol.unwrap_or(Protocol::Tcp);
    let external_ips = if cluster.settings.ignores_external_ips {
        Vec::new()
    } else {
        service.external_ips.clone()
    };
    let mut claims = Vec::new();
    for (kind, number, addresses) in [
        (Kind::ClusterIp, Some(port.port), cluster_ips(service)),
        (Kind::LoadBalancer, Some(port.port), service.load_balancer_addresses()),
        (Kind::ExternalIp, Some(port.port), external_ips),
        (Kind::NodePort, port.node_port, node_port_addresses(cluster, family)),
    ] {
        for address in addresses.into_iter().filter(|address| Family::of(*address) == family) {
            if let Some(number) = number.filter(|number| *number != 0) {
                claims.push(Claim { address, number, protocol, kind, service, port });
            }
        }
    }
    claims
}

/// §4.7. Without a prefix of a family all addresses of that family count.
fn node_port_addresses(cluster: &Cluster, family: Family) -> Vec<IpAddr> {
    let of_interfaces = cluster.interface_addresses.iter().copied();
    match &cluster.settings.node_ports {
        NodePortAddresses::Primary => primary_address(cluster, family).into_iter().collect(),
        NodePortAddresses::All => of_interfaces.collect(),
        NodePortAddresses::Within(prefixes) => {
            let ours: Vec<&Prefix> = prefixes.iter().filter(|it| it.family() == family).collect();
            let open = |ip: &IpAddr| ours.is_empty() || ours.iter().any(|it| it.contains(*ip));
            of_interfaces.filter(open).collect()
        }
    }
}
