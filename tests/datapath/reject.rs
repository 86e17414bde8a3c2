//! What a client of a service without any endpoint is told: the whole answer, byte for byte.

use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, NetSlice, SlicedPacket, TcpHeader,
    TransportSlice, icmpv4, icmpv6,
};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::abi::service;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::World;
use lb_tests::datapath::{Datapath, Framing, Packet, assert_checksums, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const CLIENT6: &str = "[fd00:1::9]:40000";
const VIP6: &str = "[fd00:96::10]:80";

/// Sequence and acknowledgement number of every TCP packet that the tests build.
const SEQ: u32 = 1000;
const NEXT: u32 = 7;

const FRAMINGS: [Framing; 4] =
    [Framing::Ethernet, Framing::Vlan, Framing::DoubleVlan, Framing::Raw];

fn empty() -> Datapath {
    let world = World::default()
        .service(TCP, &[VIP], &[])
        .service(TCP, &[VIP6], &[])
        .service(UDP, &[VIP], &[])
        .service(UDP, &[VIP6], &[]);
    Datapath::new(world.tables())
}

/// Sends `packet` and returns the answer, whose frame and IP header are right.
#[track_caller]
fn answer(packet: &Packet) -> Vec<u8> {
    let mut datapath = empty();
    let outcome = datapath.send(Hook::Ingress, packet);
    assert_eq!(outcome.verdict, Verdict::Reject, "{packet:?}");
    assert_eq!(datapath.tables().counters(), [(Counter::RejectNoEndpoint, 1)].into());
    assert!(datapath.tables().v4.flows().is_empty() && datapath.tables().v6.flows().is_empty());
    check_frame(&packet.bytes(), &outcome.packet, packet.framing);
    check_network(packet, &outcome.packet);
    let on = datapath.send_bytes(Hook::Egress, link(packet), &outcome.packet);
    assert_eq!((on.verdict, &on.packet), (Verdict::Pass, &outcome.packet), "it leaves as it is");
    outcome.packet
}

fn link(packet: &Packet) -> lb_common::parse::Link {
    match packet.framing {
        Framing::Raw => lb_common::parse::Link::Raw,
        _ => lb_common::parse::Link::Ethernet,
    }
}

/// How many bytes stand before the network header.
fn link_length(framing: Framing) -> usize {
    match framing {
        Framing::Raw => 0,
        Framing::Ethernet => 14,
        Framing::Vlan => 18,
        Framing::DoubleVlan => 22,
    }
}

#[track_caller]
fn check_frame(request: &[u8], answer: &[u8], framing: Framing) {
    if framing == Framing::Raw {
        return;
    }
    assert_eq!((&answer[..6], &answer[6..12]), (&request[6..12], &request[..6]), "addresses");
    let tags = 12..link_length(framing);
    assert_eq!(answer[tags.clone()], request[tags], "tags");
}

#[track_caller]
fn check_network(request: &Packet, answer: &[u8]) {
    match sliced(answer, request.framing).net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!((ip.time_to_live, ip.identification, ip.dont_fragment), (64, 0, true));
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(ip.source, octets(request.dst.ip()));
            assert_eq!(ip.destination, octets(request.src.ip()));
            let total = answer.len() - link_length(request.framing);
            assert_eq!(usize::from(ip.total_len), total);
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            assert_eq!((ip.hop_limit, ip.flow_label.value(), ip.traffic_class), (64, 0, 0));
            assert_eq!(ip.source, octets(request.dst.ip()));
            assert_eq!(ip.destination, octets(request.src.ip()));
            let payload = answer.len() - link_length(request.framing) - 40;
            assert_eq!(usize::from(ip.payload_length), payload);
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
}

fn octets<const N: usize>(ip: std::net::IpAddr) -> [u8; N] {
    let octets = match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.try_into().unwrap()
}

#[track_caller]
fn sliced(bytes: &[u8], framing: Framing) -> SlicedPacket<'_> {
    match framing {
        Framing::Raw => SlicedPacket::from_ip(bytes).unwrap(),
        _ => SlicedPacket::from_ethernet(bytes).unwrap(),
    }
}

/// Expects a reset with these numbers, and the ACK flag or not, as the answer to `packet`.
#[track_caller]
fn check_reset(packet: &Packet, seq: u32, ack: Option<u32>) {
    let bytes = answer(packet);
    assert_checksums(&bytes, packet.framing);
    let Some(TransportSlice::Tcp(reset)) = sliced(&bytes, packet.framing).transport else {
        panic!("not TCP: {bytes:02x?}");
    };
    assert!(reset.payload().is_empty());
    let mut expected = TcpHeader::new(packet.dst.port(), packet.src.port(), seq, 0);
    expected.rst = true;
    expected.ack = ack.is_some();
    expected.acknowledgment_number = ack.unwrap_or(0);
    expected.checksum = reset.checksum();
    assert_eq!(reset.to_header(), expected);
}

