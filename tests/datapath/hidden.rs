//! What masqueraded flows carry besides whole TCP and UDP packets: SCTP, fragments, ICMP errors.
//!
//! Every packet is there three times: as it comes in, as it is within the node, and as it goes out.

use std::net::SocketAddr;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::abi::frontend::flags::EXTERNAL;
use lb_common::abi::interface::NODE;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Framing, Packet, Transport, World, ends, icmp, sctp, tcp, udp};

/// Addresses of one family.
struct Net {
    client: &'static str,
    dialled: &'static str,
    backend: &'static str,
    node: &'static str,
    router: &'static str,
    /// Type and code of some errors, "too big" first.
    errors: [[u8; 2]; 3],
    /// Length of the network header.
    header: usize,
}

const V4: Net = Net {
    client: "203.0.113.9",
    dialled: "192.0.2.1:30080",
    backend: "10.2.0.2:8080",
    node: "10.2.255.1",
    router: "198.51.100.254",
    errors: [[3, 4], [3, 1], [11, 0]],
    header: 20,
};
const V6: Net = Net {
    client: "2001:db8::9",
    dialled: "[fd00::1]:30080",
    backend: "[fd00:2::2]:8080",
    node: "fd00:2::ff",
    router: "2001:db8:1::fe",
    errors: [[2, 0], [1, 3], [3, 0]],
    header: 40,
};
const NETS: [&Net; 2] = [&V4, &V6];

/// A client's port that stays, and one that does not.
const PORTS: [u16; 2] = [51_000, 4711];

fn datapath() -> Datapath {
    let world = NETS.into_iter().fold(World::default(), |world, net| {
        let serve = |world: World, protocol| {
            world.service(protocol, &[net.dialled], &[net.backend]).policy(EXTERNAL, 0)
        };
        [TCP, UDP, SCTP].into_iter().fold(world, serve).source(NODE, net.node)
    });
    Datapath::new(world.tables())
}

/// A flow that is known, and what its ends are.
struct Flow {
    client: String,
    dialled: String,
    backend: String,
    node: String,
}

impl Flow {
    /// Opens the flow from a port of the client, by packets of the kind of `first`.
    fn open(datapath: &mut Datapath, net: &Net, port: u16, first: &Packet) -> Self {
        let client = socket(net.client, port);
        let inside = first.clone().from(&client).to(net.backend);
        datapath.ingress(&inside.clone().to(net.dialled), &inside);
        let outside = datapath.send(Hook::Egress, &inside).packet;
        let (source, _) = ends(&outside, Framing::Ethernet);
        assert_eq!(source.port() == port, port == PORTS[0], "{source}");
        assert_eq!(source, socket(net.node, source.port()).parse::<SocketAddr>().unwrap());
        let [dialled, backend] = [net.dialled, net.backend].map(str::to_owned);
        Self { client, dialled, backend, node: source.to_string() }
    }

    fn request(&self, packet: &Packet) -> [Packet; 3] {
        let packet = packet.clone().from(&self.client);
        let inside = packet.clone().to(&self.backend);
        [packet.to(&self.dialled), inside.clone(), inside.from(&self.node)]
    }

    fn answer(&self, packet: &Packet) -> [Packet; 3] {
        let packet = packet.clone().from(&self.backend);
        let inside = packet.clone().to(&self.client);
        [packet.to(&self.node), inside.clone(), inside.from(&self.dialled)]
    }
}

fn socket(ip: &str, port: u16) -> String {
    SocketAddr::new(ip.parse().unwrap(), port).to_string()
}

fn ip(socket: &str) -> String {
    socket.parse::<SocketAddr>().unwrap().ip().to_string()
}

/// Sends the first through the node: it becomes the second, then the third.
#[track_caller]
fn travel(datapath: &mut Datapath, [before, inside, after]: [&[u8]; 3]) {
    for (hook, sent, expected) in [(Hook::Ingress, before, inside), (Hook::Egress, inside, after)] {
        let outcome = datapath.send_bytes(hook, Link::Ethernet, sent);
        assert_eq!(outcome.verdict, Verdict::Rewritten, "{hook:?}");
        assert!(outcome.packet == expected, "{hook:?} {:x?}\n{expected:x?}", outcome.packet);
    }
}

