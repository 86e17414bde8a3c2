//! `ServiceCIDRs`.

use k8s_openapi::api::networking::v1 as api;

use super::address::prefix;
use super::{keep_good, name};
use crate::model::{Outcome, ServiceCidr};

/// A `ServiceCIDR`; prefixes that cannot be read are left out.
#[must_use]
pub fn service_cidr(object: &api::ServiceCIDR) -> Outcome<ServiceCidr> {
    let mut problems = Vec::new();
    let cidrs = object.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    let cidrs = keep_good(cidrs.map(|cidr| prefix(cidr)), &mut problems);
    let cidrs = cidrs.into_iter().collect();
    Outcome::Usable(ServiceCidr { name: name(&object.metadata), cidrs }, problems)
}
