//! Packets to addresses of services that are no frontend's, and to addresses that no service has yet
//! (kube-proxy-behaviour §4.6).

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::tcp::{ACK, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Packet, World, assert_checksums, tcp, udp};

const CLIENT: &str = "203.0.113.2:40000";
const CLIENT6: &str = "[2001:db8::2]:40000";

/// Per family: a TCP and a UDP frontend at an address that is closed, one at an address that is open.
fn world() -> World {
    World::default()
        .service(TCP, &["10.96.0.10:80", "192.0.2.1:30080"], &["10.1.0.2:8080"])
        .service(UDP, &["10.96.0.10:53", "192.0.2.1:30053"], &["10.1.0.2:53"])
        .service(TCP, &["[fd00:96::10]:80", "[2001:db8::1]:30080"], &["[fd00:1::2]:8080"])
        .service(UDP, &["[fd00:96::10]:53", "[2001:db8::1]:30053"], &["[fd00:1::2]:53"])
        .closed("10.96.0.10")
        .closed("fd00:96::10")
}

/// Sends `packet` into a node of `world` and expects `verdict` and, unless it passes, its count.
#[track_caller]
fn check(world: World, packet: &Packet, verdict: Verdict, count: Option<Counter>) {
    let mut datapath = Datapath::new(world.tables());
    let outcome = datapath.send(Hook::Ingress, packet);
    assert_eq!(outcome.verdict, verdict, "{packet:?}");
    let counted = count.map(|counter| (counter, 1)).into_iter().collect();
    assert_eq!(datapath.tables().counters(), counted, "{packet:?}");
    let kept = datapath.tables().v4.flows().len() + datapath.tables().v6.flows().len();
    assert_eq!(kept, 0, "{packet:?} opens no flow");
    if verdict == Verdict::Pass {
        assert_eq!(outcome.packet, packet.bytes());
    }
    if verdict == Verdict::Reject && packet.transport != lb_tests::datapath::Transport::Udp {
        assert_checksums(&outcome.packet, packet.framing);
    }
}

/// Packets to port `port` of both families' addresses, TCP and UDP.
fn packets(v4: &str, v6: &str, port: u16) -> [Packet; 4] {
    let (v4, v6) = (format!("{v4}:{port}"), format!("[{v6}]:{port}"));
    [tcp(CLIENT, &v4, SYN), udp(CLIENT, &v4), tcp(CLIENT6, &v6, SYN), udp(CLIENT6, &v6)]
}

const REJECTED: (Verdict, Option<Counter>) = (Verdict::Reject, Some(Counter::RejectUnknownPort));
const DROPPED: (Verdict, Option<Counter>) =
    (Verdict::Drop(Counter::DropUnallocated), Some(Counter::DropUnallocated));
const PASSED: (Verdict, Option<Counter>) = (Verdict::Pass, None);

#[test]
fn an_unknown_port_of_a_closed_address_is_rejected() {
    for packet in packets("10.96.0.10", "fd00:96::10", 81) {
        check(world(), &packet, REJECTED.0, REJECTED.1);
    }
}

#[test]
fn a_port_of_a_closed_address_in_the_other_protocol_is_rejected() {
    let [tcp4, _, tcp6, _] = packets("10.96.0.10", "fd00:96::10", 53);
    let [_, udp4, _, udp6] = packets("10.96.0.10", "fd00:96::10", 80);
    for packet in [tcp4, tcp6, udp4, udp6] {
        check(world(), &packet, REJECTED.0, REJECTED.1);
    }
}

#[test]
fn an_unknown_port_of_an_open_address_is_somebody_elses() {
    for port in [22, 30081] {
        for packet in packets("192.0.2.1", "2001:db8::1", port) {
            check(world(), &packet, PASSED.0, PASSED.1);
        }
    }
}

/// What a closed address rejects must not begin a conversation between two that reject.
#[test]
fn a_reset_to_a_closed_address_is_dropped_in_silence() {
    for flags in [RST, RST | ACK] {
        for (client, vip) in [(CLIENT, "10.96.0.10:81"), (CLIENT6, "[fd00:96::10]:81")] {
            let verdict = Verdict::Drop(Counter::RejectUnknownPort);
            check(world(), &tcp(client, vip, flags), verdict, REJECTED.1);
        }
    }
}

