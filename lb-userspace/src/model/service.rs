//! Services and their ports.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Protocol;

/// The name of an object, printed `namespace/name`, or `name` if it has no namespace (a Node).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// Namespace; empty for objects of the cluster.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// `namespace/name`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// The unit of load balancing, printed `namespace/name:port/PROTOCOL` (no `:port` if unnamed).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: NamespacedName,
    /// The port's name; empty for the only port of a Service.
    pub port: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.protocol)
    }
}

/// Which endpoints traffic may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Those on this node.
    Local,
}

/// `sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// `None`.
    #[default]
    None,
    /// `ClientIP`, with its timeout.
    ClientIp {
        /// `timeoutSeconds`, 1 to 86,400.
        timeout_s: u32,
    },
}

/// How backends are chosen for new flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// By a hash over the list of backends.
    #[default]
    Random,
    /// By a hash over a Maglev table: the same on all nodes, and few flows move when the list changes.
    Maglev,
}

/// A Service that is load balanced: never headless, never an `ExternalName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: NamespacedName,
    /// `creationTimestamp` in seconds since 1970, 0 if it has none: the first claim of an address
    /// wins.
    pub created_s: i64,
    /// ClusterIPs, at most one per family.
    pub cluster_ips: Vec<IpAddr>,
    /// `externalIPs`.
    pub external_ips: BTreeSet<IpAddr>,
    /// LoadBalancer ingress IPs whose `ipMode` is `VIP` or absent.
    pub load_balancer_ips: BTreeSet<IpAddr>,
    /// `loadBalancerSourceRanges`.
    pub source_ranges: BTreeSet<ipnet::IpNet>,
    /// `internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `healthCheckNodePort` of a LoadBalancer Service with external policy `Local`.
    pub health_check_node_port: Option<u16>,
    /// `sessionAffinity` and its timeout.
    pub affinity: Affinity,
    /// The annotation `waggle.dev/algorithm`, if it has one.
    pub algorithm: Option<Algorithm>,
    /// Its ports, at least one.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty if unnamed.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of ClusterIPs, LoadBalancer and external IPs; never 0.
    pub port: u16,
    /// The node port, if it has one.
    pub node_port: Option<u16>,
}
