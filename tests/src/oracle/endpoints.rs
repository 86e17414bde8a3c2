//! §2 and §3: the endpoints of one port of a Service, and which of them take traffic.

use std::net::{IpAddr, SocketAddr};

use super::client::this_node;
use super::{
    AddressType, Cluster, Endpoint, Family, Protocol, Service, ServicePort, Slice, SlicePort,
};

/// An endpoint with the defaults of §2.7 filled in.
#[expect(clippy::struct_excessive_bools, reason = "the API says it so")]
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) address: SocketAddr,
    pub(super) is_local: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    zone_hints: Vec<String>,
    node_hints: Vec<String>,
}

/// §2: all endpoints of a port of a Service in one family, each address and port once.
pub(super) fn endpoints(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    for slice in cluster.slices.iter().filter(|slice| is_slice_of(slice, service, family)) {
        for slice_port in slice.ports.iter().filter(|it| fits(it, port)) {
            for endpoint in &slice.endpoints {
                all.extend(known(cluster, endpoint, slice_port));
            }
        }
    }
    without_duplicates(&all)
}

/// §1.1.1, §2.1, §2.2.
fn is_slice_of(slice: &Slice, service: &Service, family: Family) -> bool {
    let address_type = match family {
        Family::V4 => AddressType::Ipv4,
        Family::V6 => AddressType::Ipv6,
    };
    slice.namespace == service.namespace
        && slice.service.as_ref() == Some(&service.name)
        && slice.address_type == address_type
        && !slice.is_headless
}

/// §2.4, §2.5: joined by name and protocol; without a number it is no port. An absent name is the
/// empty one: the API server fills it in.
fn fits(slice_port: &SlicePort, port: &ServicePort) -> bool {
    let name = |it: &Option<String>| it.clone().unwrap_or_default();
    let protocol = |it: Option<Protocol>| it.unwrap_or(Protocol::Tcp);
    name(&slice_port.name) == name(&port.name)
        && slice_port.port.is_some_and(|number| number != 0)
        && protocol(slice_port.protocol) == protocol(port.protocol)
}

/// §2.6, §2.7, §2.9.
fn known(cluster: &Cluster, endpoint: &Endpoint, port: &SlicePort) -> Option<Known> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    Some(Known {
        address: SocketAddr::new(address, port.port?),
        is_local: endpoint.node.as_ref() == Some(&cluster.this_node),
        ready: endpoint.ready.unwrap_or(true),
        serving: endpoint.serving.unwrap_or(true),
        terminating: endpoint.terminating.unwrap_or(false),
        zone_hints: endpoint.zone_hints.clone(),
        node_hints: endpoint.node_hints.clone(),
    })
}

/// §2.11: one that is not terminating wins over one that is. Which of two equals wins is not
/// defined, so nobody may ask with two that differ.
fn without_duplicates(all: &[Known]) -> Vec<Known> {
    let mut kept: Vec<Known> = Vec::new();
    for endpoint in all {
        match kept.iter_mut().find(|other| other.address == endpoint.address) {
            None => kept.push(endpoint.clone()),
            Some(other) if other.terminating && !endpoint.terminating => *other = endpoint.clone(),
            Some(_) => {}
        }
    }
    kept
}

/// §3.2.
pub(super) fn cluster_list<'a>(cluster: &Cluster, all: &'a [Known]) -> Vec<&'a Known> {
    let ready = ready(all);
    if ready.is_empty() { leaving(all) } else { near(cluster, ready) }
}

/// §3.3.
pub(super) fn local_list(all: &[Known]) -> Vec<&Known> {
    let local = |list: Vec<&'_ Known>| -> Vec<&Known> {
        all.iter()
            .filter(|it| it.is_local && list.iter().any(|o| o.address == it.address))
            .collect()
    };
    let ready = local(ready(all));
    if ready.is_empty() { local(leaving(all)) } else { ready }
}

/// §3.4: counts as an endpoint anywhere.
pub(super) fn is_usable(endpoint: &Known) -> bool {
    endpoint.ready || (endpoint.serving && endpoint.terminating)
}

fn ready(all: &[Known]) -> Vec<&Known> {
    all.iter().filter(|endpoint| endpoint.ready).collect()
}

fn leaving(all: &[Known]) -> Vec<&Known> {
    all.iter().filter(|endpoint| endpoint.serving && endpoint.terminating).collect()
}

/// §3.1: those for this node, else those for this zone, else all; a level counts only if every
/// endpoint has a hint of it and some endpoint's hint names us.
fn near<'a>(cluster: &Cluster, ready: Vec<&'a Known>) -> Vec<&'a Known> {
    let zone = this_node(cluster).and_then(|node| node.zone.clone()).unwrap_or_default();
    let for_node = hinted(&ready, |endpoint| &endpoint.node_hints, &cluster.this_node);
    let for_zone = hinted(&ready, |endpoint| &endpoint.zone_hints, &zone);
    for_node.or(for_zone).unwrap_or(ready)
}

/// The endpoints whose `hints` contain `own`, if all have hints and some contain it.
fn hinted<'a>(
    ready: &[&'a Known],
    hints: fn(&Known) -> &Vec<String>,
    own: &String,
) -> Option<Vec<&'a Known>> {
    let ours: Vec<_> = ready.iter().copied().filter(|it| hints(it).contains(own)).collect();
    let all_have_some = ready.iter().all(|it| !hints(it).is_empty());
    (all_have_some && !ours.is_empty()).then_some(ours)
}
