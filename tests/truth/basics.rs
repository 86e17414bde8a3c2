//! §10.1 and §10.2: no endpoints, and ClusterIPs.

use lb_tests::objects::Protocol::{Sctp, Tcp, Udp};
use lb_tests::objects::{service, slice};
use lb_tests::truth::{NODE_NAME, dropped, masqueraded, reaches, rejected};

use crate::fixture::{EXTERNAL, LB1, P, X, http};
use crate::section::{Section, row};

#[test]
fn section_10_1_service_without_endpoints() {
    let mut section = Section::new(1, 6);
    let web = http("svc1", "172.30.0.41").node_port(3001).load_balancer_ip(LB1);
    section.objects(&[web.external_ip(EXTERNAL).object()]);
    section.rows([
        row(1, "P → clusterIP:80", (P, "172.30.0.41:80"), rejected()),
        row(2, "X → externalIP:80", (X, "192.168.99.11:80"), rejected()),
        row(3, "P → N:3001", (P, "192.168.0.2:3001"), rejected()),
        row(4, "X → N:3001", (X, "192.168.0.2:3001"), rejected()),
        row(5, "P → LB IP:80", (P, "1.2.3.4:80"), rejected()),
        row(6, "X → LB IP:80", (X, "1.2.3.4:80"), rejected()),
    ]);
    section.end();
}

/// In this section alone the local endpoint is 10.180.0.1.
#[test]
fn section_10_2_cluster_ip_basics() {
    const HERE: &str = "10.180.0.1";
    const THERE: &str = "10.180.2.1";
    let mut section = Section::new(2, 10);
    let svc2 = service("default/svc2").cluster_ip("172.30.0.42");
    let svc2 = svc2.port("http", 80, Tcp).port("https", 443, Tcp).target_port(8443);
    let svc2 = svc2.port("dns-udp", 53, Udp).port("dns-tcp", 53, Tcp).target_port(5353);
    let svc2 = svc2.port("dns-sctp", 53, Sctp);
    let slice1 = slice("default/svc1-1").service("svc1").port("http", 80, Tcp);
    let slice2 = slice("default/svc2-1").service("svc2").port("http", 80, Tcp);
    let slice2 = slice2.port("https", 8443, Tcp).port("dns-udp", 53, Udp);
    let slice2 = slice2.port("dns-tcp", 5353, Tcp).port("dns-sctp", 53, Sctp);
    section.objects(&[
        http("svc1", "172.30.0.41").object(),
        slice1.endpoint(HERE).on(NODE_NAME).object(),
        svc2.object(),
        slice2.endpoint(HERE).on(NODE_NAME).endpoint(THERE).object(),
    ]);
    let one = || reaches(&["10.180.0.1:80"]);
    let both = |port: u16| reaches(&[&*format!("{HERE}:{port}"), &*format!("{THERE}:{port}")]);
    section.rows([
        row(1, "other pod → svc1:80", (P, "172.30.0.41:80"), one()),
        row(2, "L itself → svc1:80", (HERE, "172.30.0.41:80"), masqueraded(&["10.180.0.1:80"])),
        row(3, "pod → svc2:80", (P, "172.30.0.42:80"), both(80)),
        row(4, "pod → svc2:443", (P, "172.30.0.42:443"), both(8443)),
        row(5, "pod → svc2:53", (P, "172.30.0.42:53"), both(5353)),
        row(6, "pod, UDP → svc2:53", (P, "172.30.0.42:53"), both(53)).by(Udp),
        row(7, "pod, SCTP → svc2:53", (P, "172.30.0.42:53"), both(53)).by(Sctp),
        row(8, "pod, UDP → svc2:80, TCP only", (P, "172.30.0.42:80"), rejected()).by(Udp),
        row(9, "pod → svc1:443, svc2's port", (P, "172.30.0.41:443"), rejected()),
        row(10, "pod → 172.30.0.50:80, unallocated", (P, "172.30.0.50:80"), dropped()),
    ]);
    section.end();
}
