//! §10.11 and §10.12: what is counted of objects. No packet is concerned.

use lb_tests::objects::Protocol::{Sctp, Tcp, Udp};
use lb_tests::objects::{Service, Slice, service, slice};
use lb_tests::truth::NODE_NAME;
use lb_userspace::model::Outcome;
use lb_userspace::plan::local_ready_endpoints;
use lb_userspace::sources::convert;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::section::Section;

/// An object of the API as the agent understands it.
fn converted<K: DeserializeOwned, T>(object: &Value, convert: fn(&K) -> Outcome<T>) -> Option<T> {
    match convert(&serde_json::from_value(object.clone()).expect("an object of the API")) {
        Outcome::Usable(value, _) => Some(value),
        Outcome::NotOurs => None,
        Outcome::Rejected(reason) | Outcome::Unreadable(reason) => panic!("{reason}"),
    }
}

#[test]
fn section_10_11_health_check_count() {
    let mut section = Section::new(11, 3);
    let tcp = |name: &str| slice(&format!("default/{name}")).service("web").port("p80", 80, Tcp);
    let ready = || tcp("a").endpoint("10.0.1.1").on(NODE_NAME).endpoint("10.0.1.2").on(NODE_NAME);
    let elsewhere = tcp("b").endpoint("10.0.1.3").on("another").endpoint("10.0.1.4");
    count(&mut section, 1, "2 local and 2 remote endpoints, all ready", &[ready(), elsewhere], 2);

    let (draining, serving) = ([false, true, true], [false, true, false]);
    let drained = tcp("a").endpoint("10.0.1.1").on(NODE_NAME);
    let drained = conditions(drained, 0, draining).endpoint("10.0.1.2").on(NODE_NAME);
    let drained = conditions(drained, 1, serving);
    count(&mut section, 2, "both serving, one of them terminating", &[drained], 0);

    let two_ports = ready().port("p81", 81, Tcp);
    count(&mut section, 3, "the same addresses by two ports", &[two_ports], 2);
    section.end();
}

/// `slice` with its endpoint of this number ready, serving, terminating or not.
fn conditions(slice: Slice, endpoint: usize, [ready, serving, terminating]: [bool; 3]) -> Slice {
    slice.with(
        &format!("/endpoints/{endpoint}/conditions"),
        json!({"ready": ready, "serving": serving, "terminating": terminating}),
    )
}

fn count(section: &mut Section, row: u32, what: &str, slices: &[Slice], expected: usize) {
    let slices = slices.iter().filter_map(|slice| converted(&slice.object(), convert::slice));
    let slices: Vec<_> = slices.collect();
    let seen = local_ready_endpoints(&slices.iter().collect::<Vec<_>>(), NODE_NAME);
    let seen = format!("{seen} local ready");
    section.fact(row, what, &format!("{expected} local ready"), [seen.clone(), seen]);
}

#[test]
fn section_10_12_service_map() {
    let mut section = Section::new(12, 3);
    let three = |name: &str, ip: &str| {
        let three = service(name).cluster_ip(ip).port("a", 1234, Udp).port("b", 1235, Udp);
        three.port("c", 7, Sctp)
    };
    let two = |name: &str, ip: &str| {
        service(name).cluster_ip(ip).port("a", 8675, Udp).port("b", 8676, Udp)
    };
    let node_port = three("default/b", "172.30.55.10").node_port(30_001);
    let balanced = two("default/c", "172.30.55.11").load_balancer_ip("1.2.3.4");
    let local = two("default/d", "172.30.55.12").load_balancer_ip("5.6.7.8").external_local();
    let local = local.with("/spec/healthCheckNodePort", 345);
    let all = [three("default/a", "172.30.55.4"), node_port, balanced, local];
    ask(&mut section, 1, "ports of four Services", &all, "10 entries, 1 health check port");
    let one = service("default/a").cluster_ip("172.30.55.4").port("b", 1235, Udp);
    ask(&mut section, 1, "one port of one is left", &[one], "1 entries, 0 health check port");

    let headless = service("default/a").cluster_ip("None");
    let with_port = service("default/b").cluster_ip("None").port("rpc", 1234, Udp);
    let name = service("default/c").cluster_ip("172.30.55.4").port("x", 80, Tcp);
    let name = name.with("/spec/type", "ExternalName").with("/spec/externalName", "foo.bar");
    let none = "0 entries, 0 health check port";
    ask(&mut section, 2, "headless without ports", &[headless], none);
    ask(&mut section, 2, "headless with ports", &[with_port], none);
    ask(&mut section, 2, "ExternalName with a ClusterIP", &[name], none);

    let cluster_ip = || two("default/a", "172.30.55.4");
    let balanced = || cluster_ip().load_balancer_ip("1.2.3.4").external_local();
    let balanced = || balanced().with("/spec/healthCheckNodePort", 345);
    let (zero, one) = ("2 entries, 0 health check port", "2 entries, 1 health check port");
    ask(&mut section, 3, "ClusterIP", &[cluster_ip()], zero);
    ask(&mut section, 3, "then LoadBalancer under policy Local", &[balanced()], one);
    ask(&mut section, 3, "the same again", &[balanced()], one);
    ask(&mut section, 3, "then ClusterIP", &[cluster_ip()], zero);
    section.end();
}

fn ask(section: &mut Section, row: u32, what: &str, services: &[Service], expected: &str) {
    let objects: Vec<_> = services.iter().map(Service::object).collect();
    section.objects(&objects);
    let services = objects.iter().filter_map(|object| converted(object, convert::service));
    let ports = services.filter(|service| service.health_check_node_port.is_some()).count();
    let seen = section.entries().map(|count| format!("{count} entries, {ports} health check port"));
    section.fact(row, what, expected, seen);
}
