//! New and established flows: DNAT where a packet enters, un-DNAT where the answer leaves.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Packet, Transport, World, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT6: &str = "[fd00:1::9]:40000";
const VIP6: &str = "[fd00:96::10]:80";
const BACKEND6: &str = "[fd00:1::2]:8080";

/// Request in, answer out, and both once more on the flow that is there now.
#[track_caller]
fn check(protocol: u8, request: &Packet, answer: &Packet) {
    let (vip, backend) = (request.dst.to_string(), answer.src.to_string());
    let mut datapath =
        Datapath::new(World::default().service(protocol, &[&vip], &[&backend]).tables());
    for _ in 0..2 {
        datapath.ingress(request, &request.clone().to(&backend));
        datapath.egress(answer, &answer.clone().from(&vip));
    }
    assert_eq!(datapath.tables().counters(), [(Counter::NewFlow, 1)].into());
}

#[test]
fn a_tcp_connection_is_translated_there_and_back() {
    check(TCP, &tcp(CLIENT, VIP, SYN), &tcp(BACKEND, CLIENT, SYN | ACK));
    check(TCP, &tcp(CLIENT6, VIP6, SYN), &tcp(BACKEND6, CLIENT6, SYN | ACK));
}

#[test]
fn a_udp_datagram_is_translated_there_and_back() {
    check(UDP, &udp(CLIENT, VIP), &udp(BACKEND, CLIENT));
    check(UDP, &udp(CLIENT6, VIP6), &udp(BACKEND6, CLIENT6));
}

#[test]
fn a_port_that_stays_the_same_is_left_alone() {
    check(TCP, &tcp(CLIENT, VIP, SYN), &tcp("10.1.0.2:80", CLIENT, SYN | ACK));
    check(UDP, &udp(CLIENT6, VIP6), &udp("[fd00:1::2]:80", CLIENT6));
}

#[test]
fn a_udp_datagram_without_checksum_stays_without() {
    let unsummed = |packet: Packet| Packet { transport: Transport::UdpUnsummed, ..packet };
    check(UDP, &unsummed(udp(CLIENT, VIP)), &unsummed(udp(BACKEND, CLIENT)));
}

#[test]
fn a_computed_udp_checksum_of_zero_is_written_as_ones() {
    // The payload's last word is chosen so that the translated datagram sums up to zero.
    let world = World::default().service(UDP, &[VIP], &[BACKEND]);
    let mut datapath = Datapath::new(world.tables());
    for word in 0..=u16::MAX {
        let payload = word.to_be_bytes().to_vec();
        let translated = udp(CLIENT, BACKEND).with_payload(payload.clone());
        let bytes = translated.bytes();
        let checksum = &bytes[bytes.len() - 4..bytes.len() - 2];
        if checksum == [0xff, 0xff] {
            datapath.ingress(&udp(CLIENT, VIP).with_payload(payload), &translated);
            return;
        }
    }
    panic!("no payload gives a checksum of zero");
}

#[test]
fn bystanders_pass_untouched_and_leave_no_trace() {
    let world = World::default().service(TCP, &[VIP, VIP6], &[]);
    let mut datapath = Datapath::new(world.tables());
    for packet in [
        tcp(CLIENT, BACKEND, SYN),
        tcp(CLIENT, "10.96.0.10:81", SYN),
        tcp(CLIENT, "10.96.0.11:80", SYN),
        udp(CLIENT, VIP),
        tcp(CLIENT6, BACKEND6, ACK),
        udp(CLIENT6, VIP6),
    ] {
        datapath.ingress(&packet, &packet);
        datapath.egress(&packet, &packet);
    }
    assert!(datapath.tables().counters().is_empty());
    assert!(datapath.tables().v4.flows().is_empty());
}

#[test]
fn a_request_seen_leaving_the_node_is_no_new_flow() {
    let mut datapath = Datapath::new(World::default().service(TCP, &[VIP], &[BACKEND]).tables());
    let request = tcp(CLIENT, VIP, SYN);
    datapath.egress(&request, &request);
}

#[test]
fn a_slot_that_names_no_backend_drops_and_counts() {
    let mut datapath = Datapath::new(World::default().service(TCP, &[VIP], &[BACKEND]).tables());
    datapath.change(|tables| {
        tables.slots.insert(0, 77);
        tables.v4.backends.insert(77, lb_common::abi::backend::Backend::default());
    });
    let outcome = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, SYN));
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropDanglingSlot));
}

#[test]
fn clients_spread_over_the_backends_and_each_stays_with_its_own() {
    let backends = ["10.1.0.2:8080", "10.1.0.3:8080", "10.1.0.4:8080"];
    let mut datapath = Datapath::new(World::default().service(TCP, &[VIP], &backends).tables());
    let mut shares = std::collections::BTreeMap::<_, u32>::new();
    for port in 40_000..40_300 {
        let packet = tcp(&format!("10.1.0.9:{port}"), VIP, SYN);
        let first = datapath.send(Hook::Ingress, &packet);
        let second = datapath.send(Hook::Ingress, &packet);
        assert_eq!(first, second);
        *shares.entry(first.packet[30..34].to_vec()).or_default() += 1;
    }
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| (70..130).contains(share)), "{shares:?}");
}
