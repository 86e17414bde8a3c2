//! Objects as manifests, and what becomes of them: §1 and §2 of `kube-proxy-behaviour.md`.

mod pod;
mod service;

use std::fmt::Debug;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    Affinity, Algorithm, Endpoint, Node, Outcome, Service, ServiceCidr, Slice, TrafficPolicy,
};

fn service_of(change: impl FnOnce(&mut Value)) -> Outcome<Service> {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    });
    change(&mut value);
    service(&serde_json::from_value(value).unwrap())
}

fn spec_with(field: &str, value: Value) -> Outcome<Service> {
    service_of(|service| service["spec"][field] = value)
}

fn slice_of(change: impl FnOnce(&mut Value)) -> Outcome<Slice> {
    let mut value = json!({
        "metadata": {
            "name": "web-1", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": ["10.180.0.1"]}],
    });
    change(&mut value);
    slice(&serde_json::from_value(value).unwrap())
}

fn endpoint_of(change: impl FnOnce(&mut Value)) -> Endpoint {
    good(slice_of(|slice| change(&mut slice["endpoints"][0]))).endpoints.remove(0)
}

#[track_caller]
fn good<T: Debug>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Usable(object, left_out) if left_out.is_empty() => object,
        other => panic!("not wholly usable: {other:?}"),
    }
}

#[track_caller]
fn left_out<T: Debug>(outcome: Outcome<T>, problem: &str) -> T {
    match outcome {
        Outcome::Usable(object, problems) => {
            assert!(problems.iter().any(|p| p.contains(problem)), "{problem}: {problems:?}");
            object
        }
        other => panic!("not usable: {other:?}"),
    }
}

#[track_caller]
fn rejected<T: Debug>(outcome: Outcome<T>, expected: &str) {
    match outcome {
        Outcome::Rejected(reason) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("not rejected: {other:?}"),
    }
}

