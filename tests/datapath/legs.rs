//! Masquerade as it is done: decided where a packet enters, done where it leaves, undone where the
//! answer enters; pods that are their own backends; entries that were evicted.

use std::net::SocketAddr;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::flags::{LEG, REPLY};
use lb_common::abi::flow::{Hook, state};
use lb_common::abi::frontend::flags::EXTERNAL;
use lb_common::abi::interface::NODE;
use lb_common::abi::prefix::client::POD;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Framing, Packet, World, assert_checksums, icmp, tcp, udp};

/// The interface that packets of a test run come by and leave by.
const LINK: u32 = 1;

/// Who talks to whom.
#[derive(Clone, Copy)]
struct Flow {
    client: &'static str,
    dialled: &'static str,
    backend: &'static str,
    node: &'static str,
}

/// The client's port is within the range, so it stays.
const V4: Flow = Flow {
    client: "203.0.113.9:51000",
    dialled: "192.0.2.1:30080",
    backend: "10.2.0.2:8080",
    node: "10.2.255.1:51000",
};
const V6: Flow = Flow {
    client: "[2001:db8::9]:51000",
    dialled: "[fd00::1]:30080",
    backend: "[fd00:2::2]:8080",
    node: "[fd00:2::ff]:51000",
};
const FLOWS: [Flow; 2] = [V4, V6];

fn world(protocol: u8) -> World {
    FLOWS.into_iter().fold(World::default(), |world, flow| {
        world
            .service(protocol, &[flow.dialled], &[flow.backend])
            .policy(EXTERNAL, 0)
            .source(LINK, flow.node.rsplit_once(':').unwrap().0.trim_matches(['[', ']']))
    })
}

fn datapath(protocol: u8) -> Datapath {
    Datapath::new(world(protocol).tables())
}

impl Flow {
    #[track_caller]
    fn request(self, datapath: &mut Datapath, packet: &Packet) {
        let packet = packet.clone().from(self.client).to(self.dialled);
        let inside = packet.clone().to(self.backend);
        datapath.ingress(&packet, &inside);
        datapath.egress(&inside, &inside.clone().from(self.node));
    }

    #[track_caller]
    fn answer(self, datapath: &mut Datapath, packet: &Packet) {
        let packet = packet.clone().from(self.backend).to(self.node);
        let inside = packet.clone().to(self.client);
        datapath.ingress(&packet, &inside);
        datapath.egress(&inside, &inside.clone().from(self.dialled));
    }

    /// One packet each way.
    #[track_caller]
    fn exchange(self, datapath: &mut Datapath, request: u8, answer: u8) {
        self.request(datapath, &tcp(self.client, self.dialled, request));
        self.answer(datapath, &tcp(self.backend, self.node, answer));
    }
}

/// The source that a request gets which leaves.
#[track_caller]
fn masqueraded(datapath: &mut Datapath, flow: Flow, packet: &Packet) -> SocketAddr {
    let inside = packet.clone().to(flow.backend);
    datapath.ingress(packet, &inside);
    let outcome = datapath.send(Hook::Egress, &inside);
    assert_eq!(outcome.verdict, Verdict::Rewritten);
    assert_checksums(&outcome.packet, packet.framing);
    let port = u16::from_be_bytes([outcome.packet[34], outcome.packet[35]]);
    let source = SocketAddr::new(flow.node.parse::<SocketAddr>().unwrap().ip(), port);
    assert_eq!(outcome.packet, inside.from(&source.to_string()).bytes());
    source
}

#[test]
fn a_tcp_connection_is_masqueraded_there_and_back() {
    for flow in FLOWS {
        let mut datapath = datapath(TCP);
        flow.exchange(&mut datapath, SYN, SYN | ACK);
        flow.exchange(&mut datapath, ACK, ACK);
        flow.exchange(&mut datapath, FIN | ACK, FIN | ACK);
        flow.exchange(&mut datapath, ACK, ACK);
    }
}

#[test]
fn datagrams_are_masqueraded_there_and_back() {
    for flow in FLOWS {
        let mut datapath = datapath(UDP);
        for _ in 0..3 {
            flow.request(&mut datapath, &udp(flow.client, flow.dialled));
            flow.answer(&mut datapath, &udp(flow.backend, flow.node));
        }
    }
}

