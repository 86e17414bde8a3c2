//! What `waggle trace` is told: an event of each kind, the same by both executions, and nothing while
//! nobody listens.

use std::net::{IpAddr, SocketAddr};

use lb_common::abi::counter::Counter;
use lb_common::abi::event::Event;
use lb_common::abi::flow::Hook;
use lb_common::abi::frontend;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::net::{Addr6, Address as _, Family, Port};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_tests::datapath::{Datapath, Packet, Transport, World, tcp, udp};

const CLIENT: &str = "203.0.113.2:40000";
const VIP: &str = "10.96.0.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT6: &str = "[2001:db8::2]:40000";
const VIP6: &str = "[fd00:96::10]:80";
const BACKEND6: &str = "[fd00:1::2]:8080";
/// A service without endpoints, and one for nobody.
const EMPTY: &str = "10.96.0.11:80";
const GUARDED: &str = "10.96.0.12:80";

/// A service whose clients are hidden, and what they look like then.
const NODE_PORT: &str = "192.0.2.1:30080";
const REMOTE: &str = "10.2.0.2:8080";
const HIDDEN: &str = "203.0.113.9:51000";
const NODE: &str = "10.2.255.1:51000";

/// Ids in the order of [`world`].
const WEB: u32 = 1;
const WEB6: u32 = 3;
const NOBODY: u32 = 4;
const PRIVATE: u32 = 5;
const OUTSIDE: u32 = 6;

fn world() -> World {
    World::default()
        .service(TCP, &[VIP], &[BACKEND])
        .service(UDP, &[VIP], &[BACKEND])
        .service(TCP, &[VIP6], &[BACKEND6])
        .service(TCP, &[EMPTY], &[])
        .service(TCP, &[GUARDED], &["10.1.0.3:8080"])
        .policy(frontend::flags::SOURCE_RANGES, 0)
        .service(TCP, &[NODE_PORT], &[REMOTE])
        .policy(frontend::flags::EXTERNAL, 0)
        .closed("10.96.0.10")
        .service_cidr("10.96.0.0/16")
}

fn listening(world: World) -> Datapath {
    let mut datapath = Datapath::new(world.tables());
    datapath.listen(true);
    datapath
}

/// The event for `packet`, seen at `hook` of the interface of test runs, that goes to `new_dst`.
fn event(packet: &Packet, hook: Hook, counter: Counter, service: u32, new_dst: &str) -> Event {
    let new_dst: SocketAddr = new_dst.parse().unwrap();
    let (protocol, tcp_flags) = match packet.transport {
        Transport::Tcp(flags) => (TCP, flags),
        _ => (UDP, 0),
    };
    Event {
        time: 0,
        src: wide(packet.src.ip()),
        dst: wide(packet.dst.ip()),
        new_src: wide(packet.src.ip()),
        new_dst: wide(new_dst.ip()),
        src_port: Port::from_host(packet.src.port()),
        dst_port: Port::from_host(packet.dst.port()),
        new_src_port: Port::from_host(packet.src.port()),
        new_dst_port: Port::from_host(new_dst.port()),
        counter: counter as u32,
        service,
        ifindex: 1,
        family: if Family::of(&packet.src.ip()) == Family::V4 { 4 } else { 6 },
        protocol,
        hook: hook as u8,
        tcp_flags,
    }
}

fn wide(ip: IpAddr) -> Addr6 {
    match ip {
        IpAddr::V6(_) => Addr6::from_ip(ip).unwrap(),
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            Addr6::from_octets(octets)
        }
    }
}

/// Sends `packet` into the node and expects one event, of a packet that goes to `new_dst`.
#[track_caller]
fn check(packet: &Packet, counter: Counter, service: u32, new_dst: &str) {
    let mut datapath = listening(world());
    let _ = datapath.send(Hook::Ingress, packet);
    let expected = event(packet, Hook::Ingress, counter, service, new_dst);
    assert_eq!(datapath.take_events(), [expected], "{packet:?}");
    assert_eq!(datapath.tables().counters(), [(counter, 1)].into());
}

