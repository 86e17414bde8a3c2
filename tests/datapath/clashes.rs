//! Two flows from one client port to one backend: the backend could not tell them apart, so the
//! second one gets another port.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Packet, World, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const NODE_PORT: &str = "192.0.2.1:30080";
const BACKEND: &str = "10.1.0.2:8080";
const OTHER: &str = "10.1.0.3:8080";

fn world(protocol: u8) -> World {
    World::default().service(protocol, &[VIP, NODE_PORT], &[BACKEND])
}

fn datapath(protocol: u8) -> Datapath {
    Datapath::new(world(protocol).tables())
}

/// A packet through `frontend` and the answer to it; returns whom the backend saw.
#[track_caller]
fn exchange(datapath: &mut Datapath, request: &Packet, answer: Packet) -> String {
    let outcome = datapath.send(Hook::Ingress, request);
    assert_eq!(outcome.verdict, Verdict::Rewritten);
    let port = u16::from_be_bytes([outcome.packet[34], outcome.packet[35]]);
    let seen = format!("{}:{port}", request.src.ip());
    assert_eq!(outcome.packet, request.clone().from(&seen).to(BACKEND).bytes());
    let answer = answer.from(BACKEND).to(&seen);
    let back = answer.clone().from(&request.dst.to_string()).to(&request.src.to_string());
    datapath.egress(&answer, &back);
    seen
}

#[track_caller]
fn through(datapath: &mut Datapath, frontend: &str, request: u8, answer: u8) -> String {
    exchange(datapath, &request_to(frontend, request), tcp(BACKEND, CLIENT, answer))
}

/// A segment to a frontend, or to the backend itself, whose connection has other sequence numbers.
fn request_to(frontend: &str, flags: u8) -> Packet {
    tcp(CLIENT, frontend, flags).numbered(if frontend == BACKEND { 2001 } else { 1000 })
}

#[test]
fn two_frontends_may_lead_one_client_port_to_one_backend_at_the_same_time() {
    let mut datapath = datapath(TCP);
    assert_eq!(through(&mut datapath, VIP, SYN, SYN | ACK), CLIENT);
    let second = through(&mut datapath, NODE_PORT, SYN, SYN | ACK);
    assert_ne!(second, CLIENT);
    for _ in 0..2 {
        assert_eq!(through(&mut datapath, VIP, ACK, ACK), CLIENT);
        assert_eq!(through(&mut datapath, NODE_PORT, ACK, ACK), second);
    }
}

#[test]
fn the_second_frontend_keeps_its_port_when_its_entry_is_lost() {
    let mut datapath = datapath(TCP);
    through(&mut datapath, VIP, SYN, SYN | ACK);
    let second = through(&mut datapath, NODE_PORT, SYN, SYN | ACK);
    datapath.evict(|hook, _| hook == Hook::Ingress as u8);
    assert_eq!(through(&mut datapath, NODE_PORT, ACK, ACK), second);
    assert_eq!(through(&mut datapath, VIP, ACK, ACK), CLIENT);
}

#[test]
fn who_comes_back_to_a_place_that_another_took_meanwhile_does_not_take_it_back() {
    let mut datapath = datapath(TCP);
    through(&mut datapath, VIP, SYN, SYN | ACK);
    through(&mut datapath, VIP, RST, ACK);
    assert_eq!(through(&mut datapath, NODE_PORT, SYN, SYN | ACK), CLIENT);
    assert_ne!(through(&mut datapath, VIP, SYN, SYN | ACK), CLIENT);
    assert_eq!(through(&mut datapath, NODE_PORT, ACK, ACK), CLIENT);
}

#[test]
fn datagrams_of_one_socket_to_two_frontends_find_their_ways_back() {
    let mut datapath = datapath(UDP);
    for _ in 0..2 {
        let first = exchange(&mut datapath, &udp(CLIENT, VIP), udp(BACKEND, CLIENT));
        let second = exchange(&mut datapath, &udp(CLIENT, NODE_PORT), udp(BACKEND, CLIENT));
        assert_ne!(first, second);
    }
}

