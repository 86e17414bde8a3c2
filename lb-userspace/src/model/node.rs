//! Nodes, as the cluster describes them.

use std::net::IpAddr;
use std::sync::Arc;

/// A Node object, as far as load balancing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, compared with an endpoint's `nodeName`.
    pub name: Arc<str>,
    /// Label `topology.kubernetes.io/zone`; empty if absent.
    pub zone: Arc<str>,
    /// `status.addresses` of type `InternalIP`, then `ExternalIP`, in their order.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<ipnet::IpNet>,
    /// It is about to go: it has a `deletionTimestamp`, or the autoscaler's taint
    /// `ToBeDeletedByClusterAutoscaler`.
    pub leaving: bool,
}
