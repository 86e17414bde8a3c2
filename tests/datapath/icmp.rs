//! ICMP errors about translated packets, whole messages with all checksums; echo requests.

use etherparse::{NetSlice, SlicedPacket};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::abi::settings::echo;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{
    Datapath, Framing, Outcome, Packet, Transport, World, icmp, sctp, tcp, udp,
};

/// Addresses of one family: a client's port, a service, its backend, a router somewhere.
struct Net {
    client: &'static str,
    vip: &'static str,
    backend: &'static str,
    router: &'static str,
    /// Type and code of every error that is translated.
    errors: &'static [[u8; 2]],
}

const V4: Net = Net {
    client: "10.1.0.9:40000",
    vip: "10.96.0.10:80",
    backend: "10.1.0.2:8080",
    router: "192.0.2.254",
    errors: &[[3, 4], [3, 1], [3, 3], [11, 0], [12, 0]],
};

const V6: Net = Net {
    client: "[fd00:1::9]:40000",
    vip: "[fd00:96::10]:80",
    backend: "[fd00:1::2]:8080",
    router: "fd00:ffff::1",
    errors: &[[2, 0], [1, 0], [1, 4], [3, 0], [4, 1]],
};

const MTU: [u8; 4] = [0, 0, 5, 120];

fn datapath() -> Datapath {
    let mut world = World::default();
    for net in [&V4, &V6] {
        for protocol in [TCP, UDP, SCTP] {
            world = world.service(protocol, &[net.vip], &[net.backend]);
        }
    }
    Datapath::new(world.tables())
}

fn ip(address: &str) -> String {
    address.parse::<std::net::SocketAddr>().unwrap().ip().to_string()
}

/// The first bytes of a packet from its network header on: all, or 8 behind the network header.
fn quote(packet: &Packet, whole: bool) -> Vec<u8> {
    let mut bytes = packet.clone().framed(Framing::Raw).bytes();
    if !whole {
        let header = if packet.src.is_ipv4() { 20 + 4 * packet.options } else { 40 };
        bytes.truncate(header + 8);
    }
    bytes
}

/// Sends an error and expects it to become another, byte for byte.
#[track_caller]
fn check_error(datapath: &mut Datapath, hook: Hook, error: &[u8], expected: &[u8]) {
    let outcome = datapath.send_bytes(hook, Link::Ethernet, error);
    let verdict = if error == expected { Verdict::Pass } else { Verdict::Rewritten };
    assert_eq!((outcome.verdict, &outcome.packet[..]), (verdict, expected));
}

/// Opens a flow by `request` and sends errors about it and about `answer` from everywhere.
#[track_caller]
fn check(datapath: &mut Datapath, net: &Net, request: &Packet, answer: &Packet) {
    let forward = request.clone().to(net.backend);
    let back = answer.clone().from(net.vip);
    datapath.ingress(request, &forward);
    datapath.egress(answer, &back);
    let (client, vip, backend) = (&ip(net.client), &ip(net.vip), &ip(net.backend));
    for whole in [false, true] {
        for kind in net.errors {
            let error = |from: &str, to: &str, about: &Packet| {
                icmp(from, to, *kind, MTU, &quote(about, whole))
            };
            let mut check = |hook, error: Vec<u8>, expected: Vec<u8>| {
                check_error(datapath, hook, &error, &expected);
            };
            let (egress, ingress) = (Hook::Egress, Hook::Ingress);
            let router = net.router;
            check(egress, error(router, client, &forward), error(router, client, request));
            check(egress, error(backend, client, &forward), error(vip, client, request));
            check(ingress, error(router, vip, &back), error(router, backend, answer));
            check(ingress, error(client, vip, &back), error(client, backend, answer));
            // On its way to the other hook it is as it was.
            check(ingress, error(router, client, &forward), error(router, client, &forward));
        }
    }
}

