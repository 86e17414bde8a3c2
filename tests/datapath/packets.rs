//! What a packet can look like: tags, options, extension headers, fragments, rubbish.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Framing, Packet, World, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT6: &str = "[fd00:1::9]:40000";
const VIP6: &str = "[fd00:96::10]:80";
const BACKEND6: &str = "[fd00:1::2]:8080";

fn datapath() -> Datapath {
    let world = World::default()
        .service(TCP, &[VIP], &[BACKEND])
        .service(TCP, &[VIP6], &[BACKEND6])
        .service(UDP, &[VIP], &[BACKEND])
        .service(UDP, &[VIP6], &[BACKEND6]);
    Datapath::new(world.tables())
}

#[track_caller]
fn check_translated(shape: impl Fn(Packet) -> Packet) {
    let mut datapath = datapath();
    for (request, answer) in [
        (tcp(CLIENT, VIP, SYN), tcp(BACKEND, CLIENT, SYN | ACK)),
        (udp(CLIENT, VIP), udp(BACKEND, CLIENT)),
        (tcp(CLIENT6, VIP6, SYN), tcp(BACKEND6, CLIENT6, SYN | ACK)),
        (udp(CLIENT6, VIP6), udp(BACKEND6, CLIENT6)),
    ] {
        let (request, answer) = (shape(request), shape(answer));
        let (vip, backend) = (request.dst.to_string(), answer.src.to_string());
        datapath.ingress(&request, &request.clone().to(&backend));
        datapath.egress(&answer, &answer.clone().from(&vip));
    }
}

/// Sends bytes and expects them to pass untouched, counted as `counter` (or not at all).
#[track_caller]
fn check_passed(link: Link, bytes: &[u8], counter: Option<Counter>) {
    for hook in [Hook::Ingress, Hook::Egress] {
        let mut datapath = datapath();
        let outcome = datapath.send_bytes(hook, link, bytes);
        assert_eq!(outcome.verdict, Verdict::Pass);
        assert_eq!(outcome.packet, bytes);
        assert_eq!(datapath.tables().counters(), counter.map(|c| (c, 1)).into_iter().collect());
    }
}

#[test]
fn vlan_tags_are_walked() {
    check_translated(|packet| packet.framed(Framing::Vlan));
    check_translated(|packet| packet.framed(Framing::DoubleVlan));
}

#[test]
fn packets_without_ethernet_header_are_translated() {
    check_translated(|packet| packet.framed(Framing::Raw));
}

#[test]
fn ip_options_and_extension_headers_are_walked() {
    check_translated(|packet| packet.with_options(1));
    check_translated(|packet| packet.with_options(2));
}

#[test]
fn packets_of_any_length_are_translated() {
    for length in [0, 1, 2, 3, 1459, 1460, 3000] {
        check_translated(|packet| packet.with_payload(vec![0xa5; length]));
    }
}

#[test]
fn ipv4_options_up_to_the_limit_are_walked() {
    let packet = tcp(CLIENT, VIP, SYN).with_options(10);
    datapath().ingress(&packet, &packet.clone().to(BACKEND));
}

#[test]
fn other_protocols_pass() {
    let mut arp = vec![0xff; 42];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    check_passed(Link::Ethernet, &arp, None);
    let mut icmp = tcp(CLIENT, VIP, SYN).bytes();
    icmp[14 + 9] = 1;
    check_passed(Link::Ethernet, &icmp, None);
    let mut unknown = tcp(CLIENT, VIP, SYN).framed(Framing::Raw).bytes();
    unknown[0] = 0x75;
    check_passed(Link::Raw, &unknown, None);
}

#[test]
fn a_packet_cut_anywhere_behind_its_network_header_passes_and_is_counted() {
    // An IPv4 frame without a whole network header is refused by the kernel's test run itself.
    for (packet, network) in [(tcp(CLIENT, VIP, SYN), 20), (tcp(CLIENT6, VIP6, SYN), 40)] {
        for length in (14 + network)..(14 + network + 20) {
            let bytes = &packet.bytes()[..length];
            check_passed(Link::Ethernet, bytes, Some(Counter::PassMalformed));
        }
    }
    for length in (14 + 20)..(14 + 20 + 8) {
        let bytes = &udp(CLIENT, VIP).bytes()[..length];
        check_passed(Link::Ethernet, bytes, Some(Counter::PassMalformed));
    }
}

#[test]
fn headers_that_contradict_themselves_pass_and_are_counted() {
    let packet = tcp(CLIENT, VIP, SYN).bytes();
    for (offset, value) in [
        (14, 0x44),      // header length below 20
        (14, 0x65),      // version 6 under the IPv4 ethertype
        (14 + 3, 30),    // total length ends inside the TCP header
        (14 + 32, 0x40), // TCP data offset below 20
    ] {
        let mut broken = packet.clone();
        broken[offset] = value;
        if offset == 17 {
            broken[16] = 0;
        }
        check_passed(Link::Ethernet, &broken, Some(Counter::PassMalformed));
    }
    let mut broken = tcp(CLIENT6, VIP6, SYN).bytes();
    broken[14 + 5] = 10; // payload length ends inside the TCP header
    check_passed(Link::Ethernet, &broken, Some(Counter::PassMalformed));
}

#[test]
fn more_extension_headers_than_are_walked_pass_and_are_counted() {
    let whole = udp(CLIENT6, VIP6).bytes();
    let mut bytes = whole[..14 + 40].to_vec();
    bytes[14 + 6] = 60;
    for next in [60, 60, 60, 60, 60, 60, 17] {
        bytes.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    bytes.extend(&whole[14 + 40..]);
    bytes[14 + 5] += 7 * 8;
    check_passed(Link::Ethernet, &bytes, Some(Counter::PassExtensionHeaders));
}