#[test]
fn all_entries_know_what_any_saw() {
    let mut datapath = datapath(TCP);
    V4.exchange(&mut datapath, SYN, SYN | ACK);
    V4.exchange(&mut datapath, FIN | ACK, FIN | ACK);
    let all = state::REPLIED | state::CONFIRMED | state::CLIENT_FIN | state::SERVER_FIN;
    let states: Vec<_> = datapath.tables().v4.flows().iter().map(|(_, f)| f.state).collect();
    assert_eq!(states, [all; 4]);
}

#[test]
fn a_port_that_is_used_again_leaves_as_before() {
    let mut datapath = datapath(TCP);
    for _ in 0..3 {
        V4.exchange(&mut datapath, SYN, SYN | ACK);
        V4.exchange(&mut datapath, FIN | ACK, FIN | ACK);
    }
    assert_eq!(datapath.tables().v4.flows().len(), 4);
}

#[test]
fn a_port_outside_the_range_is_replaced_by_one_within_it_and_stays_so() {
    let mut datapath = datapath(TCP);
    let request = tcp("203.0.113.9:4711", V4.dialled, SYN);
    let first = masqueraded(&mut datapath, V4, &request);
    assert!((50_000..=65_535).contains(&first.port()), "{first}");
    assert_eq!(masqueraded(&mut datapath, V4, &request), first);
}

#[test]
fn two_clients_with_one_port_are_told_apart() {
    let mut datapath = datapath(TCP);
    let first = masqueraded(&mut datapath, V4, &tcp(V4.client, V4.dialled, SYN));
    let second = masqueraded(&mut datapath, V4, &tcp("203.0.113.10:51000", V4.dialled, SYN));
    assert_eq!(first.port(), 51_000);
    assert_ne!(first, second);
    let answer = tcp(V4.backend, &second.to_string(), SYN | ACK);
    let inside = answer.clone().to("203.0.113.10:51000");
    datapath.ingress(&answer, &inside);
    datapath.egress(&inside, &inside.clone().from(V4.dialled));
    V4.exchange(&mut datapath, ACK, ACK);
}

#[test]
fn a_flow_without_a_free_port_is_dropped_and_counted() {
    let mut datapath = Datapath::new(world(TCP).masquerade_ports(51_000, 51_000).tables());
    V4.exchange(&mut datapath, SYN, SYN | ACK);
    let request = tcp("203.0.113.10:51000", V4.dialled, SYN);
    let inside = request.clone().to(V4.backend);
    datapath.ingress(&request, &inside);
    let outcome = datapath.send(Hook::Egress, &inside);
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropMasqueradePorts));
    V4.exchange(&mut datapath, ACK, ACK);
}

#[test]
fn a_dead_flows_port_is_free() {
    let mut datapath = Datapath::new(world(TCP).masquerade_ports(51_000, 51_000).tables());
    V4.exchange(&mut datapath, SYN, SYN | ACK);
    V4.exchange(&mut datapath, FIN | ACK, FIN | ACK);
    let next = masqueraded(&mut datapath, V4, &tcp("203.0.113.10:51000", V4.dialled, SYN));
    assert_eq!(next.port(), 51_000);
}

#[test]
fn an_interface_without_an_address_borrows_the_nodes() {
    let mut world = world(TCP).source(NODE, "10.2.255.1").tables();
    world.interfaces.remove(&LINK);
    V4.exchange(&mut Datapath::new(world), SYN, SYN | ACK);
}

#[test]
fn without_any_address_the_packet_is_dropped_and_counted() {
    let mut world = world(TCP).tables();
    world.interfaces.clear();
    let mut datapath = Datapath::new(world);
    let request = tcp(V4.client, V4.dialled, SYN);
    let inside = request.clone().to(V4.backend);
    datapath.ingress(&request, &inside);
    let outcome = datapath.send(Hook::Egress, &inside);
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropMasqueradeAddress));
}