#[track_caller]
fn travel_whole(datapath: &mut Datapath, packets: &[Packet; 3]) {
    let [before, inside, after] = packets.each_ref().map(Packet::bytes);
    travel(datapath, [&before, &inside, &after]);
}

/// Sends the fragments of a packet through the node, in this order.
#[track_caller]
fn travel_cut(datapath: &mut Datapath, packets: &[Packet; 3], order: impl Iterator<Item = usize>) {
    let cut = packets.each_ref().map(|packet| packet.fragments(1448, 7));
    for index in order {
        travel(datapath, cut.each_ref().map(|fragments| &fragments[index][..]));
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;

/// A first packet of each protocol, and an answer.
fn kinds(net: &Net) -> [[Packet; 2]; 3] {
    let chunk = |kind| sctp(net.dialled, net.dialled, kind);
    let segment = |flags| tcp(net.dialled, net.dialled, flags);
    let datagram = udp(net.dialled, net.dialled);
    [
        [segment(SYN), segment(SYN | ACK)],
        [datagram.clone(), datagram],
        [chunk(INIT), chunk(INIT_ACK)],
    ]
}

#[test]
fn an_association_is_masqueraded_there_and_back() {
    let mut datapath = datapath();
    for (net, port) in NETS.into_iter().flat_map(|net| PORTS.map(|port| (net, port))) {
        let chunk = |kind, length| sctp(net.dialled, net.dialled, kind).with_payload(bytes(length));
        let flow = Flow::open(&mut datapath, net, port, &chunk(INIT, 16));
        travel_whole(&mut datapath, &flow.answer(&chunk(INIT_ACK, 300)));
        for length in [0, 1, 1000, 3000] {
            travel_whole(&mut datapath, &flow.request(&chunk(DATA, length)));
            travel_whole(&mut datapath, &flow.answer(&chunk(DATA, length)));
        }
        let unsummed = Packet { transport: Transport::SctpUnsummed(DATA), ..chunk(DATA, 40) };
        travel_whole(&mut datapath, &flow.request(&unsummed));
        travel_whole(&mut datapath, &flow.answer(&unsummed));
        travel_whole(&mut datapath, &flow.request(&chunk(SHUTDOWN, 4)));
        travel_whole(&mut datapath, &flow.answer(&chunk(SHUTDOWN_ACK, 0)));
    }
}

#[test]
fn fragments_are_masqueraded_there_and_back_in_any_order_behind_the_first() {
    let mut datapath = datapath();
    for (net, port) in NETS.into_iter().flat_map(|net| PORTS.map(|port| (net, port))) {
        for [request, answer] in &kinds(net)[..2] {
            let flow = Flow::open(&mut datapath, net, port, request);
            for length in [2000, 60_000] {
                let [request, answer] =
                    [request, answer].map(|it| it.clone().with_payload(bytes(length)));
                let count = flow.request(&request)[0].fragments(1448, 7).len();
                let order = || std::iter::once(0).chain((1..count).rev());
                travel_cut(&mut datapath, &flow.request(&request), order());
                travel_cut(&mut datapath, &flow.answer(&answer), order());
            }
        }
    }
    let counted = [(Counter::NewFlow, 8), (Counter::Masqueraded, 8)];
    assert_eq!(datapath.tables().counters(), counted.into());
}

#[test]
fn fragments_of_a_masqueraded_association_pass_and_are_counted() {
    let mut datapath = datapath();
    for net in NETS {
        let chunk = |kind| sctp(net.dialled, net.dialled, kind).with_payload(bytes(2000));
        let flow = Flow::open(&mut datapath, net, PORTS[1], &chunk(INIT));
        for packet in [&flow.request(&chunk(DATA))[0], &flow.answer(&chunk(DATA))[0]] {
            for fragment in packet.fragments(1448, 7) {
                let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &fragment);
                assert_eq!((outcome.verdict, outcome.packet), (Verdict::Pass, fragment));
            }
        }
    }
    assert_eq!(datapath.tables().counters()[&Counter::PassFragment], 8);
}

/// An error of the first kind there is, from a router to the sender of `about`, which it quotes as far
/// as that.
fn error(net: &Net, kind: [u8; 2], from: &str, about: &Packet, quoted: usize) -> Vec<u8> {
    let mut quote = about.clone().framed(Framing::Raw).bytes();
    quote.truncate(quoted);
    assert_eq!(net.header == 20, about.src.is_ipv4());
    icmp(from, &about.src.ip().to_string(), kind, [0, 0, 5, 120], &quote)
}

/// Sends errors about a packet that went through the node, the other way: from somebody on the way
/// and from who was to receive it, with whole quotes and with short ones. What leaves is from `router`
/// if it came from the one on the way.
#[track_caller]
fn check_errors(datapath: &mut Datapath, net: &Net, packets: &[Packet; 3], router: &str) {
    let [before, inside, after] = packets;
    for quoted in [net.header + 8, net.header + 16, 1000] {
        if quoted > net.header + 8 && matches!(before.transport, Transport::Sctp(_)) {
            // The quoted checksum is left alone, so a longer quote is not built alike.
            continue;
        }
        for kind in net.errors {
            let receivers = [after, inside, before].map(|packet| packet.dst.ip().to_string());
            for from in [[net.router, net.router, router], receivers.each_ref().map(String::as_str)]
            {
                let [first, second, third] =
                    [(after, from[0]), (inside, from[1]), (before, from[2])]
                        .map(|(about, from)| error(net, kind, from, about, quoted));
                travel(datapath, [&first, &second, &third]);
            }
        }
    }
}

#[test]
fn errors_about_masqueraded_packets_reach_who_sent_them() {
    let mut datapath = datapath();
    for (net, port) in NETS.into_iter().flat_map(|net| PORTS.map(|port| (net, port))) {
        for [request, answer] in kinds(net) {
            let flow = Flow::open(&mut datapath, net, port, &request);
            check_errors(&mut datapath, net, &flow.request(&request), net.router);
            // The backend knows nobody behind the node.
            check_errors(&mut datapath, net, &flow.answer(&answer), &ip(&flow.node));
        }
    }
}

#[test]
fn errors_about_a_masqueraded_packet_that_quote_too_little_pass_and_are_counted() {
    let mut datapath = datapath();
    for net in NETS {
        for [request, answer] in kinds(net) {
            let flow = Flow::open(&mut datapath, net, PORTS[1], &request);
            for [_, inside, after] in [flow.request(&request), flow.answer(&answer)] {
                for (hook, about) in [(Hook::Ingress, after), (Hook::Egress, inside)] {
                    for quoted in 0..net.header + 8 {
                        let error = error(net, net.errors[0], net.router, &about, quoted);
                        let outcome = datapath.send_bytes(hook, Link::Ethernet, &error);
                        assert_eq!((outcome.verdict, outcome.packet), (Verdict::Pass, error));
                    }
                }
            }
        }
    }
    let counters = datapath.tables().counters();
    assert_eq!(counters[&Counter::PassMalformed], 3 * 2 * 2 * (28 + 48));
    assert!(!counters.contains_key(&Counter::ErrorTranslated));
}

#[test]
fn an_error_about_a_fragment_of_a_masqueraded_datagram_is_translated() {
    let mut datapath = datapath();
    for net in NETS {
        let request = udp(net.dialled, net.dialled).with_payload(bytes(4000));
        let flow = Flow::open(&mut datapath, net, PORTS[1], &request.clone().with_payload(vec![]));
        let [before, inside, after] = flow.request(&request);
        travel_cut(&mut datapath, &[before.clone(), inside.clone(), after.clone()], 0..3);
        let errors = [after, inside, before].map(|packet| {
            let quote = &packet.fragments(1448, 7)[0][14..][..200];
            icmp(net.router, &ip(&packet.src.to_string()), net.errors[0], [0, 0, 5, 120], quote)
        });
        travel(&mut datapath, errors.each_ref().map(|error| &error[..]));
    }
}
