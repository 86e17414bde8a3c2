//! Objects for tests, in few words. The node is called `n1`.

use std::collections::BTreeSet;
use std::sync::Arc;

use lb_common::net::Family;

use super::{
    Affinity, Endpoint, NamespacedName, Node, Protocol, Service, ServicePort, Slice, SlicePort,
    TrafficPolicy,
};

/// The name written `namespace/name`.
pub(crate) fn name(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap();
    NamespacedName::new(namespace, name)
}

/// A Service with the one unnamed port 80/TCP.
pub(crate) fn service(text: &str, cluster_ip: &str) -> Service {
    Service {
        name: name(text),
        created_s: 0,
        cluster_ips: vec![cluster_ip.parse().unwrap()],
        external_ips: BTreeSet::new(),
        load_balancer_ips: BTreeSet::new(),
        source_ranges: BTreeSet::new(),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        affinity: Affinity::None,
        algorithm: None,
        ports: vec![port("", 80)],
    }
}

/// A TCP port.
pub(crate) fn port(name: &str, port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol: Protocol::Tcp, port, node_port: None }
}

/// A slice whose unnamed port is 8080/TCP. `endpoints` are separated by semicolons: see
/// [`endpoint`].
pub(crate) fn slice(text: &str, service: &str, endpoints: &str) -> Slice {
    let endpoints: Vec<_> = endpoints.split(';').map(str::trim).collect();
    let endpoints: Vec<_> =
        endpoints.into_iter().filter(|text| !text.is_empty()).map(endpoint).collect();
    Slice {
        name: name(text),
        service: name(service),
        family: endpoints.first().map_or(Family::V4, |endpoint| Family::of(&endpoint.address)),
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints,
        triggered: None,
    }
}

/// `.7 L r`: 10.180.0.7 (or a whole address), local or `R`emote or on no known node (`-`), ready.
/// Other states: `s` only serving, `st` serving while terminating, `t` terminating, `n` none of
/// these. Then hints: `zone:a`, `node:n1`.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split_whitespace();
    let address = words.next().unwrap();
    let address = address.strip_prefix('.').map_or(address.into(), |n| format!("10.180.0.{n}"));
    let node = match words.next().unwrap() {
        "L" => Some("n1".into()),
        "R" => Some("n2".into()),
        "-" => None,
        other => panic!("{other} is not L, R or -"),
    };
    let state = words.next().unwrap();
    assert!(["r", "s", "st", "t", "n"].contains(&state), "{state} is no state");
    let hints: Vec<_> = words.map(|hint| hint.split_once(':').unwrap()).collect();
    let hinted = |level: &str| -> BTreeSet<Arc<str>> {
        hints.iter().filter(|(of, _)| *of == level).map(|(_, name)| (*name).into()).collect()
    };
    Endpoint {
        address: address.parse().unwrap(),
        node,
        ready: state == "r",
        serving: ["r", "s", "st"].contains(&state),
        terminating: state == "st" || state == "t",
        zone_hints: hinted("zone"),
        node_hints: hinted("node"),
    }
}

/// The own Node.
pub(crate) fn node(zone: &str, address: &str) -> Node {
    Node {
        name: "n1".into(),
        zone: zone.into(),
        addresses: vec![address.parse().unwrap()],
        pod_cidrs: Vec::new(),
        leaving: false,
    }
}