#[test]
fn errors_about_either_direction_are_translated_inside_and_outside() {
    let mut datapath = datapath();
    for net in [&V4, &V6] {
        let (client, vip, backend) = (net.client, net.vip, net.backend);
        check(&mut datapath, net, &tcp(client, vip, SYN), &tcp(backend, client, SYN | ACK));
        check(&mut datapath, net, &udp(client, vip), &udp(backend, client));
    }
    let translated = datapath.tables().counters()[&Counter::ErrorTranslated];
    assert_eq!(translated, 2 * 2 * 2 * 5 * 4);
}

#[test]
fn a_quoted_datagram_without_checksum_stays_without() {
    let unsummed = |packet: Packet| Packet { transport: Transport::UdpUnsummed, ..packet };
    let (request, answer) = (udp(V4.client, V4.vip), udp(V4.backend, V4.client));
    check(&mut datapath(), &V4, &unsummed(request), &unsummed(answer));
}

#[test]
fn quoted_ip_options_are_walked() {
    let (request, answer) = (tcp(V4.client, V4.vip, SYN), tcp(V4.backend, V4.client, SYN | ACK));
    check(&mut datapath(), &V4, &request.with_options(2), &answer.with_options(1));
}

#[test]
fn errors_about_an_association_are_translated() {
    let mut datapath = datapath();
    for net in [&V4, &V6] {
        let request = sctp(net.client, net.vip, 1);
        datapath.ingress(&request, &request.clone().to(net.backend));
        let client = &ip(net.client);
        let error =
            |about: &Packet| icmp(net.router, client, net.errors[0], MTU, &quote(about, false));
        let forward = request.clone().to(net.backend);
        check_error(&mut datapath, Hook::Egress, &error(&forward), &error(&request));
    }
}

#[test]
fn errors_about_other_peoples_packets_pass_untouched() {
    let mut datapath = datapath();
    for net in [&V4, &V6] {
        let stranger = udp(net.client, net.backend);
        let client = &ip(net.client);
        let error = icmp(net.router, client, net.errors[0], MTU, &quote(&stranger, true));
        for hook in [Hook::Ingress, Hook::Egress] {
            check_error(&mut datapath, hook, &error, &error);
        }
    }
    assert!(datapath.tables().counters().is_empty());
}

#[test]
fn errors_that_quote_too_little_pass_and_are_counted() {
    let mut datapath = datapath();
    for (net, header) in [(&V4, 20), (&V6, 40)] {
        let request = udp(net.client, net.vip);
        let forward = request.clone().to(net.backend);
        datapath.ingress(&request, &forward);
        let quote = quote(&forward, true);
        for length in 0..header + 8 {
            let error = icmp(net.router, &ip(net.client), net.errors[0], MTU, &quote[..length]);
            check_error(&mut datapath, Hook::Egress, &error, &error);
        }
    }
    let malformed = datapath.tables().counters()[&Counter::PassMalformed];
    assert_eq!(malformed, 28 + 48);
}

#[test]
fn an_echo_request_to_an_address_of_services_alone_is_answered() {
    let world = World::default()
        .service(TCP, &[V4.vip, "192.0.2.1:80"], &[])
        .service(TCP, &[V6.vip], &[])
        .closed(&ip(V4.vip))
        .closed(&ip(V6.vip));
    let mut datapath = Datapath::new(world.tables());
    for (net, request, reply) in [(&V4, [8, 0], [0, 0]), (&V6, [128, 0], [129, 0])] {
        let (client, vip) = (&ip(net.client), &ip(net.vip));
        let echo =
            |from: &str, to: &str, kind| icmp(from, to, kind, [7, 7, 0, 1], b"are you there?");
        let sent = echo(client, vip, request);
        let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &sent);
        assert_eq!(outcome.verdict, Verdict::Reject);
        let expected = echo(vip, client, reply);
        assert_eq!(outcome.packet[..6], sent[6..12]);
        assert_eq!(outcome.packet[6..12], sent[..6]);
        assert_eq!(outcome.packet[12..], expected[12..]);
        for other in [echo(vip, client, reply), echo(vip, vip, [13, 0])] {
            check_error(&mut datapath, Hook::Ingress, &other, &other);
        }
        check_error(&mut datapath, Hook::Egress, &sent, &sent);
    }
    let to_the_node = icmp("10.1.0.9", "192.0.2.1", [8, 0], [0; 4], b"ping");
    check_error(&mut datapath, Hook::Ingress, &to_the_node, &to_the_node);
    assert_eq!(datapath.tables().counters(), [(Counter::EchoAnswered, 2)].into());
}

