//! The life of a flow: closing, reuse of ports, clashes, lost entries, backends that go.

use lb_common::abi::backend;
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::state;
use lb_common::abi::service::SlotRange;
use lb_common::net::protocol::{TCP, UDP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_tests::datapath::{Datapath, World, tcp, udp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const NODE_PORT: &str = "192.0.2.1:30080";
const BACKEND: &str = "10.1.0.2:8080";
const OTHER: &str = "10.1.0.3:8080";

fn one_backend(protocol: u8) -> Datapath {
    Datapath::new(World::default().service(protocol, &[VIP, NODE_PORT], &[BACKEND]).tables())
}

/// A TCP connection through the VIP, opened and then closed by both sides.
#[track_caller]
fn open_and_close(datapath: &mut Datapath) {
    through_vip(datapath, SYN, SYN | ACK);
    through_vip(datapath, ACK, ACK);
    through_vip(datapath, FIN | ACK, FIN | ACK);
    through_vip(datapath, ACK, ACK);
}

#[track_caller]
fn through_vip(datapath: &mut Datapath, request: u8, answer: u8) {
    let packet = tcp(CLIENT, VIP, request);
    datapath.ingress(&packet, &packet.clone().to(BACKEND));
    let packet = tcp(BACKEND, CLIENT, answer);
    datapath.egress(&packet, &packet.clone().from(VIP));
}

#[track_caller]
fn directly(datapath: &mut Datapath, request: u8, answer: u8) {
    let packet = tcp(CLIENT, BACKEND, request);
    datapath.ingress(&packet, &packet);
    let packet = tcp(BACKEND, CLIENT, answer);
    datapath.egress(&packet, &packet);
}

#[test]
fn one_port_may_go_through_the_vip_and_directly_in_turn() {
    let mut datapath = one_backend(TCP);
    for _ in 0..3 {
        open_and_close(&mut datapath);
        directly(&mut datapath, SYN, SYN | ACK);
        directly(&mut datapath, ACK, ACK);
        directly(&mut datapath, FIN | ACK, FIN | ACK);
    }
    assert_eq!(datapath.tables().counters()[&Counter::PassClosedFlow], 3);
}

#[test]
fn a_direct_connection_may_follow_a_reset_one() {
    for closing in [(RST, ACK), (ACK, RST)] {
        let mut datapath = one_backend(TCP);
        through_vip(&mut datapath, SYN, SYN | ACK);
        through_vip(&mut datapath, closing.0, closing.1);
        directly(&mut datapath, SYN, SYN | ACK);
    }
}

#[test]
fn a_refusal_of_a_direct_connection_is_not_taken_for_an_answer_through_the_vip() {
    let mut datapath = one_backend(TCP);
    open_and_close(&mut datapath);
    directly(&mut datapath, SYN, RST | ACK);
}

#[test]
fn a_half_closed_connection_goes_on_carrying_data() {
    let mut datapath = one_backend(TCP);
    through_vip(&mut datapath, SYN, SYN | ACK);
    through_vip(&mut datapath, FIN | ACK, ACK);
    through_vip(&mut datapath, ACK, ACK);
}

#[test]
fn both_entries_know_what_either_direction_saw() {
    let mut datapath = one_backend(TCP);
    open_and_close(&mut datapath);
    let all = state::REPLIED | state::CONFIRMED | state::CLIENT_FIN | state::SERVER_FIN;
    let states: Vec<_> = datapath.tables().v4.flows().iter().map(|(_, f)| f.state).collect();
    assert_eq!(states, [all, all]);
}

#[test]
fn a_port_reused_through_the_vip_starts_afresh_on_the_present_backend() {
    let mut datapath = one_backend(TCP);
    open_and_close(&mut datapath);
    replace_backend(&mut datapath);
    let syn = tcp(CLIENT, VIP, SYN);
    datapath.ingress(&syn, &syn.clone().to(OTHER));
    let answer = tcp(OTHER, CLIENT, SYN | ACK);
    datapath.egress(&answer, &answer.clone().from(VIP));
}

#[test]
fn an_established_connection_follows_its_backend_out_of_the_service() {
    let mut datapath = one_backend(TCP);
    through_vip(&mut datapath, SYN, SYN | ACK);
    replace_backend(&mut datapath);
    through_vip(&mut datapath, ACK, ACK);
}

#[test]
fn a_syn_to_a_backend_that_went_away_is_decided_anew() {
    let mut datapath = one_backend(TCP);
    let syn = tcp(CLIENT, VIP, SYN);
    datapath.ingress(&syn, &syn.clone().to(BACKEND));
    replace_backend(&mut datapath);
    datapath.ingress(&syn, &syn.clone().to(OTHER));
}

#[test]
fn a_datagram_leaves_a_backend_that_serves_no_more_at_once() {
    let mut datapath = one_backend(UDP);
    let request = udp(CLIENT, VIP);
    datapath.ingress(&request, &request.clone().to(BACKEND));
    replace_backend(&mut datapath);
    datapath.ingress(&request, &request.clone().to(OTHER));
}

#[test]
fn a_datagram_stays_with_a_backend_that_left_the_list_but_serves() {
    let mut datapath = one_backend(UDP);
    let request = udp(CLIENT, VIP);
    datapath.ingress(&request, &request.clone().to(BACKEND));
    datapath.change(|tables| {
        tables.services.get_mut(&1).unwrap().cluster = SlotRange::EMPTY;
    });
    datapath.ingress(&request, &request.clone().to(BACKEND));
}

#[test]
fn an_id_in_its_next_generation_is_another_backend() {
    let mut datapath = one_backend(UDP);
    let request = udp(CLIENT, VIP);
    datapath.ingress(&request, &request.clone().to(BACKEND));
    datapath.change(|tables| {
        let backend = tables.v4.backends.get_mut(&1).unwrap();
        backend.generation += 1;
        backend.addr = lb_common::net::Addr4::from_octets([10, 1, 0, 3]);
    });
    datapath.ingress(&request, &request.clone().to(OTHER));
}

/// The service's only backend goes, `OTHER` comes under another id.
fn replace_backend(datapath: &mut Datapath) {
    datapath.change(|tables| {
        let mut next = tables.v4.backends[&1];
        next.addr = lb_common::net::Addr4::from_octets([10, 1, 0, 3]);
        tables.v4.backends.insert(2, next);
        tables.slots.insert(1, 2);
        tables.services.get_mut(&1).unwrap().cluster = SlotRange::new(1, 1);
        tables.v4.backends.get_mut(&1).unwrap().flags &=
            !(backend::flags::IN_USE | backend::flags::SERVING);
    });
}

#[test]
fn a_closed_flow_gives_its_place_to_another_frontend() {
    let mut datapath = one_backend(TCP);
    open_and_close(&mut datapath);
    let syn = tcp(CLIENT, NODE_PORT, SYN);
    datapath.ingress(&syn, &syn.clone().to(BACKEND));
    let answer = tcp(BACKEND, CLIENT, SYN | ACK);
    datapath.egress(&answer, &answer.clone().from(NODE_PORT));
}

#[test]
fn a_connection_without_an_entry_is_taken_up_where_it_was() {
    let mut datapath = one_backend(TCP);
    through_vip(&mut datapath, ACK, ACK);
}

#[test]
fn a_reset_of_an_unknown_connection_opens_no_flow_that_catches_direct_answers() {
    let mut datapath = one_backend(TCP);
    let reset = tcp(CLIENT, VIP, RST);
    datapath.ingress(&reset, &reset.clone().to(BACKEND));
    directly(&mut datapath, SYN, SYN | ACK);
}

#[test]
fn packets_and_bytes_are_counted_in_the_entries() {
    let mut datapath = one_backend(TCP);
    through_vip(&mut datapath, SYN, SYN | ACK);
    through_vip(&mut datapath, ACK, ACK);
    let length = u64::try_from(tcp(CLIENT, VIP, ACK).bytes().len() - 14).unwrap();
    for (_, flow) in datapath.tables().v4.flows() {
        assert_eq!((flow.packets, flow.bytes), (2, 2 * length));
    }
}