/// Expects "port unreachable" with a quotation as the answer to `packet`.
#[track_caller]
fn check_unreachable(packet: &Packet) {
    let request = packet.bytes();
    let bytes = answer(packet);
    let quoted = &request[link_length(packet.framing)..];
    let packet = sliced(&bytes, packet.framing);
    match (packet.net.unwrap(), packet.transport.unwrap()) {
        (NetSlice::Ipv4(_), TransportSlice::Icmpv4(icmp)) => check_icmp4(&icmp, &quoted[..28]),
        (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
            let ip = ip.header();
            assert!(icmp.is_checksum_valid(ip.source(), ip.destination()), "ICMPv6 checksum");
            check_icmp6(&icmp, &quoted[..48]);
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[track_caller]
fn check_icmp4(icmp: &Icmpv4Slice<'_>, quoted: &[u8]) {
    let expected = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
    assert_eq!(icmp.icmp_type(), expected);
    assert_eq!(icmp.bytes5to8(), [0; 4]);
    assert_eq!(icmp.payload(), quoted);
    assert_eq!(icmp.checksum(), expected.calc_checksum(quoted), "ICMP checksum");
}

#[track_caller]
fn check_icmp6(icmp: &Icmpv6Slice<'_>, quoted: &[u8]) {
    let expected = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
    assert_eq!(icmp.icmp_type(), expected);
    assert_eq!(icmp.bytes5to8(), [0; 4]);
    assert_eq!(icmp.payload(), quoted);
}

/// Both families' TCP packets with `flags`.
fn segments(flags: u8) -> [Packet; 2] {
    [tcp(CLIENT, VIP, flags), tcp(CLIENT6, VIP6, flags)]
}

/// Both families' datagrams.
fn datagrams() -> [Packet; 2] {
    [udp(CLIENT, VIP), udp(CLIENT6, VIP6)]
}

#[test]
fn a_segment_without_ack_is_reset_with_its_length_acknowledged() {
    for (flags, sequenced) in [(SYN, 1), (FIN, 1), (SYN | FIN, 2), (0, 0)] {
        for length in [0, 1, 17, 1460] {
            for packet in segments(flags) {
                let packet = packet.with_payload(vec![0x5a; length]);
                let next = SEQ + u32::try_from(length).unwrap() + sequenced;
                check_reset(&packet, 0, Some(next));
            }
        }
    }
}

#[test]
fn a_segment_with_ack_is_reset_where_it_expects_the_next_byte() {
    for flags in [ACK, SYN | ACK, FIN | ACK] {
        for packet in segments(flags) {
            check_reset(&packet, NEXT, None);
        }
    }
}

#[test]
fn padding_behind_a_short_segment_does_not_count_as_data() {
    for packet in segments(SYN) {
        let packet = packet.with_payload(Vec::new());
        let bytes = [packet.bytes(), vec![0; 6]].concat();
        let padded = empty().send_bytes(Hook::Ingress, link(&packet), &bytes);
        assert_eq!(padded.packet, answer(&packet));
    }
}

#[test]
fn a_datagram_is_answered_by_port_unreachable_that_quotes_it() {
    for packet in datagrams() {
        for length in [0, 1, 13, 20, 40, 1400] {
            check_unreachable(&packet.clone().with_payload(vec![0xa5; length]));
        }
    }
}

#[test]
fn answers_keep_their_vlan_tags_and_need_no_link_header() {
    for framing in FRAMINGS {
        for packet in segments(SYN) {
            check_reset(&packet.with_payload(Vec::new()).framed(framing), 0, Some(SEQ + 1));
        }
        for packet in datagrams() {
            check_unreachable(&packet.framed(framing));
        }
    }
}

/// Expects `packet` to be dropped for `reason`, and nothing to be said.
#[track_caller]
fn check_silent(mut datapath: Datapath, packet: &Packet, reason: Counter) {
    let outcome = datapath.send(Hook::Ingress, packet);
    assert_eq!(outcome.verdict, Verdict::Drop(reason), "{packet:?}");
    assert_eq!(outcome.packet, packet.bytes());
    assert_eq!(datapath.tables().counters(), [(reason, 1)].into());
}

#[test]
fn a_reset_is_not_answered() {
    for flags in [RST, RST | ACK] {
        for packet in segments(flags) {
            check_silent(empty(), &packet, Counter::RejectNoEndpoint);
        }
    }
}

#[test]
fn packets_with_ip_options_or_extension_headers_are_not_answered() {
    for packet in segments(SYN).into_iter().chain(datagrams()) {
        check_silent(empty(), &packet.with_options(1), Counter::RejectNoEndpoint);
    }
}

#[test]
fn a_service_with_endpoints_elsewhere_only_says_nothing() {
    for packet in segments(SYN).into_iter().chain(datagrams()) {
        let mut datapath = empty();
        datapath.change(|tables| {
            for service in tables.services.values_mut() {
                service.flags |= service::flags::USABLE;
            }
        });
        check_silent(datapath, &packet, Counter::DropNoLocalEndpoint);
    }
}