#[test]
fn other_protocols_to_a_closed_address_pass() {
    let mut datapath = Datapath::new(world().tables());
    for protocol in [1, 47] {
        let mut bytes = tcp(CLIENT, "10.96.0.10:81", SYN).bytes();
        bytes[14 + 9] = protocol;
        let outcome = datapath.send_bytes(Hook::Ingress, lb_common::parse::Link::Ethernet, &bytes);
        assert_eq!((outcome.verdict, outcome.packet), (Verdict::Pass, bytes));
    }
}

#[test]
fn what_leaves_the_node_is_not_looked_at() {
    let mut datapath = Datapath::new(world().service_cidr("10.96.0.0/12").tables());
    for vip in ["10.96.0.10:81", "10.96.0.11:80"] {
        let packet = tcp(CLIENT, vip, SYN);
        datapath.egress(&packet, &packet);
    }
}

/// Both families' packets to an address, under these prefixes, to be treated as `expected`.
#[track_caller]
fn check_cidrs(prefixes: &[&str], (v4, v6): (&str, &str), expected: (Verdict, Option<Counter>)) {
    for packet in packets(v4, v6, 80) {
        let world = prefixes.iter().fold(world(), |world, prefix| world.service_cidr(prefix));
        check(world, &packet, expected.0, expected.1);
    }
}

#[test]
fn an_address_for_cluster_ips_that_no_service_has_drops() {
    let one = ["10.96.0.0/12", "fd00:96::/108"];
    check_cidrs(&one, ("10.96.0.11", "fd00:96::11"), DROPPED);
    check_cidrs(&one, ("10.111.255.255", "fd00:96::f:ffff"), DROPPED);
    check_cidrs(&one, ("10.112.0.0", "fd00:96::10:0"), PASSED);
    check_cidrs(&one, ("10.95.255.255", "fd00:95::1"), PASSED);
    check_cidrs(&[], ("10.96.0.11", "fd00:96::11"), PASSED);
}

#[test]
fn each_of_several_service_cidrs_counts() {
    let all: Vec<_> = (0..8).map(|n| format!("10.{n}.0.0/16")).collect();
    let all = all.into_iter().chain((0..8).map(|n| format!("fd00:{n}::/32")));
    let all: Vec<_> = all.collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    for n in 0..8 {
        check_cidrs(&all, (&format!("10.{n}.3.4"), &format!("fd00:{n}::3")), DROPPED);
    }
    check_cidrs(&all, ("10.8.3.4", "fd00:8::3"), PASSED);
}

#[test]
fn an_allocated_address_is_its_services() {
    let world = world().service_cidr("10.96.0.0/12").service_cidr("fd00:96::/108");
    let mut datapath = Datapath::new(world.tables());
    let syn = tcp(CLIENT, "10.96.0.10:80", SYN);
    datapath.ingress(&syn, &syn.clone().to("10.1.0.2:8080"));
    let syn = tcp(CLIENT6, "[fd00:96::10]:80", SYN);
    datapath.ingress(&syn, &syn.clone().to("[fd00:1::2]:8080"));
    let unknown = datapath.send(Hook::Ingress, &tcp(CLIENT, "10.96.0.10:81", SYN));
    assert_eq!(unknown.verdict, Verdict::Reject);
}

#[test]
fn an_address_is_its_services_as_long_as_the_service_is_there() {
    let mut datapath = Datapath::new(world().service_cidr("10.96.0.0/12").tables());
    let packet = udp(CLIENT, "10.96.0.10:5353");
    assert_eq!(datapath.send(Hook::Ingress, &packet).verdict, Verdict::Reject);
    datapath.change(|tables| {
        tables.v4.frontends.clear();
        tables.v4.addresses.clear();
    });
    let verdict = datapath.send(Hook::Ingress, &packet).verdict;
    assert_eq!(verdict, Verdict::Drop(Counter::DropUnallocated));
    datapath.change(|tables| tables.v4.service_cidrs.clear());
    datapath.ingress(&packet, &packet);
}

/// §4.2: a connection goes on when its service goes.
#[test]
fn a_connection_outlives_the_address_it_was_opened_through() {
    let mut datapath = Datapath::new(world().service_cidr("10.96.0.0/12").tables());
    let syn = tcp(CLIENT, "10.96.0.10:80", SYN);
    datapath.ingress(&syn, &syn.clone().to("10.1.0.2:8080"));
    datapath.change(|tables| {
        tables.v4.frontends.clear();
        tables.v4.addresses.clear();
    });
    let ack = tcp(CLIENT, "10.96.0.10:80", ACK);
    datapath.ingress(&ack, &ack.clone().to("10.1.0.2:8080"));
}