#[test]
fn a_pod_that_is_its_own_backend_meets_the_node() {
    // The last client even dials from the port that it listens at.
    for (client, node) in [("10.2.0.2:51000", Some("10.2.255.1:51000")), ("10.2.0.2:8080", None)] {
        let mut datapath = datapath(TCP);
        let request = tcp(client, V4.dialled, SYN);
        let outcome = datapath.send(Hook::Ingress, &request);
        let port = u16::from_be_bytes([outcome.packet[34], outcome.packet[35]]);
        let as_seen = format!("10.2.0.2:{port}");
        let inside = request.from(&as_seen).to(V4.backend);
        assert_eq!(outcome.packet, inside.bytes());
        let node = node.map_or_else(|| format!("10.2.255.1:{port}"), str::to_owned);
        datapath.egress(&inside, &inside.clone().from(&node));
        let answer = tcp(V4.backend, &node, SYN | ACK);
        let inside = answer.clone().to(&as_seen);
        datapath.ingress(&answer, &inside);
        datapath.egress(&inside, &inside.clone().from(V4.dialled).to(client));
    }
}

#[test]
fn what_somebody_else_has_masqueraded_passes_and_comes_back() {
    let mut datapath = datapath(TCP);
    let request = tcp(V4.client, V4.dialled, SYN);
    datapath.ingress(&request, &request.clone().to(V4.backend));
    let theirs = tcp("192.0.2.1:61000", V4.backend, SYN);
    datapath.egress(&theirs, &theirs);
    let answer = tcp(V4.backend, "192.0.2.1:61000", SYN | ACK);
    datapath.ingress(&answer, &answer);
    let undone = tcp(V4.backend, V4.client, SYN | ACK);
    datapath.egress(&undone, &undone.clone().from(V4.dialled));
}

const INGRESS: u8 = Hook::Ingress as u8;
const EGRESS: u8 = Hook::Egress as u8;

/// The four entries of a masqueraded flow: hook and flags.
const ENTRIES: [(u8, u16); 4] =
    [(INGRESS, 0), (EGRESS, REPLY), (EGRESS, LEG), (INGRESS, REPLY | LEG)];

#[track_caller]
fn evict(datapath: &mut Datapath, (hook, flags): (u8, u16)) {
    let before = datapath.tables().v4.flows().len();
    datapath.evict(|at, of| at == hook && of & (REPLY | LEG) == flags);
    assert!(datapath.tables().v4.flows().len() < before, "{hook} {flags}");
}

#[test]
fn whichever_entry_is_evicted_the_next_request_brings_all_back() {
    for flow in FLOWS {
        for entry in ENTRIES {
            let mut datapath = datapath(TCP);
            flow.exchange(&mut datapath, SYN, SYN | ACK);
            datapath.evict(|hook, flags| (hook, flags & (REPLY | LEG)) == entry);
            datapath.age_flows(5);
            flow.exchange(&mut datapath, ACK, ACK);
            let tables = datapath.tables();
            assert_eq!(tables.v4.flows().len() + tables.v6.flows().len(), 4, "{entry:?}");
        }
    }
}

#[test]
fn an_answer_that_comes_first_is_translated_too_unless_its_own_leg_is_gone() {
    for entry in ENTRIES.into_iter().filter(|entry| *entry != (INGRESS, REPLY | LEG)) {
        let mut datapath = datapath(TCP);
        V4.exchange(&mut datapath, SYN, SYN | ACK);
        evict(&mut datapath, entry);
        V4.answer(&mut datapath, &tcp(V4.backend, V4.node, ACK));
        V4.exchange(&mut datapath, ACK, ACK);
    }
}

#[test]
fn a_request_whose_leg_was_evicted_leaves_from_the_same_port_at_once() {
    let mut datapath = datapath(TCP);
    let request = tcp("203.0.113.9:4711", V4.dialled, SYN);
    let first = masqueraded(&mut datapath, V4, &request);
    evict(&mut datapath, (EGRESS, LEG));
    assert_eq!(masqueraded(&mut datapath, V4, &request), first);
}

