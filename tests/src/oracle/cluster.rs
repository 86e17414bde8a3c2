//! A cluster in the words of its objects: everything that may be absent is absent here too.

use std::net::IpAddr;

use super::Prefix;

/// What there is, and how the agent on one node was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// All Services, in any order.
    pub services: Vec<Service>,
    /// All EndpointSlices, in any order.
    pub slices: Vec<Slice>,
    /// All Nodes.
    pub nodes: Vec<Node>,
    /// The name of the node that answers.
    pub this_node: String,
    /// The addresses of that node's interfaces, without loopback.
    pub interface_addresses: Vec<IpAddr>,
    /// The prefixes of all `ServiceCIDR`s.
    pub service_cidrs: Vec<Prefix>,
    /// How the agent was started.
    pub settings: Settings,
}

/// Flags of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--masquerade`.
    pub masquerade: Masquerade,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// How pods are told from others.
    pub detector: Detector,
    /// Where node ports are open.
    pub node_ports: NodePortAddresses,
    /// Whether `externalIPs` are to be ignored.
    pub ignores_external_ips: bool,
}

/// Whose address endpoints see under the external policy `Cluster`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masquerade {
    /// Endpoints of this node see the client, others the node.
    #[default]
    Remote,
    /// All see the node.
    KubeProxy,
}

/// How pods are told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Detector {
    /// By the pod CIDRs of all Nodes and by the interface.
    #[default]
    Auto,
    /// By these prefixes. A family without one has no detector.
    ClusterCidr(Vec<Prefix>),
    /// Not at all.
    None,
}

/// Where node ports are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// At the Node's first address of each family.
    #[default]
    Primary,
    /// At the interface addresses in these prefixes.
    Within(Vec<Prefix>),
    /// At all interface addresses.
    All,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All endpoints.
    Cluster,
    /// Those of this node.
    Local,
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called what they are called")]
pub enum ServiceType {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `creationTimestamp`, in seconds since 1970.
    pub created_s: i64,
    /// The label `service.kubernetes.io/service-proxy-name`.
    pub proxy_name: Option<String>,
    /// `type`.
    pub service_type: ServiceType,
    /// `clusterIPs`; `None` makes it headless.
    pub cluster_ips: Vec<String>,
    /// `ports`.
    pub ports: Vec<ServicePort>,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` that have an address.
    pub ingress: Vec<Ingress>,
    /// `loadBalancerSourceRanges`, as written.
    pub source_ranges: Vec<String>,
    /// `internalTrafficPolicy`.
    pub internal_policy: Option<Policy>,
    /// `externalTrafficPolicy`.
    pub external_policy: Option<Policy>,
    /// `sessionAffinity: ClientIP`.
    pub has_affinity: bool,
}

impl Service {
    /// §1.3: the addresses at which the load balancer delivers packets as they are.
    #[must_use]
    pub fn load_balancer_addresses(&self) -> Vec<IpAddr> {
        let delivered = self.ingress.iter().filter(|ingress| ingress.mode != Some(IpMode::Proxy));
        delivered.map(|ingress| ingress.ip).collect()
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`.
    pub name: Option<String>,
    /// `protocol`; absent is TCP.
    pub protocol: Option<Protocol>,
    /// `port`.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// An address of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// `ip`.
    pub ip: IpAddr,
    /// `ipMode`.
    pub mode: Option<IpMode>,
}

/// `ipMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called what they are called")]
pub enum IpMode {
    Vip,
    Proxy,
}

/// `addressType` of an EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are called what they are called")]
pub enum AddressType {
    Ipv4,
    Ipv6,
    Fqdn,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The label `kubernetes.io/service-name`.
    pub service: Option<String>,
    /// Whether it has the label `service.kubernetes.io/headless`.
    pub is_headless: bool,
    /// `addressType`.
    pub address_type: AddressType,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// `name`.
    pub name: Option<String>,
    /// `protocol`; absent is TCP.
    pub protocol: Option<Protocol>,
    /// `port`.
    pub port: Option<u16>,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses`.
    pub addresses: Vec<String>,
    /// `nodeName`.
    pub node: Option<String>,
    /// `conditions.ready`.
    pub ready: Option<bool>,
    /// `conditions.serving`.
    pub serving: Option<bool>,
    /// `conditions.terminating`.
    pub terminating: Option<bool>,
    /// `hints.forZones`.
    pub zone_hints: Vec<String>,
    /// `hints.forNodes`.
    pub node_hints: Vec<String>,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// `status.addresses` of type `InternalIP`.
    pub internal_ips: Vec<IpAddr>,
    /// `status.addresses` of type `ExternalIP`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
}

impl Node {
    /// Its addresses, the most important first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        [&self.internal_ips[..], &self.external_ips[..]].concat()
    }
}
