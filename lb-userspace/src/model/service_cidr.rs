//! Prefixes that ClusterIPs are allocated from.

use std::collections::BTreeSet;

use super::NamespacedName;

/// A `networking.k8s.io/v1` `ServiceCIDR` (KEP-1880).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    /// Its name, without namespace.
    pub name: NamespacedName,
    /// `spec.cidrs`.
    pub cidrs: BTreeSet<ipnet::IpNet>,
}