#[test]
fn a_new_flow_is_told_with_its_backend() {
    check(&tcp(CLIENT, VIP, SYN), Counter::NewFlow, WEB, BACKEND);
    check(&udp(CLIENT, VIP), Counter::NewFlow, WEB + 1, BACKEND);
    check(&tcp(CLIENT6, VIP6, SYN), Counter::NewFlow, WEB6, BACKEND6);
}

#[test]
fn a_reject_is_told_with_the_service_if_there_is_one() {
    check(&tcp(CLIENT, EMPTY, SYN), Counter::RejectNoEndpoint, NOBODY, EMPTY);
    let unknown = "10.96.0.10:81";
    check(&tcp(CLIENT, unknown, SYN), Counter::RejectUnknownPort, 0, unknown);
}

#[test]
fn a_drop_is_told_with_the_service_if_there_is_one() {
    check(&tcp(CLIENT, GUARDED, SYN), Counter::DropSourceRange, PRIVATE, GUARDED);
    let unallocated = "10.96.7.7:80";
    check(&tcp(CLIENT, unallocated, SYN), Counter::DropUnallocated, 0, unallocated);
}

#[test]
fn a_masqueraded_flow_is_told_again_where_it_leaves_with_the_source_that_it_got() {
    let mut datapath = listening(world().source(1, "10.2.255.1"));
    let request = tcp(HIDDEN, NODE_PORT, SYN);
    let inside = request.clone().to(REMOTE);
    datapath.ingress(&request, &inside);
    datapath.egress(&inside, &inside.clone().from(NODE));
    let new_flow = event(&request, Hook::Ingress, Counter::NewFlow, OUTSIDE, REMOTE);
    let hidden = event(&inside, Hook::Egress, Counter::Masqueraded, OUTSIDE, REMOTE);
    let new_src = wide(NODE.parse::<SocketAddr>().unwrap().ip());
    assert_eq!(datapath.take_events(), [new_flow, Event { new_src, ..hidden }]);
}

#[test]
fn a_drop_where_a_packet_leaves_is_told_with_the_service_of_its_flow() {
    let mut datapath = listening(world());
    let request = tcp(HIDDEN, NODE_PORT, SYN);
    let inside = request.clone().to(REMOTE);
    datapath.ingress(&request, &inside);
    let _ = datapath.send(Hook::Egress, &inside);
    let dropped = event(&inside, Hook::Egress, Counter::DropMasqueradeAddress, OUTSIDE, REMOTE);
    assert_eq!(datapath.take_events()[1..], [dropped]);
}

#[test]
fn a_reset_that_is_held_back_is_told() {
    let mut datapath = listening(world().source(1, "10.2.255.1"));
    let reset = tcp(NODE, REMOTE, RST);
    let _ = datapath.send(Hook::Egress, &reset);
    let expected = event(&reset, Hook::Egress, Counter::DropStrayReset, 0, REMOTE);
    assert_eq!(datapath.take_events(), [expected]);
}

#[test]
fn an_early_fragment_is_told_without_ports() {
    let mut datapath = listening(world());
    let request = udp(CLIENT, VIP).with_payload(vec![0; 2000]);
    let fragments = request.fragments(1000, 9);
    let _ = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &fragments[1]);
    let portless = |address: &str| address.rsplit_once(':').unwrap().0.to_owned() + ":0";
    let (client, vip) = (portless(CLIENT), portless(VIP));
    let packet = udp(&client, &vip);
    let expected = event(&packet, Hook::Ingress, Counter::DropEarlyFragment, 0, &vip);
    assert_eq!(datapath.take_events(), [expected]);
}

#[test]
fn packets_that_cannot_be_read_are_told_without_addresses() {
    for (hook, link) in [(Hook::Ingress, Link::Ethernet), (Hook::Egress, Link::Raw)] {
        let mut datapath = listening(world());
        // An IPv4 header that says it is longer than the packet.
        let mut bytes = udp(CLIENT, VIP).bytes();
        if link == Link::Raw {
            bytes.drain(..14);
        }
        let length = bytes.len();
        bytes.truncate(length - 20);
        let _ = datapath.send_bytes(hook, link, &bytes);
        let (counter, hook) = (Counter::PassMalformed as u32, hook as u8);
        let expected = Event { counter, hook, ifindex: 1, family: 4, ..Event::default() };
        assert_eq!(datapath.take_events(), [expected]);
    }
}

