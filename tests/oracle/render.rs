//! The oracle's clusters as objects of the API, as an API server would send them.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use lb_tests::oracle::{
    AddressType, Cluster, Endpoint, IpMode, Node, Policy, Prefix, Protocol, Service, ServicePort,
    ServiceType, Slice,
};
use serde_json::{Map, Value, json};

/// What tells objects apart: kind, namespace and name.
pub(crate) type Id = (&'static str, String, String);

/// All objects of `cluster`.
pub(crate) fn objects(cluster: &Cluster) -> BTreeMap<Id, Value> {
    let mut objects = BTreeMap::new();
    for it in &cluster.services {
        objects.insert(("Service", it.namespace.clone(), it.name.clone()), service(it));
    }
    for it in &cluster.slices {
        objects.insert(("EndpointSlice", it.namespace.clone(), it.name.clone()), slice(it));
    }
    for it in &cluster.nodes {
        objects.insert(("Node", String::new(), it.name.clone()), node(it));
    }
    if !cluster.service_cidrs.is_empty() {
        let name = "kubernetes";
        let object = service_cidr(name, &cluster.service_cidrs);
        objects.insert(("ServiceCIDR", String::new(), name.to_owned()), object);
    }
    objects.into_iter().map(|(id, object)| (id, tidy(object))).collect()
}

fn service(service: &Service) -> Value {
    let mut labels = Map::new();
    if let Some(name) = &service.proxy_name {
        labels.insert("service.kubernetes.io/service-proxy-name".into(), json!(name));
    }
    let created = Timestamp::from_second(service.created_s).expect("a time").to_string();
    let ingress = service.ingress.iter().map(|it| {
        let mode = it.mode.map(|mode| if mode == IpMode::Vip { "VIP" } else { "Proxy" });
        json!({"ip": it.ip, "ipMode": mode})
    });
    let spec = json!({
        "type": match service.service_type {
            ServiceType::ClusterIp => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
            ServiceType::ExternalName => "ExternalName",
        },
        "clusterIP": service.cluster_ips.first(),
        "clusterIPs": service.cluster_ips,
        "ports": service.ports.iter().map(service_port).collect::<Vec<_>>(),
        "externalIPs": service.external_ips,
        "loadBalancerSourceRanges": service.source_ranges,
        "internalTrafficPolicy": service.internal_policy.map(policy),
        "externalTrafficPolicy": service.external_policy.map(policy),
        "sessionAffinity": if service.has_affinity { "ClientIP" } else { "None" },
    });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": service.namespace,
            "name": service.name,
            "creationTimestamp": created,
            "labels": labels,
        },
        "spec": spec,
        "status": {"loadBalancer": {"ingress": ingress.collect::<Vec<_>>()}},
    })
}

fn service_port(port: &ServicePort) -> Value {
    json!({
        "name": port.name,
        "protocol": port.protocol.map(protocol),
        "port": port.port,
        "nodePort": port.node_port,
    })
}

fn slice(slice: &Slice) -> Value {
    let mut labels = Map::new();
    if let Some(service) = &slice.service {
        labels.insert("kubernetes.io/service-name".into(), json!(service));
    }
    if slice.is_headless {
        labels.insert("service.kubernetes.io/headless".into(), json!(""));
    }
    let ports = slice.ports.iter().map(|it| {
        let protocol = it.protocol.map(protocol);
        json!({"name": it.name, "protocol": protocol, "port": it.port})
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": slice.namespace, "name": slice.name, "labels": labels},
        "addressType": match slice.address_type {
            AddressType::Ipv4 => "IPv4",
            AddressType::Ipv6 => "IPv6",
            AddressType::Fqdn => "FQDN",
        },
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": slice.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let names = |names: &[String]| -> Vec<Value> {
        names.iter().map(|name| json!({"name": name})).collect()
    };
    json!({
        "addresses": endpoint.addresses,
        "nodeName": endpoint.node,
        "conditions": {
            "ready": endpoint.ready,
            "serving": endpoint.serving,
            "terminating": endpoint.terminating,
        },
        "hints": {
            "forZones": names(&endpoint.zone_hints),
            "forNodes": names(&endpoint.node_hints),
        },
    })
}

fn node(node: &Node) -> Value {
    let mut labels = Map::new();
    if let Some(zone) = &node.zone {
        labels.insert("topology.kubernetes.io/zone".into(), json!(zone));
    }
    let typed = |kind, address| json!({"type": kind, "address": address});
    // ExternalIPs first: the order of types is the reader's business.
    let external = node.external_ips.iter().map(|ip| typed("ExternalIP", ip));
    let internal = node.internal_ips.iter().map(|ip| typed("InternalIP", ip));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDRs": texts(&node.pod_cidrs)},
        "status": {"addresses": external.chain(internal).collect::<Vec<_>>()},
    })
}

fn service_cidr(name: &str, cidrs: &[Prefix]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": texts(cidrs)},
    })
}

fn texts(prefixes: &[Prefix]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Cluster => "Cluster",
        Policy::Local => "Local",
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

/// Nothing that is absent or empty, at any depth.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, field)| (name, tidy(field)));
            Value::Object(fields.filter(|(_, field)| !is_nothing(field)).collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(tidy).collect()),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
