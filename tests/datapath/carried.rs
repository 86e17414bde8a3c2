//! What a service has carried: what its ended entries had counted, and what its live ones count.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::abi::frontend::flags::EXTERNAL;
use lb_common::abi::service::SlotRange;
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
    World::default().service(protocol, &[VIP, NODE_PORT], &[BACKEND, OTHER])
}

/// Flows that have begun, packets of entries that are over, and of those that are not.
#[track_caller]
fn check(datapath: &Datapath, expected: (u64, u64, u64)) {
    let tables = datapath.tables();
    let over = tables.carried().get(&1).copied().unwrap_or_default();
    let flows = tables.v4.flows();
    let live: Vec<_> = flows.iter().map(|(_, flow)| flow).filter(|flow| !flow.is_leg()).collect();
    let packets = live.iter().map(|flow| flow.packets).sum::<u64>();
    assert_eq!((over.flows, over.packets, packets), expected);
    assert_eq!(over.flows, tables.counters()[&Counter::NewFlow]);
    let length = u64::try_from(tcp(CLIENT, VIP, SYN).bytes().len() - 14).unwrap();
    if flows.iter().all(|(key, _)| key.protocol == TCP) {
        assert_eq!(over.bytes, over.packets * length);
    }
}

/// Sends a packet that must be translated.
#[track_caller]
fn translated(datapath: &mut Datapath, hook: Hook, packet: &Packet) {
    assert_eq!(datapath.send(hook, packet).verdict, Verdict::Rewritten, "{packet:?}");
}

/// A request to `dialled` and what becomes of it.
#[track_caller]
fn request(datapath: &mut Datapath, dialled: &str, flags: u8) {
    translated(datapath, Hook::Ingress, &tcp(CLIENT, dialled, flags));
}

/// The backend that the first flow was given.
fn backend(datapath: &Datapath) -> String {
    let flows = datapath.tables().v4.flows();
    let request = flows.iter().find(|(key, _)| key.hook == Hook::Ingress as u8).unwrap().1;
    format!("10.1.0.{}:8080", request.dst.octets()[3])
}

/// An answer of that backend.
#[track_caller]
fn answer(datapath: &mut Datapath, flags: u8) {
    let packet = tcp(&backend(datapath), CLIENT, flags);
    translated(datapath, Hook::Egress, &packet);
}

/// A TCP connection through the VIP, opened and then closed by both sides: eight packets.
fn open_and_close(datapath: &mut Datapath) {
    for (client, server) in [(SYN, SYN | ACK), (ACK, ACK), (FIN | ACK, FIN | ACK), (ACK, ACK)] {
        request(datapath, VIP, client);
        answer(datapath, server);
    }
}

#[test]
fn a_port_used_again_adds_what_its_last_connection_carried() {
    let mut datapath = Datapath::new(world(TCP).tables());
    open_and_close(&mut datapath);
    check(&datapath, (1, 0, 8));
    request(&mut datapath, VIP, SYN);
    check(&datapath, (2, 8, 1));
}

#[test]
fn a_place_taken_by_another_frontend_adds_what_was_carried_there() {
    let mut datapath =
        Datapath::new(World::default().service(TCP, &[VIP, NODE_PORT], &[BACKEND]).tables());
    open_and_close(&mut datapath);
    request(&mut datapath, NODE_PORT, SYN);
    check(&datapath, (2, 8, 1));
}

#[test]
fn a_direct_connection_clears_the_way_and_is_not_counted() {
    let mut datapath = Datapath::new(world(TCP).tables());
    open_and_close(&mut datapath);
    let direct = tcp(CLIENT, &backend(&datapath), SYN);
    datapath.ingress(&direct, &direct);
    check(&datapath, (1, 8, 0));
}

#[test]
fn a_datagram_that_leaves_its_backend_adds_what_was_sent_there() {
    let mut datapath = Datapath::new(world(UDP).tables());
    for _ in 0..3 {
        translated(&mut datapath, Hook::Ingress, &udp(CLIENT, VIP));
    }
    datapath.change(|tables| {
        for backend in tables.v4.backends.values_mut() {
            backend.generation += 1;
        }
    });
    translated(&mut datapath, Hook::Ingress, &udp(CLIENT, VIP));
    check(&datapath, (2, 3, 1));
}

#[test]
fn datagrams_that_nobody_takes_any_more_add_what_was_carried_once() {
    let mut datapath = Datapath::new(world(UDP).tables());
    translated(&mut datapath, Hook::Ingress, &udp(CLIENT, VIP));
    datapath.change(|tables| {
        tables.services.get_mut(&1).unwrap().cluster = SlotRange::EMPTY;
        tables.v4.backends.values_mut().for_each(|backend| backend.flags = 0);
    });
    for _ in 0..2 {
        let verdict = datapath.send(Hook::Ingress, &udp(CLIENT, VIP)).verdict;
        assert_eq!(verdict, Verdict::Drop(Counter::DropNoLocalEndpoint));
    }
    check(&datapath, (1, 1, 0));
}

#[test]
fn a_flow_that_others_displace_adds_what_it_carried() {
    let mut datapath = Datapath::new(world(TCP).probation(1).tables());
    for port in [40_000, 40_001, 40_002] {
        let client = format!("10.1.0.9:{port}");
        translated(&mut datapath, Hook::Ingress, &tcp(&client, VIP, SYN));
    }
    check(&datapath, (3, 2, 1));
}

#[test]
fn a_request_whose_entry_was_evicted_begins_anew_and_keeps_what_the_answers_counted() {
    let mut datapath = Datapath::new(world(TCP).tables());
    request(&mut datapath, VIP, SYN);
    answer(&mut datapath, SYN | ACK);
    datapath.evict(|hook, _| hook == Hook::Ingress as u8);
    request(&mut datapath, VIP, ACK);
    // The evicted entry had counted one.
    check(&datapath, (2, 1, 1));
}

#[test]
fn the_legs_of_a_masqueraded_flow_count_nothing() {
    let (client, node) = ("203.0.113.9:40000", "192.0.2.7");
    let world = World::default().service(TCP, &[NODE_PORT], &["10.2.0.2:8080"]);
    let mut datapath = Datapath::new(world.policy(EXTERNAL, 0).source(1, node).tables());
    for flags in [SYN, RST] {
        translated(&mut datapath, Hook::Ingress, &tcp(client, NODE_PORT, flags));
        translated(&mut datapath, Hook::Egress, &tcp(client, "10.2.0.2:8080", flags));
    }
    check(&datapath, (1, 0, 2));
    translated(&mut datapath, Hook::Ingress, &tcp(client, NODE_PORT, SYN));
    check(&datapath, (2, 2, 1));
}
