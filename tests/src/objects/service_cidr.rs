//! `ServiceCIDR`s.

use serde::Serialize;
use serde_json::{Value, json};

use super::{common_methods, named, push};

/// A `ServiceCIDR` under construction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ServiceCidr {
    object: Value,
}

common_methods!(ServiceCidr);

/// A `ServiceCIDR` without prefixes so far.
#[must_use]
pub fn service_cidr(name: &str) -> ServiceCidr {
    ServiceCidr { object: named("networking.k8s.io/v1", "ServiceCIDR", name) }
}

impl ServiceCidr {
    /// Adds a prefix that ClusterIPs are allocated from.
    #[must_use]
    pub fn cidr(mut self, cidr: &str) -> Self {
        push(&mut self.object["spec"]["cidrs"], json!(cidr));
        self
    }
}