#[test]
fn an_evicted_entry_does_not_lead_an_established_connection_elsewhere() {
    let mut datapath = datapath(TCP);
    V4.exchange(&mut datapath, SYN, SYN | ACK);
    evict(&mut datapath, (INGRESS, 0));
    datapath.age_flows(5);
    V4.answer(&mut datapath, &tcp(V4.backend, V4.node, ACK));
    datapath.change(|tables| tables.v4.backends.get_mut(&1).unwrap().flags = 0);
    V4.exchange(&mut datapath, ACK, ACK);
}

#[test]
fn the_nodes_reset_of_an_answer_that_lost_its_entry_never_reaches_the_backend() {
    let mut datapath = datapath(TCP);
    V4.exchange(&mut datapath, SYN, SYN | ACK);
    evict(&mut datapath, (INGRESS, REPLY | LEG));
    let answer = tcp(V4.backend, V4.node, ACK);
    datapath.ingress(&answer, &answer);
    let outcome = datapath.send(Hook::Egress, &tcp(V4.node, V4.backend, RST));
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropStrayReset));
}

#[test]
fn resets_that_are_no_such_thing_leave() {
    let mut datapath = datapath(TCP);
    for (src, flags) in [
        ("10.2.255.1:40000", RST),
        ("10.2.255.9:51000", RST),
        ("10.2.255.1:51000", RST | ACK),
        ("10.2.255.1:51000", FIN | ACK),
    ] {
        let packet = tcp(src, V4.backend, flags);
        datapath.egress(&packet, &packet);
    }
}

#[test]
fn a_long_flow_keeps_a_spare_of_the_answers_entry() {
    let world = World::default()
        .service(TCP, &["10.96.0.10:80"], &["10.1.0.2:8080"])
        .clients("10.1.0.0/16", POD);
    let mut datapath = Datapath::new(world.tables());
    let request = tcp("10.1.0.9:40000", "10.96.0.10:80", ACK);
    let answer = tcp("10.1.0.2:8080", "10.1.0.9:40000", ACK);
    for _ in 0..20 {
        let inside = request.clone().to("10.1.0.2:8080");
        datapath.ingress(&request, &inside);
        datapath.egress(&inside, &inside);
        datapath.egress(&answer, &answer.clone().from("10.96.0.10:80"));
    }
    assert_eq!(datapath.tables().v4.flows().len(), 3);
    evict(&mut datapath, (EGRESS, REPLY));
    datapath.egress(&answer, &answer.clone().from("10.96.0.10:80"));
    assert_eq!(datapath.tables().v4.flows().len(), 3);
}

/// A router between, whose network the backend's node would not expect behind an overlay.
const ROUTERS: [&str; 2] = ["192.0.2.254", "2001:db8:ffff::1"];

/// "Too big", from a router or the client itself to `to`, about `packet`.
fn too_big(from: &str, to: &str, packet: &Packet) -> Vec<u8> {
    let kind = if packet.src.is_ipv4() { [3, 4] } else { [2, 0] };
    icmp(from, to, kind, [0, 0, 5, 120], &packet.clone().framed(Framing::Raw).bytes())
}

#[test]
fn an_error_about_an_answer_reaches_the_backend_from_the_node_and_not_from_whoever_sent_it() {
    for (flow, router) in FLOWS.into_iter().zip(ROUTERS) {
        let mut datapath = datapath(TCP);
        flow.exchange(&mut datapath, SYN, SYN | ACK);
        let ip = |socket: &str| socket.parse::<SocketAddr>().unwrap().ip().to_string();
        let [client, dialled, backend, node] =
            [flow.client, flow.dialled, flow.backend, flow.node].map(ip);
        let answer = |src, dst| tcp(src, dst, ACK);
        for sender in [router, &client] {
            let came = too_big(sender, &dialled, &answer(flow.dialled, flow.client));
            let inside = too_big(sender, &backend, &answer(flow.backend, flow.client));
            let left = too_big(&node, &backend, &answer(flow.backend, flow.node));
            for (hook, sent, expected) in
                [(Hook::Ingress, &came, &inside), (Hook::Egress, &inside, &left)]
            {
                let outcome = datapath.send_bytes(hook, Link::Ethernet, sent);
                assert_eq!((outcome.verdict, &outcome.packet), (Verdict::Rewritten, expected));
            }
        }
    }
}
