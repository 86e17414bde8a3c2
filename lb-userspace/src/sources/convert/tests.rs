//! Objects as manifests, and what becomes of them: §1 and §2 of `kube-proxy-behaviour.md`.

use std::fmt::Debug;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::*;
use crate::model::{Affinity, Endpoint, Node, Outcome, Service, ServiceCidr, Slice, TrafficPolicy};

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
#[test]
fn services_that_are_not_ours_are_passed_over_in_silence() {
    let check = |change: fn(&mut Value)| assert_eq!(service_of(change), Outcome::NotOurs);
    check(|s| s["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": ""}));
    check(|s| s["spec"]["clusterIP"] = json!("None"));
    check(|s| s["spec"]["clusterIP"] = json!(""));
    check(|s| s["spec"]["clusterIP"] = Value::Null);
    check(|s| s["spec"]["type"] = json!("ExternalName"));
    check(|s| s["spec"] = Value::Null);
    check(|s| s["spec"] = json!({"clusterIP": "None"}));
    check(|s| s["spec"]["clusterIPs"] = json!(["None"]));
}

/// §1.1.8.
#[test]
fn whose_services_are_ours_is_decided_by_a_label() {
    let labelled = |value: Option<&str>| -> k8s_openapi::api::core::v1::Service {
        let labels = value.map(|value| json!({"service.kubernetes.io/service-proxy-name": value}));
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "labels": labels},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
        }))
        .unwrap()
    };
    for wanted in [None, Some("bees")] {
        for label in [None, Some(""), Some("bees"), Some("ants")] {
            let is_ours = super::service_of(wanted, &labelled(label)) != Outcome::NotOurs;
            assert_eq!(is_ours, label == wanted, "{wanted:?} {label:?}");
        }
    }
    assert_eq!(service_selector(None), "!service.kubernetes.io/service-proxy-name");
    assert_eq!(service_selector(Some("bees")), "service.kubernetes.io/service-proxy-name=bees");
}

/// The label for headless slices says nothing on a Service.
#[test]
fn a_service_with_the_label_for_slices_is_ours() {
    good(service_of(|s| s["metadata"]["labels"] = json!({"service.kubernetes.io/headless": ""})));
}

#[test]
fn a_minimal_service_gets_the_defaults_of_the_api() {
    let web = good(service_of(|_| {}));
    assert_eq!(web, crate::model::fixture::service("default/web", "10.96.0.1"));
}

#[test]
fn a_full_service_keeps_everything_that_matters() {
    let web = good(service_of(|service| {
        service["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:10Z");
        service["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        service["spec"] = json!({
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1", "fd00::1"],
            "externalIPs": ["192.0.2.1"],
            "externalTrafficPolicy": "Local",
            "internalTrafficPolicy": "Local",
            "healthCheckNodePort": 32000,
            "loadBalancerSourceRanges": ["192.168.0.0/24", " 203.0.113.0/25"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053, "targetPort": "x"},
                {"name": "dns", "port": 53, "protocol": "TCP"},
                {"name": "sip", "port": 5060, "protocol": "SCTP"},
            ],
        });
        service["status"]["loadBalancer"]["ingress"] = json!([
            {"ip": "1.2.3.4"},
            {"ip": "5.6.7.8", "ipMode": "VIP"},
            {"ip": "9.10.11.12", "ipMode": "Proxy"},
            {"hostname": "lb.example.com"},
        ]);
    }));
    let texts = |ips: &mut dyn Iterator<Item = String>| ips.collect::<Vec<_>>().join(" ");
    assert_eq!(web.created_s, 1_704_067_210);
    assert_eq!(texts(&mut web.cluster_ips.iter().map(ToString::to_string)), "10.96.0.1 fd00::1");
    assert_eq!(texts(&mut web.external_ips.iter().map(ToString::to_string)), "192.0.2.1");
    let balanced = texts(&mut web.load_balancer_ips.iter().map(ToString::to_string));
    assert_eq!(balanced, "1.2.3.4 5.6.7.8");
    let ranges = texts(&mut web.source_ranges.iter().map(ToString::to_string));
    assert_eq!(ranges, "192.168.0.0/24 203.0.113.0/25");
    assert_eq!(web.external_policy, TrafficPolicy::Local);
    assert_eq!(web.internal_policy, TrafficPolicy::Local);
    assert_eq!(web.health_check_node_port, Some(32_000));
    assert_eq!(web.affinity, Affinity::ClientIp { timeout_s: 60 });
    let ports = web.ports.iter();
    let ports = ports.map(|p| format!("{}:{}/{}:{:?}", p.name, p.port, p.protocol, p.node_port));
    let expected = ["dns:53/UDP:Some(30053)", "dns:53/TCP:None", "sip:5060/SCTP:None"];
    assert_eq!(ports.collect::<Vec<_>>(), expected);
}

/// CVE-2021-29923: leading zeros are decimal.
#[test]
fn octets_with_leading_zeros_are_decimal() {
    let web = good(spec_with("clusterIP", json!("010.096.000.010")));
    assert_eq!(web.cluster_ips[0].to_string(), "10.96.0.10");
}

