//! EndpointSlices.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as api;
use lb_common::net::Family;

use super::address::unicast;
use super::{keep_good, label, name, port, protocol};
use crate::model::{Endpoint, NamespacedName, Outcome, Slice, SlicePort};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// An EndpointSlice; ports and endpoints that cannot be used are left out.
#[must_use]
pub fn slice(slice: &api::EndpointSlice) -> Outcome<Slice> {
    let family = match slice.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        "FQDN" => return Outcome::NotOurs,
        other => return Outcome::Rejected(format!("address type {other:?} is unknown")),
    };
    if label(&slice.metadata, HEADLESS).is_some() {
        return Outcome::NotOurs;
    }
    let own_name = name(&slice.metadata);
    let service = match label(&slice.metadata, SERVICE_NAME) {
        Some(service) if !service.is_empty() => NamespacedName::new(&own_name.namespace, service),
        _ => return Outcome::Rejected(format!("has no service; set the label {SERVICE_NAME}")),
    };
    let mut problems = Vec::new();
    let ports = keep_good(slice.ports.iter().flatten().map(slice_port), &mut problems);
    let endpoints = slice.endpoints.iter().map(|e| endpoint(e, family));
    let endpoints = keep_good(endpoints, &mut problems);
    let name = own_name;
    // Only told in metrics: one that cannot be read is no problem of the slice.
    let annotations = slice.metadata.annotations.as_ref();
    let triggered = annotations.and_then(|all| all.get(TRIGGERED)).and_then(|at| at.parse().ok());
    Outcome::Usable(Slice { name, service, family, ports, endpoints, triggered }, problems)
}

/// A port. The API server gives a port without name the empty name; manifests get the same.
fn slice_port(slice_port: &api::EndpointPort) -> Result<SlicePort, String> {
    let name = slice_port.name.as_deref().unwrap_or_default();
    let left_out = |problem: String| format!("port {name:?} is left out: {problem}");
    let number = slice_port.port.ok_or_else(|| left_out("it has no number".to_owned()))?;
    Ok(SlicePort {
        name: name.into(),
        protocol: protocol(slice_port.protocol.as_deref()).map_err(left_out)?,
        port: port(number).map_err(left_out)?,
    })
}

/// An endpoint: its first address, and the defaults of KEP-1672 for absent conditions.
fn endpoint(endpoint: &api::Endpoint, family: Family) -> Result<Endpoint, String> {
    let text = endpoint.addresses.first().ok_or("an endpoint without address is left out")?;
    let address = unicast(text).map_err(|problem| format!("an endpoint is left out: {problem}"))?;
    if Family::of(&address) != family {
        return Err(format!(
            "endpoint {address} is left out: it is not of the slice's addressType"
        ));
    }
    let conditions = endpoint.conditions.as_ref();
    let hints = endpoint.hints.as_ref();
    Ok(Endpoint {
        address,
        node: endpoint.node_name.as_deref().map(Into::into),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        zone_hints: names(hints.and_then(|h| h.for_zones.as_ref()), |zone| &zone.name),
        node_hints: names(hints.and_then(|h| h.for_nodes.as_ref()), |node| &node.name),
    })
}

fn names<T>(hints: Option<&Vec<T>>, name: fn(&T) -> &String) -> BTreeSet<Arc<str>> {
    hints.into_iter().flatten().map(|hint| name(hint).as_str().into()).collect()
}