/// §1.1.
/// §1.1.8.
/// The label for headless slices says nothing on a Service.
/// CVE-2021-29923: leading zeros are decimal.
/// §1.1.7: each family is served by itself.
/// §10.12, third case, and §1.3.
/// §2.1, §2.2.
#[test]
fn slices_are_ours_by_their_type_and_labels() {
    let ours = good(slice_of(|_| {}));
    assert_eq!(ours, crate::model::fixture::slice("default/web-1", "default/web", ".1 - r"));
    assert_eq!(slice_of(|s| s["addressType"] = json!("FQDN")), Outcome::NotOurs);
    let headless = |s: &mut Value| {
        s["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    };
    assert_eq!(slice_of(headless), Outcome::NotOurs);
    rejected(slice_of(|s| s["addressType"] = json!("IPX")), "\"IPX\" is unknown");
    rejected(slice_of(|s| s["metadata"]["labels"] = Value::Null), "kubernetes.io/service-name");
    let nameless =
        |s: &mut Value| s["metadata"]["labels"]["kubernetes.io/service-name"] = json!("");
    rejected(slice_of(nameless), "has no service");
    let foreign = |s: &mut Value| {
        s["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = json!("x");
    };
    good(slice_of(foreign));
}

/// §2.4, §2.6.
#[test]
fn what_is_bad_in_a_slice_is_left_out_and_named() {
    let ports = |ports: Value| slice_of(|slice| slice["ports"] = ports);
    assert!(left_out(ports(json!([{"name": "a"}])), "has no number").ports.is_empty());
    assert!(left_out(ports(json!([{"name": "a", "port": 0}])), "port 0").ports.is_empty());
    assert!(good(ports(Value::Null)).ports.is_empty());
    assert_eq!(&*good(ports(json!([{"port": 1}]))).ports[0].name, "");
    let endpoints = |addresses: Value| {
        let endpoints = json!([{"addresses": addresses}, {"addresses": ["10.180.0.2"]}]);
        slice_of(|slice| slice["endpoints"] = endpoints)
    };
    assert_eq!(left_out(endpoints(json!([])), "without address").endpoints.len(), 1);
    assert_eq!(left_out(endpoints(json!(["x"])), "\"x\" is not").endpoints.len(), 1);
    assert_eq!(left_out(endpoints(json!(["fd00::1"])), "addressType").endpoints.len(), 1);
    assert_eq!(left_out(endpoints(json!(["127.0.0.1"])), "127.0.0.1").endpoints.len(), 1);
    assert!(good(slice_of(|slice| slice["endpoints"] = Value::Null)).endpoints.is_empty());
}

#[test]
fn only_the_first_address_of_an_endpoint_counts() {
    let endpoint = endpoint_of(|e| e["addresses"] = json!(["010.180.0.7", "10.180.0.8"]));
    assert_eq!(endpoint.address.to_string(), "10.180.0.7");
}

/// §2.7.
#[test]
fn absent_conditions_have_defaults() {
    let check = |conditions: Value, expected: (bool, bool, bool)| {
        let e = endpoint_of(|endpoint| endpoint["conditions"] = conditions.clone());
        assert_eq!((e.ready, e.serving, e.terminating), expected, "{conditions}");
    };
    check(Value::Null, (true, true, false));
    check(json!({}), (true, true, false));
    check(json!({"ready": false}), (false, true, false));
    check(json!({"ready": false, "serving": true, "terminating": true}), (false, true, true));
    check(json!({"serving": false}), (true, false, false));
}

/// §2.9, §2.10.
#[test]
fn nodes_and_hints_are_kept() {
    let endpoint = endpoint_of(|endpoint| {
        endpoint["nodeName"] = json!("n1");
        endpoint["hints"] = json!({"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": []});
    });
    assert_eq!(endpoint.node.as_deref(), Some("n1"));
    assert_eq!(endpoint.zone_hints.iter().map(|z| &**z).collect::<Vec<_>>(), ["a", "b"]);
    assert!(endpoint.node_hints.is_empty());
}

#[test]
fn a_node_has_its_internal_addresses_before_its_external_ones() {
    let value = json!({
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
        "status": {"addresses": [
            {"type": "Hostname", "address": "n1"},
            {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "192.168.0.2"},
            {"type": "InternalIP", "address": "nonsense"},
        ]},
    });
    let Node { name, zone, addresses, pod_cidrs, leaving } =
        left_out(node(&serde_json::from_value(value).unwrap()), "\"nonsense\"");
    assert_eq!((&*name, &*zone), ("n1", "a"));
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.0.2", "203.0.113.1"]);
    assert_eq!((pod_cidrs.len(), leaving), (2, false));
    let bare =
        good(node(&serde_json::from_value(json!({"spec": {"podCIDR": "10.0.0.0/24"}})).unwrap()));
    assert_eq!((&*bare.zone, bare.pod_cidrs.len()), ("", 1));
}

#[test]
fn a_node_that_is_about_to_go_is_leaving() {
    let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
    for (value, expected) in [
        (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), true),
        (taint("ToBeDeletedByClusterAutoscaler"), true),
        (taint("node.kubernetes.io/unschedulable"), false),
    ] {
        let node = good(node(&serde_json::from_value(value.clone()).unwrap()));
        assert_eq!(node.leaving, expected, "{value}");
    }
}

#[test]
fn a_service_cidr_keeps_the_prefixes_that_can_be_read() {
    let cidrs = |cidrs: Value| {
        let value = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}});
        service_cidr(&serde_json::from_value(value).unwrap())
    };
    let texts = |cidr: ServiceCidr| cidr.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let both = good(cidrs(json!(["10.96.0.0/16", "fd00:96::/112"])));
    assert_eq!(both.name, NamespacedName::new("", "kubernetes"));
    assert_eq!(texts(both), ["10.96.0.0/16", "fd00:96::/112"]);
    assert!(texts(good(cidrs(Value::Null))).is_empty());
    let check = |bad: &str, problem: &str| {
        assert_eq!(texts(left_out(cidrs(json!([bad, "10.97.0.0/16"])), problem)), ["10.97.0.0/16"]);
    };
    check("x", "a CIDR is left out: \"x\" is not a CIDR");
    check("0.0.0.0/0", "a CIDR is left out: 0.0.0.0/0 holds every address");
    check("::/0", "holds every address");
}