#[test]
fn a_service_without_what_it_needs_is_rejected() {
    rejected(spec_with("clusterIP", json!("10.96.0.256")), "bad clusterIP: \"10.96.0.256\"");
    rejected(spec_with("clusterIPs", json!(["10.96.0.1", "x"])), "bad clusterIP");
    rejected(spec_with("clusterIP", json!("0.0.0.0")), "bad clusterIP");
    rejected(spec_with("ports", json!([])), "has no ports");
    rejected(spec_with("ports", Value::Null), "has no ports");
    rejected(spec_with("ports", json!([{"port": 0}])), "has no ports; port \"\" is left out");
}

#[test]
fn what_is_bad_in_a_service_is_left_out_and_named() {
    let web = left_out(spec_with("externalIPs", json!(["192.0.2.x", "192.0.2.1"])), "192.0.2.x");
    assert_eq!(web.external_ips.len(), 1);
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 65_536}]);
    assert_eq!(left_out(spec_with("ports", ports), "port 65536 is out of").ports.len(), 1);
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 1, "protocol": "DCCP"}]);
    assert_eq!(left_out(spec_with("ports", ports), "\"DCCP\" is unknown").ports.len(), 1);
    let ports = json!([{"name": "a", "port": 80}, {"name": "a", "port": 81}]);
    assert_eq!(left_out(spec_with("ports", ports), "port 81 is left out").ports[0].port, 80);
    let ports = json!([{"port": 80, "nodePort": 70_000}]);
    assert_eq!(left_out(spec_with("ports", ports), "nodePort: ").ports[0].node_port, None);
    let two = spec_with("clusterIPs", json!(["10.96.0.1", "10.96.0.2"]));
    assert_eq!(left_out(two, "10.96.0.2").cluster_ips.len(), 1);
    let policy = spec_with("externalTrafficPolicy", json!("Remote"));
    assert_eq!(left_out(policy, "\"Remote\"").external_policy, TrafficPolicy::Cluster);
    let affinity = spec_with("sessionAffinity", json!("Cookie"));
    assert_eq!(left_out(affinity, "\"Cookie\"").affinity, Affinity::None);
}

#[test]
fn affinity_has_a_default_and_limits() {
    let with = |seconds: Value| {
        service_of(|service| {
            service["spec"]["sessionAffinity"] = json!("ClientIP");
            service["spec"]["sessionAffinityConfig"] =
                json!({"clientIP": {"timeoutSeconds": seconds}});
        })
    };
    let default = Affinity::ClientIp { timeout_s: 10_800 };
    assert_eq!(good(spec_with("sessionAffinity", json!("ClientIP"))).affinity, default);
    assert_eq!(good(with(Value::Null)).affinity, default);
    assert_eq!(good(with(json!(86_400))).affinity, Affinity::ClientIp { timeout_s: 86_400 });
    for bad in [0, -1, 86_401] {
        assert_eq!(left_out(with(json!(bad)), "timeoutSeconds").affinity, default);
    }
}

#[test]
fn source_ranges_that_cannot_be_read_never_open_an_address() {
    let with = |ranges: Value| {
        service_of(|service| {
            service["spec"]["loadBalancerSourceRanges"] = ranges;
            service["status"]["loadBalancer"]["ingress"] = json!([{"ip": "1.2.3.4"}]);
        })
    };
    let web = left_out(with(json!(["10.0.0.0/8", "x"])), "\"x\" is not a CIDR");
    assert_eq!(web.source_ranges.into_iter().collect::<Vec<IpNet>>().len(), 1);
    assert_eq!(web.load_balancer_ips.len(), 1);
    let web = left_out(with(json!(["x"])), "1.2.3.4 is left out: no source range of its family");
    assert!(web.load_balancer_ips.is_empty());
    let web = left_out(with(json!(["fd00::/8", "x"])), "1.2.3.4 is left out");
    assert!(web.load_balancer_ips.is_empty());
    assert_eq!(good(with(json!(["fd00::/8"]))).load_balancer_ips.len(), 1);
    assert_eq!(good(with(json!([]))).load_balancer_ips.len(), 1);
}

/// §10.12, third case, and §1.3.
#[test]
fn a_health_check_port_needs_a_load_balancer_with_policy_local() {
    let with = |kind: &str, policy: &str, port: u16| {
        service_of(|service| {
            service["spec"]["type"] = json!(kind);
            service["spec"]["externalTrafficPolicy"] = json!(policy);
            service["spec"]["healthCheckNodePort"] = json!(port);
        })
    };
    assert_eq!(good(with("ClusterIP", "", 32_000)).health_check_node_port, None);
    assert_eq!(good(with("LoadBalancer", "Local", 32_000)).health_check_node_port, Some(32_000));
    assert_eq!(good(with("LoadBalancer", "Cluster", 32_000)).health_check_node_port, None);
    assert_eq!(good(with("NodePort", "Local", 32_000)).health_check_node_port, None);
    let web = left_out(with("LoadBalancer", "Local", 0), "healthCheckNodePort: ");
    assert_eq!(web.health_check_node_port, None);
}

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
    let Node { name, zone, addresses, pod_cidrs } =
        left_out(node(&serde_json::from_value(value).unwrap()), "\"nonsense\"");
    assert_eq!((&*name, &*zone), ("n1", "a"));
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.0.2", "203.0.113.1"]);
    assert_eq!(pod_cidrs.len(), 2);
    let bare =
        good(node(&serde_json::from_value(json!({"spec": {"podCIDR": "10.0.0.0/24"}})).unwrap()));
    assert_eq!((&*bare.zone, bare.pod_cidrs.len()), ("", 1));
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
