//! §10.4: on which addresses NodePorts answer.

use lb_tests::objects::{Protocol, slice};
use lb_tests::truth::{Fates, NODE_NAME, masqueraded, reaches, unhandled};
use lb_userspace::plan::Settings;

use crate::fixture::{L, N, N6, P, P6, R, X, X6, both, http, settings};
use crate::section::{Section, row};

const L6: &str = "[fd00:10::2:1]:80";
const R6: &str = "[fd00:10::1:1]:80";

fn answering_on(addresses: &str) -> Settings {
    Settings { node_ports: addresses.parse().expect("CIDRs or a word"), ..settings() }
}

#[test]
fn section_10_4_node_port_addresses() {
    const V4: &str = "192.168.0.0/24,192.168.1.0/24,2001:db8::/64";
    const V6: &str = "192.168.0.0/24,192.168.1.0/24,2001:db8::/64,2001:db8:1::2/128";
    let mut section = Section::new(4, 7);
    ask_v4(&mut section, 1, "192.168.0.2/32,2001:db8::1/128", unhandled());
    ask_v4(&mut section, 2, V4, masqueraded(&[L, R]));
    ask_v6(&mut section, 3, "192.168.0.2/32,2001:db8::1/128", unhandled());
    ask_v6(&mut section, 4, V6, masqueraded(&[L6, R6]));
    ask_loopback(&mut section);
    section.end();
}

fn ask_v4(section: &mut Section, number: u32, addresses: &str, second: Fates) {
    section.settings(&answering_on(addresses));
    section.objects(&[http("svc1", "172.30.0.41").node_port(3001).object(), both("svc1")]);
    let all = || masqueraded(&[L, R]);
    section.rows([
        row(number, "P → clusterIP", (P, "172.30.0.41:80"), reaches(&[L, R])),
        row(number, "X → N:3001", (X, "192.168.0.2:3001"), all()),
        row(number, "N → N:3001", (N, "192.168.0.2:3001"), all()),
        row(number, "X → N2:3001", (X, "192.168.1.2:3001"), second),
    ]);
}

fn ask_v6(section: &mut Section, number: u32, addresses: &str, second: Fates) {
    section.settings(&answering_on(addresses));
    let endpoints = slice("default/svc1-1").service("svc1").port("http", 80, Protocol::Tcp);
    let endpoints = endpoints.endpoint("fd00:10::1:1").endpoint("fd00:10::2:1").on(NODE_NAME);
    section.objects(&[http("svc1", "fd00:10:96::41").node_port(3001).object(), endpoints.object()]);
    let all = || masqueraded(&[L6, R6]);
    section.rows([
        row(number, "P → clusterIP, IPv6", (P6, "[fd00:10:96::41]:80"), reaches(&[L6, R6])),
        row(number, "X → N:3001, IPv6", (X6, "[2001:db8::1]:3001"), all()),
        row(number, "N → N:3001, IPv6", (N6, "[2001:db8::1]:3001"), all()),
        row(number, "X → N2:3001, IPv6", (X6, "[2001:db8:1::2]:3001"), second),
    ]);
}

/// kube-proxy's iptables mode alone serves loopback, and by sysctls and a guard against martians.
/// Nothing of that passes an interface with our programs (design §3.1: not `lo`); what a packet from
/// there would meet is none of the services. The socket hooks serve loopback (§4.12).
fn ask_loopback(section: &mut Section) {
    section.settings(&answering_on("0.0.0.0/0,::/0"));
    section.objects(&[http("svc1", "172.30.0.41").node_port(3001).object(), both("svc1")]);
    section.rows([
        row(
            5,
            "127.0.0.1 → 127.0.0.1:3001, iptables only",
            ("127.0.0.1", "127.0.0.1:3001"),
            unhandled(),
        ),
        row(6, "::1 → [::1]:3001", ("::1", "[::1]:3001"), unhandled()),
        row(7, "X → 127.0.0.1:3001, martian", (X, "127.0.0.1:3001"), unhandled()),
    ]);
}