fn services_alone(vip_echo: u32) -> Datapath {
    let world = [&V4, &V6].into_iter().fold(World::default().vip_echo(vip_echo), |world, net| {
        world.service(TCP, &[net.vip], &[net.backend]).closed(&ip(net.vip))
    });
    Datapath::new(world.tables())
}

/// An echo request to a service, and what its sender is told if it is rejected: type and code.
fn echo_request(net: &Net) -> (Vec<u8>, [u8; 2]) {
    let (request, told) = if net.vip == V4.vip { (8, [3, 3]) } else { (128, [1, 4]) };
    let echo = icmp(&ip(net.client), &ip(net.vip), [request, 0], [7, 7, 0, 1], b"are you there?");
    (echo, told)
}

#[test]
fn an_echo_request_to_an_address_of_services_alone_is_rejected_if_that_is_set() {
    let mut datapath = services_alone(echo::REJECT);
    for (net, header) in [(&V4, 20), (&V6, 40)] {
        let (sent, told) = echo_request(net);
        let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &sent);
        assert_eq!(outcome.verdict, Verdict::Reject);
        let quote = &sent[14..][..header + 8];
        let expected = icmp(&ip(net.vip), &ip(net.client), told, [0; 4], quote);
        assert_eq!(outcome.packet[..12], [&sent[6..12], &sent[..6]].concat());
        // Addresses, type, code, both checksums' rest, the quote; the header's own is below.
        assert_eq!(outcome.packet[14 + header - 8..], expected[14 + header - 8..]);
        assert_eq!(outcome.packet.len(), expected.len());
        if let Some(NetSlice::Ipv4(ip)) = SlicedPacket::from_ethernet(&outcome.packet).unwrap().net
        {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
        }
        check_error(&mut datapath, Hook::Egress, &sent, &sent);
    }
    assert_eq!(datapath.tables().counters(), [(Counter::RejectEcho, 2)].into());
}

#[test]
fn an_echo_request_to_an_address_of_services_alone_is_dropped_if_that_is_set() {
    let mut datapath = services_alone(echo::DROP);
    for net in [&V4, &V6] {
        let (sent, _) = echo_request(net);
        let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &sent);
        assert_eq!(outcome, Outcome { verdict: Verdict::Drop(Counter::DropEcho), packet: sent });
    }
    assert_eq!(datapath.tables().counters(), [(Counter::DropEcho, 2)].into());
}

#[test]
fn an_error_that_is_not_all_there_or_quotes_from_behind_its_end_passes_untouched() {
    let mut datapath = datapath();
    for net in [&V4, &V6] {
        datapath.send(Hook::Ingress, &tcp(net.client, net.vip, SYN));
        let inside = quote(&tcp(net.client, net.backend, SYN), true);
        let error = icmp(net.router, &ip(net.client), net.errors[0], MTU, &inside);
        let length = if net.vip.starts_with('[') { 18..20 } else { 16..18 };
        for (declared, kept) in [(30u16, error.len()), (200, error.len()), (200, error.len() - 12)]
        {
            let mut error = error[..kept].to_vec();
            error[length.clone()].copy_from_slice(&declared.to_be_bytes());
            check_error(&mut datapath, Hook::Egress, &error, &error);
        }
    }
    assert_eq!(datapath.tables().counters()[&Counter::PassMalformed], 6);
}
