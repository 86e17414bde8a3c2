//! Services: §1 of `kube-proxy-behaviour.md`.

use super::*;

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
            let is_ours =
                crate::sources::convert::service_of(wanted, &labelled(label)) != Outcome::NotOurs;
            assert_eq!(is_ours, label == wanted, "{wanted:?} {label:?}");
        }
    }
    assert_eq!(service_selector(None), "!service.kubernetes.io/service-proxy-name");
    assert_eq!(service_selector(Some("bees")), "service.kubernetes.io/service-proxy-name=bees");
}

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

#[test]
fn octets_with_leading_zeros_are_decimal() {
    let web = good(spec_with("clusterIP", json!("010.096.000.010")));
    assert_eq!(web.cluster_ips[0].to_string(), "10.96.0.10");
}

#[test]
fn a_service_without_what_it_needs_is_rejected() {
    let unusable = "has no clusterIP that can be used: a clusterIP is left out: ";
    rejected(
        spec_with("clusterIP", json!("10.96.0.256")),
        &format!("{unusable}\"10.96.0.256\" is not an IP address"),
    );
    rejected(spec_with("clusterIP", json!("0.0.0.0")), unusable);
    rejected(spec_with("clusterIPs", json!(["x", ""])), unusable);
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
fn a_bad_cluster_ip_costs_only_its_family() {
    let check = |ips: Value, good: &str, problem: &str| {
        let web = left_out(spec_with("clusterIPs", ips), problem);
        assert_eq!(web.cluster_ips, [good.parse::<IpAddr>().unwrap()]);
    };
    check(json!(["10.96.0.10", ""]), "10.96.0.10", "\"\" is not an IP address");
    check(json!(["10.96.0.10", "fd00::g"]), "10.96.0.10", "\"fd00::g\" is not an IP address");
    check(json!(["10.96.0.256", "fd00::a"]), "fd00::a", "\"10.96.0.256\" is not an IP address");
    check(json!(["", "fd00::a"]), "fd00::a", "\"\" is not an IP address");
}

#[test]
fn cluster_ips_that_say_nothing_do_not_hide_the_cluster_ip() {
    let web = good(spec_with("clusterIPs", json!([""])));
    assert_eq!(web.cluster_ips, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn load_balancer_addresses_of_an_unknown_mode_are_left_out() {
    let with = |mode: Value| {
        let ingress = json!([{"ip": "1.2.3.4", "ipMode": mode}, {"ip": "5.6.7.8"}]);
        service_of(|service| service["status"]["loadBalancer"]["ingress"] = ingress)
    };
    for mode in ["", "vip", "Direct"] {
        let web = left_out(with(json!(mode)), &format!("ipMode {mode:?} of \"1.2.3.4\""));
        assert_eq!(web.load_balancer_ips, ["5.6.7.8".parse::<IpAddr>().unwrap()].into());
    }
    assert_eq!(good(with(json!("Proxy"))).load_balancer_ips.len(), 1);
    assert_eq!(good(with(json!("VIP"))).load_balancer_ips.len(), 2);
    assert_eq!(good(with(Value::Null)).load_balancer_ips.len(), 2);
}

#[test]
fn ports_have_names_that_can_be_told_from_others() {
    let good_name = "a".repeat(63);
    for bad in ["a/b", "a:b", "a\nb", "A", &format!("{good_name}a")] {
        let ports = json!([{"name": good_name, "port": 80}, {"name": bad, "port": 81}]);
        let problem = format!("port {bad:?} is left out: is no DNS label");
        assert_eq!(left_out(spec_with("ports", ports), &problem).ports.len(), 1);
    }
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
    let mapped = good(with(json!(["::ffff:10.0.0.0/104"]))).source_ranges;
    assert_eq!(mapped, ["10.0.0.0/8".parse::<IpNet>().unwrap()].into());
}

#[test]
fn a_family_whose_source_ranges_cannot_be_read_is_closed_beside_one_whose_can() {
    let web = service_of(|service| {
        service["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8", "fd00::/200"]);
        service["status"]["loadBalancer"]["ingress"] =
            json!([{"ip": "1.2.3.4"}, {"ip": "2001:db8::1"}]);
    });
    let web = left_out(web, "2001:db8::1 is left out: no source range of its family is valid");
    assert_eq!(web.load_balancer_ips, ["1.2.3.4".parse::<IpAddr>().unwrap()].into());
}

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

#[test]
fn an_annotation_names_the_algorithm() {
    let with = |value: Value| {
        service_of(|service| service["metadata"]["annotations"]["waggle.dev/algorithm"] = value)
    };
    assert_eq!(good(with(json!("maglev"))).algorithm, Some(Algorithm::Maglev));
    assert_eq!(good(with(json!("random"))).algorithm, Some(Algorithm::Random));
    for bad in ["", "Maglev", "wrr"] {
        assert_eq!(left_out(with(json!(bad)), "waggle.dev/algorithm").algorithm, None);
    }
}
