//! From the API's types to ours: the last place that sees the API's `Option`s.
//!
//! Pure. What is good in an object is kept and what is bad is named; a conversion never fails for
//! the objects beside it.

mod address;
mod name;
mod node;
mod pod;
mod service;
mod service_cidr;
mod slice;
#[cfg(test)]
mod tests;

pub use name::check_name;
pub use node::node;
pub use pod::pod;
pub use service::{service, service_of, service_selector};
pub use service_cidr::service_cidr;
pub use slice::slice;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{NamespacedName, Protocol};

/// The name of an object. Its namespace is empty if it has none.
#[must_use]
pub fn name(meta: &ObjectMeta) -> NamespacedName {
    NamespacedName::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// `protocol`, TCP if absent.
fn protocol(name: Option<&str>) -> Result<Protocol, String> {
    match name {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!("protocol {other:?} is unknown; use TCP, UDP or SCTP")),
    }
}

/// A port number that is not 0.
fn port(number: i32) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(|| format!("port {number} is out of range; use 1 to 65535"))
}

/// The good ones; what is wrong with the others goes to `problems`.
fn keep_good<T>(
    results: impl IntoIterator<Item = Result<T, String>>,
    problems: &mut Vec<String>,
) -> Vec<T> {
    let mut good = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    good
}