#[test]
fn two_questions_at_once_from_one_socket_go_to_one_backend_and_both_are_answered() {
    let mut datapath = Datapath::new(world(UDP).tables());
    let question = udp(CLIENT, VIP);
    let inside = question.clone().to(BACKEND);
    datapath.ingress(&question, &inside);
    datapath.ingress(&question, &inside);
    let answer = udp(BACKEND, CLIENT);
    datapath.egress(&answer, &answer.clone().from(VIP));
    datapath.egress(&answer, &answer.clone().from(VIP));
}

#[test]
fn a_direct_connection_beside_one_through_a_frontend_gets_another_port() {
    // The one through the frontend is open, then half closed.
    for (request, answer) in [(ACK, ACK), (FIN | ACK, ACK), (ACK, FIN | ACK)] {
        let mut datapath = datapath(TCP);
        through(&mut datapath, VIP, SYN, SYN | ACK);
        through(&mut datapath, VIP, request, answer);
        let direct = through(&mut datapath, BACKEND, SYN, SYN | ACK);
        assert_ne!(direct, CLIENT);
        assert_eq!(through(&mut datapath, BACKEND, ACK, ACK), direct);
        assert_eq!(through(&mut datapath, VIP, ACK, ACK), CLIENT);
    }
}

/// A device on another one (macvlan, VLAN): a packet comes by at both, translated the second time.
#[test]
fn a_packet_that_comes_by_a_second_time_is_left_alone() {
    let mut datapath = datapath(TCP);
    for flags in [SYN, SYN, ACK] {
        let request = tcp(CLIENT, VIP, flags);
        let translated = request.clone().to(BACKEND);
        datapath.ingress(&request, &translated);
        datapath.ingress(&translated, &translated);
    }
}

#[test]
fn a_direct_connection_after_one_through_a_frontend_is_left_alone() {
    let mut datapath = datapath(TCP);
    through(&mut datapath, VIP, SYN, SYN | ACK);
    through(&mut datapath, VIP, FIN | ACK, FIN | ACK);
    for (request, answer) in [(SYN, SYN | ACK), (ACK, ACK)] {
        let request = tcp(CLIENT, BACKEND, request);
        datapath.ingress(&request, &request);
        let answer = tcp(BACKEND, CLIENT, answer);
        datapath.egress(&answer, &answer);
    }
    assert_eq!(datapath.tables().v4.flows(), []);
}

#[test]
fn a_direct_connection_that_had_another_port_may_be_opened_again_without() {
    let mut datapath = datapath(TCP);
    through(&mut datapath, VIP, SYN, SYN | ACK);
    through(&mut datapath, BACKEND, SYN, SYN | ACK);
    through(&mut datapath, VIP, FIN | ACK, FIN | ACK);
    through(&mut datapath, BACKEND, FIN | ACK, FIN | ACK);
    for flags in [SYN, ACK] {
        let request = tcp(CLIENT, BACKEND, flags);
        datapath.ingress(&request, &request);
    }
}

#[test]
fn a_syn_that_is_sent_again_after_its_backend_went_finds_another() {
    let world = World::default().service(TCP, &[VIP], &[BACKEND]).service(TCP, &[], &[OTHER]);
    let mut datapath = Datapath::new(world.tables());
    let syn = tcp(CLIENT, VIP, SYN);
    datapath.ingress(&syn, &syn.clone().to(BACKEND));
    datapath.change(|tables| {
        tables.v4.backends.get_mut(&1).unwrap().flags = 0;
        tables.slots.insert(0, 2);
    });
    datapath.ingress(&syn, &syn.clone().to(OTHER));
    assert_eq!(datapath.tables().v4.flows().len(), 2);
    let answer = tcp(OTHER, CLIENT, SYN | ACK);
    datapath.egress(&answer, &answer.clone().from(VIP));
}

#[test]
fn a_clash_without_a_free_port_drops_and_counts() {
    let mut datapath = Datapath::new(world(TCP).masquerade_ports(40_000, 40_000).tables());
    through(&mut datapath, VIP, SYN, SYN | ACK);
    let outcome = datapath.send(Hook::Ingress, &tcp(CLIENT, NODE_PORT, SYN));
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropFlowClash));
    through(&mut datapath, VIP, ACK, ACK);
}
