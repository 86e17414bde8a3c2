//! §10.5, §10.6 and §10.8: traffic policies.

use lb_tests::objects::Service;
use lb_tests::truth::{Fates, NODE_NAME, dropped, masqueraded, reaches, rejected};
use serde_json::Value;

use crate::fixture::{EXTERNAL, L, LB1, P, R, X, both, http, http_slice};
use crate::section::{Section, row};

const CLUSTER_IP: &str = "172.30.0.41:80";
const EXTERNAL_IP: &str = "192.168.99.11:80";
const LB_IP: &str = "1.2.3.4:80";
const NODE_PORT: &str = "192.168.0.2:3001";

fn web() -> Service {
    let web = http("svc1", "172.30.0.41").node_port(3001);
    web.load_balancer_ip(LB1).external_ip(EXTERNAL)
}

#[test]
fn section_10_5_external_traffic_policy_local() {
    let mut section = Section::new(5, 7);
    let web = web().external_local().with("/spec/healthCheckNodePort", 32_000);
    section.objects(&[web.object(), both("svc1")]);
    let (all, local) = (|| reaches(&[L, R]), || reaches(&[L]));
    section.rows([
        row(1, "P → clusterIP:80", (P, CLUSTER_IP), all()),
        row(2, "P → externalIP:80", (P, EXTERNAL_IP), all()),
        row(3, "X → externalIP:80", (X, EXTERNAL_IP), local()),
        row(4, "P → LB IP:80", (P, LB_IP), all()),
        row(5, "X → LB IP:80", (X, LB_IP), local()),
        row(6, "P → N:3001", (P, NODE_PORT), all()),
        row(7, "X → N:3001", (X, NODE_PORT), local()),
    ]);
    section.end();
}

#[test]
fn section_10_6_external_traffic_policy_cluster() {
    let mut section = Section::new(6, 3);
    section.objects(&[web().object(), both("svc1")]);
    let all = || masqueraded(&[L, R]);
    section.rows([
        row(1, "P → clusterIP:80", (P, CLUSTER_IP), reaches(&[L, R])),
        row(2, "P → externalIP:80", (P, EXTERNAL_IP), all()),
        row(2, "P → LB IP:80", (P, LB_IP), all()),
        row(2, "P → N:3001", (P, NODE_PORT), all()),
        row(3, "X → externalIP:80", (X, EXTERNAL_IP), all()),
        row(3, "X → LB IP:80", (X, LB_IP), all()),
        row(3, "X → N:3001", (X, NODE_PORT), all()),
    ]);
    section.end();
}

#[test]
fn section_10_8_internal_traffic_policy() {
    let mut section = Section::new(8, 5);
    let cluster = || http("svc1", "172.30.1.1");
    let local = || cluster().internal_local();
    let ask = |section: &mut Section, number, what: &str, objects: &[Value], expected: Fates| {
        section.objects(objects);
        section.rows([row(number, what, (P, "172.30.1.1:80"), expected)]);
    };
    let all = reaches(&["10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80"]);
    let two = reaches(&["10.0.1.1:80", "10.0.1.2:80"]);
    let one = reaches(&["10.0.1.1:80"]);
    let s = &mut section;
    ask(s, 1, "Cluster: L, R, R", &[cluster().object(), endpoints(1)], all);
    ask(s, 5, "Cluster, slice deleted", &[cluster().object()], rejected());
    ask(s, 2, "Local: L, R, R", &[local().object(), endpoints(1)], one);
    ask(s, 5, "Local, L, R, R deleted", &[local().object()], rejected());
    ask(s, 3, "Local: L, L, R", &[local().object(), endpoints(2)], two);
    ask(s, 5, "Local, L, L, R deleted", &[local().object()], rejected());
    ask(s, 4, "Local: R, R, R", &[local().object(), endpoints(0)], dropped());
    ask(s, 5, "Local, R, R, R deleted", &[local().object()], rejected());
    section.end();
}

/// Three endpoints, the first `local` of them on this node.
fn endpoints(local: usize) -> Value {
    let ips = ["10.0.1.1", "10.0.1.2", "10.0.1.3"];
    let node = |number: usize| if number < local { NODE_NAME } else { "another" };
    let add = |slice: lb_tests::objects::Slice, (number, ip): (usize, &&str)| {
        slice.endpoint(ip).on(node(number))
    };
    ips.iter().enumerate().fold(http_slice("svc1"), add).object()
}
