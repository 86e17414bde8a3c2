//! Fragments follow their first one, in both directions; what came before it, and what has no ports.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Packet, Transport, World, icmp, sctp, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT6: &str = "[fd00:1::9]:40000";
const VIP6: &str = "[fd00:96::10]:80";
const BACKEND6: &str = "[fd00:1::2]:8080";
const NODE: &str = "192.0.2.1:30080";

const FAMILIES: [[&str; 3]; 2] = [[CLIENT, VIP, BACKEND], [CLIENT6, VIP6, BACKEND6]];

/// As many bytes of a packet as an Ethernet frame takes.
const SIZE: usize = 1448;

fn datapath() -> Datapath {
    let world = World::default()
        .service(TCP, &[VIP], &[BACKEND])
        .service(TCP, &[VIP6], &[BACKEND6])
        .service(UDP, &[VIP, NODE], &[BACKEND])
        .service(UDP, &[VIP6], &[BACKEND6])
        .service(SCTP, &[VIP], &[BACKEND])
        .closed("10.96.0.10")
        .closed("fd00:96::10");
    Datapath::new(world.tables())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[track_caller]
fn send(datapath: &mut Datapath, hook: Hook, fragment: &[u8], verdict: Verdict, expected: &[u8]) {
    let outcome = datapath.send_bytes(hook, Link::Ethernet, fragment);
    assert_eq!(outcome.verdict, verdict);
    assert!(outcome.packet == expected, "{:x?}\n{expected:x?}", outcome.packet);
}

/// Sends all fragments of `packet` and expects those of `expected`.
#[track_caller]
fn check(datapath: &mut Datapath, hook: Hook, id: u16, packet: &Packet, expected: &Packet) {
    for (fragment, expected) in packet.fragments(SIZE, id).iter().zip(expected.fragments(SIZE, id))
    {
        send(datapath, hook, fragment, Verdict::Rewritten, &expected);
    }
}

#[test]
fn fragments_are_translated_there_and_back() {
    let mut datapath = datapath();
    for [client, vip, backend] in FAMILIES {
        for (id, length) in [(1, 2000), (2, 60_000)] {
            for (request, answer) in [
                (udp(client, vip), udp(backend, client)),
                (tcp(client, vip, SYN), tcp(backend, client, SYN | ACK)),
            ] {
                let request = request.with_payload(bytes(length));
                let answer = answer.with_payload(bytes(length));
                let (there, back) = (request.clone().to(backend), answer.clone().from(vip));
                check(&mut datapath, Hook::Ingress, id, &request, &there);
                check(&mut datapath, Hook::Egress, id, &answer, &back);
            }
        }
    }
    assert_eq!(datapath.tables().counters(), [(Counter::NewFlow, 4)].into());
}

#[test]
fn a_fragmented_datagram_without_checksum_stays_without() {
    let request = Packet { transport: Transport::UdpUnsummed, ..udp(CLIENT, VIP) };
    let request = request.with_payload(bytes(2000));
    check(&mut datapath(), Hook::Ingress, 1, &request, &request.clone().to(BACKEND));
}

#[test]
fn later_fragments_may_come_in_any_order_and_mixed_with_other_packets() {
    let mut datapath = datapath();
    for [client, vip, backend] in FAMILIES {
        let one = udp(client, vip).with_payload(bytes(6000));
        let other = one.clone().from(&client.replace(":40000", ":40001"));
        let cut = |packet: &Packet, id| {
            (packet.fragments(SIZE, id), packet.clone().to(backend).fragments(SIZE, id))
        };
        let (a, b) = (cut(&one, 7), cut(&other, 8));
        for index in [0, 4, 2, 1, 3] {
            for (sent, expected) in [&a, &b] {
                send(
                    &mut datapath,
                    Hook::Ingress,
                    &sent[index],
                    Verdict::Rewritten,
                    &expected[index],
                );
            }
        }
    }
}

#[test]
fn a_fragment_before_the_first_is_dropped_where_only_services_are() {
    let mut datapath = datapath();
    for [client, vip, backend] in FAMILIES {
        let request = udp(client, vip).with_payload(bytes(2000));
        let sent = request.fragments(SIZE, 9);
        let expected = request.clone().to(backend).fragments(SIZE, 9);
        let early = Verdict::Drop(Counter::DropEarlyFragment);
        send(&mut datapath, Hook::Ingress, &sent[1], early, &sent[1]);
        for index in [0, 1] {
            send(&mut datapath, Hook::Ingress, &sent[index], Verdict::Rewritten, &expected[index]);
        }
    }
    assert_eq!(datapath.tables().counters()[&Counter::DropEarlyFragment], 2);
}

#[test]
fn a_fragment_before_the_first_passes_where_the_node_itself_is_and_elsewhere() {
    let mut datapath = datapath();
    for to in [NODE, BACKEND, BACKEND6] {
        let from = if to == BACKEND6 { CLIENT6 } else { CLIENT };
        let sent = udp(from, to).with_payload(bytes(2000)).fragments(SIZE, 9);
        send(&mut datapath, Hook::Ingress, &sent[1], Verdict::Pass, &sent[1]);
        send(&mut datapath, Hook::Egress, &sent[1], Verdict::Pass, &sent[1]);
    }
    assert_eq!(datapath.tables().counters(), [(Counter::PassFragment, 6)].into());
}

#[test]
fn fragments_of_bystanders_pass_untouched() {
    let mut datapath = datapath();
    for packet in [udp(CLIENT, BACKEND), udp(CLIENT6, BACKEND6)] {
        for fragment in packet.with_payload(bytes(4000)).fragments(SIZE, 9) {
            send(&mut datapath, Hook::Ingress, &fragment, Verdict::Pass, &fragment);
            send(&mut datapath, Hook::Egress, &fragment, Verdict::Pass, &fragment);
        }
    }
    assert!(datapath.tables().counters().is_empty());
}

#[test]
fn fragments_of_an_association_pass_and_are_counted() {
    let mut datapath = datapath();
    for fragment in sctp(CLIENT, VIP, 0).with_payload(bytes(2000)).fragments(SIZE, 9) {
        send(&mut datapath, Hook::Ingress, &fragment, Verdict::Pass, &fragment);
    }
    assert_eq!(datapath.tables().counters(), [(Counter::PassFragment, 2)].into());
}

#[test]
fn a_refused_datagram_is_answered_once_whatever_it_is_cut_into() {
    let mut datapath = Datapath::new(World::default().service(UDP, &[VIP], &[]).tables());
    let sent = udp(CLIENT, VIP).with_payload(bytes(4000)).fragments(SIZE, 9);
    let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &sent[0]);
    assert_eq!(outcome.verdict, Verdict::Reject);
    for later in &sent[1..] {
        let silence = Verdict::Drop(Counter::RejectNoEndpoint);
        send(&mut datapath, Hook::Ingress, later, silence, later);
    }
}

#[test]
fn an_error_that_quotes_a_first_fragment_is_translated_and_one_about_a_later_passes() {
    let mut datapath = datapath();
    for ([client, vip, backend], too_big) in FAMILIES.into_iter().zip([[3, 4], [2, 0]]) {
        let request = udp(client, vip).with_payload(bytes(4000));
        let there = request.clone().to(backend);
        check(&mut datapath, Hook::Ingress, 3, &request, &there);
        let client = client.parse::<std::net::SocketAddr>().unwrap().ip().to_string();
        let router = if client.contains(':') { "fd00:ffff::1" } else { "192.0.2.254" };
        let error = |fragment: &[u8]| {
            icmp(router, &client, too_big, [0, 0, 5, 120], &fragment[14..][..200])
        };
        let (ours, theirs) = (there.fragments(SIZE, 3), request.fragments(SIZE, 3));
        send(&mut datapath, Hook::Egress, &error(&ours[0]), Verdict::Rewritten, &error(&theirs[0]));
        send(&mut datapath, Hook::Egress, &error(&ours[1]), Verdict::Pass, &error(&ours[1]));
    }
}
