//! Prefixes that ClusterIPs are allocated from.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1 as api;

use super::address::prefix;
use super::{keep_good, name};
use crate::model::{Outcome, ServiceCidr};

/// A `ServiceCIDR`; prefixes that cannot be read are left out.
#[must_use]
pub fn service_cidr(cidr: &api::ServiceCIDR) -> Outcome<ServiceCidr> {
    let written = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    let cidrs = written.map(|text| {
        let checked = prefix(text).and_then(not_everything);
        checked.map_err(|problem| format!("a CIDR is left out: {problem}"))
    });
    let mut problems = Vec::new();
    let cidrs = keep_good(cidrs, &mut problems).into_iter().collect();
    Outcome::Usable(ServiceCidr { name: name(&cidr.metadata), cidrs }, problems)
}

/// An address in a `ServiceCIDR` that no Service has is nobody's: of length 0, that is everybody.
fn not_everything(prefix: IpNet) -> Result<IpNet, String> {
    if prefix.prefix_len() == 0 {
        return Err(format!("{prefix} holds every address; use the prefix of ClusterIPs"));
    }
    Ok(prefix)
}
