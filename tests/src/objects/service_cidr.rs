//! `ServiceCIDRs`.

use serde::Serialize;
use serde_json::{Value, json};

use super::{common_methods, named};

/// A `ServiceCIDR` under construction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ServiceCidr {
    object: Value,
}

common_methods!(ServiceCidr);

/// A `ServiceCIDR` of these prefixes, at most one a family.
#[must_use]
pub fn service_cidr(name: &str, prefixes: &[&str]) -> ServiceCidr {
    let mut object = named("networking.k8s.io/v1", "ServiceCIDR", name);
    object["spec"]["cidrs"] = json!(prefixes);
    ServiceCidr { object }
}