#[test]
fn an_answer_to_another_connection_is_told_with_the_service_of_the_closed_flow() {
    let mut datapath = listening(world());
    for flags in [SYN, ACK, FIN | ACK] {
        let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, flags));
    }
    assert_eq!(datapath.take_events().len(), 1, "the new flow");
    let answer = tcp(BACKEND, CLIENT, SYN | ACK);
    let _ = datapath.send(Hook::Egress, &answer);
    let expected = event(&answer, Hook::Egress, Counter::PassClosedFlow, WEB, CLIENT);
    assert_eq!(datapath.take_events(), [expected]);
}

#[test]
fn a_direct_connection_in_the_way_of_a_closed_flow_is_told() {
    let mut datapath = listening(world());
    for flags in [SYN, RST] {
        let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, flags));
    }
    assert_eq!(datapath.take_events().len(), 1, "the new flow");
    let direct = tcp(CLIENT, BACKEND, SYN);
    datapath.ingress(&direct, &direct);
    let expected = event(&direct, Hook::Ingress, Counter::PassClosedFlow, 0, BACKEND);
    assert_eq!(datapath.take_events(), [expected]);
}

#[test]
fn packets_of_flows_and_of_nobody_are_not_told() {
    let mut datapath = listening(world());
    let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, SYN));
    assert_eq!(datapath.take_events().len(), 1);
    for flags in [ACK, FIN | ACK] {
        let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, flags));
        let _ = datapath.send(Hook::Egress, &tcp(BACKEND, CLIENT, flags));
    }
    let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, "192.0.2.1:80", SYN));
    let _ = datapath.send(Hook::Egress, &tcp(CLIENT, "192.0.2.1:80", SYN));
    assert_eq!(datapath.take_events(), []);
}

#[test]
fn nothing_is_told_while_nobody_listens() {
    let mut datapath = Datapath::new(world().tables());
    let packets = [
        tcp(CLIENT, VIP, SYN),
        tcp(CLIENT, EMPTY, SYN),
        tcp(CLIENT, GUARDED, SYN),
        udp(CLIENT, VIP),
    ];
    let send_all = |datapath: &mut Datapath| {
        for packet in &packets {
            let _ = datapath.send(Hook::Ingress, packet);
        }
    };
    send_all(&mut datapath);
    assert_eq!(datapath.take_events(), []);
    datapath.listen(true);
    send_all(&mut datapath);
    let told = datapath.take_events().len();
    datapath.listen(false);
    send_all(&mut datapath);
    assert_eq!((told, datapath.take_events().len()), (2, 0), "flows are new only once");
}

#[test]
fn a_listener_who_stopped_asking_is_told_nothing() {
    let mut datapath = listening(world());
    datapath.change(|tables| tables.listener.until.0 = 1);
    let _ = datapath.send(Hook::Ingress, &tcp(CLIENT, VIP, SYN));
    assert_eq!(datapath.take_events(), []);
}

#[test]
fn an_event_without_room_is_lost_and_counted_and_the_packet_is_not() {
    /// What the kernel's ring of one page holds: a record has a head of 8 bytes.
    const ROOM: usize = 4096 / (size_of::<Event>() + 8);
    let mut datapath = listening(world());
    datapath.change(|tables| tables.event_capacity = Some(ROOM));
    for port in 0..u16::try_from(ROOM).unwrap() + 2 {
        let client = format!("203.0.113.2:{}", 40_000 + port);
        datapath.ingress(&tcp(&client, VIP, SYN), &tcp(&client, BACKEND, SYN));
    }
    assert_eq!(datapath.tables().counters()[&Counter::EventLost], 2);
    assert_eq!(datapath.take_events().len(), ROOM);
    datapath.ingress(&tcp(CLIENT6, VIP6, SYN), &tcp(CLIENT6, BACKEND6, SYN));
    assert_eq!(datapath.take_events().len(), 1, "there is room again");
}
