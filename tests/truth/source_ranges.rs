//! §10.3: `loadBalancerSourceRanges`.

use lb_tests::objects::{Protocol, Service, slice};
use lb_tests::truth::{Fates, dropped, masqueraded, reaches};
use serde_json::Value;

use crate::fixture::{EXTERNAL, LB1, LB2, LB6, N, P, R, REMOTE, X, X6, XB, http, http_slice};
use crate::section::{Section, row};

/// The Service of the table, without ranges so far.
fn web() -> Service {
    http("svc1", "172.30.0.41").node_port(3001).load_balancer_ip(LB1).load_balancer_ip(LB2)
}

fn endpoint() -> Value {
    http_slice("svc1").endpoint(REMOTE).object()
}

fn passed() -> Fates {
    masqueraded(&[R])
}

#[test]
fn section_10_3_load_balancer_with_source_ranges() {
    let mut section = Section::new(3, 12);
    let ranges = ["192.168.0.0/24", " 203.0.113.0/25"];
    section.objects(&[web().source_range(ranges[0]).source_range(ranges[1]).object(), endpoint()]);
    section.rows([
        row(1, "P → clusterIP:80", (P, "172.30.0.41:80"), reaches(&[R])),
        row(2, "X → N:3001", (X, "192.168.0.2:3001"), passed()),
        row(3, "XB → N:3001", (XB, "192.168.0.2:3001"), passed()),
        row(4, "X → LB1:80", (X, "1.2.3.4:80"), passed()),
        row(4, "X → LB2:80", (X, "5.6.7.8:80"), passed()),
        row(5, "XB → LB1:80", (XB, "1.2.3.4:80"), dropped()),
        row(5, "XB → LB2:80", (XB, "5.6.7.8:80"), dropped()),
        row(6, "P → LB1:80", (P, "1.2.3.4:80"), dropped()),
        row(6, "P → LB2:80", (P, "5.6.7.8:80"), dropped()),
        row(7, "N → LB1:80", (N, "1.2.3.4:80"), passed()),
        row(7, "N → LB2:80", (N, "5.6.7.8:80"), passed()),
        row(8, "LB1 → LB1:80", (LB1, "1.2.3.4:80"), passed()),
        row(9, "LB2 → LB2:80", (LB2, "5.6.7.8:80"), passed()),
    ]);

    section.objects(&[web().source_range("203.0.113.0/25").object(), endpoint()]);
    section.rows([
        row(10, "ranges without the node: LB1 → LB1:80", (LB1, "1.2.3.4:80"), dropped()),
        row(10, "ranges without the node: LB2 → LB2:80", (LB2, "5.6.7.8:80"), dropped()),
        row(10, "ranges without the node: N → LB1:80", (N, "1.2.3.4:80"), dropped()),
    ]);

    let dual = web().cluster_ip("fd00:10:96::41").load_balancer_ip(LB6);
    let v6 = slice("default/svc1-2").service("svc1").port("http", 80, Protocol::Tcp);
    let v6 = v6.endpoint("fd00:10::1:1").object();
    section.objects(&[dual.source_range("203.0.113.0/25").object(), endpoint(), v6]);
    let v6 = masqueraded(&["[fd00:10::1:1]:80"]);
    section.rows([
        row(11, "IPv4 ranges only: X → IPv6 LB:80", (X6, "[2001:db8:2::10]:80"), v6),
        row(11, "IPv4 ranges only: XB → LB1:80", (XB, "1.2.3.4:80"), dropped()),
    ]);

    let external = web().external_ip(EXTERNAL).source_range("203.0.113.0/25");
    section.objects(&[external.object(), endpoint()]);
    section.rows([
        row(12, "ranges: XB → externalIP:80", (XB, "192.168.99.11:80"), passed()),
        row(12, "ranges: P → externalIP:80", (P, "192.168.99.11:80"), passed()),
    ]);
    section.end();
}
