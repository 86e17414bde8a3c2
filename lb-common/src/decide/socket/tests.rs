//! Decisions at sockets, over memory.

use super::*;
use crate::abi::address::flags::{CLOSED, SERVED};
use crate::abi::backend::{Backend, flags as backend};
use crate::abi::exempt;
use crate::abi::frontend::FrontendKey;
use crate::abi::interface::Interface;
use crate::abi::prefix::SourceRange;
use crate::abi::service::{Service, SlotRange, flags as service};
use crate::native::MemoryTables;
use crate::net::protocol;

const SOCKET: u64 = 77;
const NETNS: u64 = 0x0102_0304_0506;
const SERVICE: u32 = 5;
const VIP: [u8; 4] = [10, 96, 0, 10];
const NODE_IP: [u8; 4] = [192, 168, 0, 11];
const ALL_FLAGS: u16 = backend::IN_USE | backend::SERVING | backend::IN_CLUSTER_LIST;

fn addr(octets: [u8; 4]) -> Addr4 {
    Addr4::from_octets(octets)
}

fn peer(octets: [u8; 4], port: u16) -> Peer<Addr4> {
    Peer { addr: addr(octets), port: Port::from_host(port) }
}

fn pod(number: u8) -> Peer<Addr4> {
    peer([10, 1, 0, number], 8080)
}

const HOST: Caller<Addr4> =
    Caller { socket: SOCKET, netns: NETNS, is_host: true, bound: None, protocol: protocol::TCP };
const HOST_UDP: Caller<Addr4> = Caller { protocol: protocol::UDP, ..HOST };

/// A service with backends 1 to `count`, all in the cluster list, and a ClusterIP.
fn world(count: u8) -> MemoryTables {
    let mut tables = MemoryTables::default();
    let cluster = SlotRange::new(0, count.into());
    let usable =
        Service { cluster, flags: service::IN_USE | service::USABLE, ..Service::default() };
    tables.services.insert(SERVICE, usable);
    for id in 1..=u32::from(count) {
        tables.slots.insert(id - 1, id);
        let Peer { addr, port } = pod(u8::try_from(id).unwrap());
        let backend = Backend { addr, port, flags: ALL_FLAGS, generation: 1, service: SERVICE };
        tables.v4.backends.insert(id, backend);
    }
    let own = Interface { v4: addr(NODE_IP), ..Interface::default() };
    tables.interfaces.insert(NODE, own);
    frontend(&mut tables, peer(VIP, 80), 0);
    tables.v4.addresses.insert(addr(VIP), SERVED | CLOSED);
    tables
}

fn frontend(tables: &mut MemoryTables, at: Peer<Addr4>, flags: u32) {
    tables.v4.addresses.insert(at.addr, SERVED);
    for protocol in [protocol::TCP, protocol::UDP] {
        let key = FrontendKey::new(at.addr, at.port, protocol);
        tables.v4.frontends.insert(key, Frontend { service: SERVICE, flags });
    }
}

fn update(tables: &mut MemoryTables, change: impl FnOnce(&mut Service)) {
    change(tables.services.get_mut(&SERVICE).unwrap());
}

#[track_caller]
fn check(tables: &MemoryTables, caller: Caller<Addr4>, dialled: Peer<Addr4>, expected: Answer) {
    let mut at = dialled;
    assert_eq!(connect(tables, &caller, &mut at), expected);
    assert_eq!(at == dialled, expected != Answer::Translated, "{at:?}");
}

fn connected(tables: &MemoryTables, caller: &Caller<Addr4>, dialled: Peer<Addr4>) -> Peer<Addr4> {
    let mut at = dialled;
    assert_eq!(connect(tables, caller, &mut at), Answer::Translated);
    at
}

fn sent(tables: &MemoryTables, dialled: Peer<Addr4>) -> Peer<Addr4> {
    let mut at = dialled;
    assert_eq!(send(tables, &HOST_UDP, &mut at), Answer::Translated);
    at
}

#[test]
fn a_cluster_ip_becomes_a_backend_and_the_socket_still_names_what_was_dialled() {
    let tables = world(1);
    let mut at = connected(&tables, &HOST, peer(VIP, 80));
    assert_eq!(at, pod(1));
    assert!(named(&tables, SOCKET, &mut at));
    assert_eq!(at, peer(VIP, 80));
    let mut other = pod(2);
    assert!(!named(&tables, SOCKET, &mut other), "another peer is not its");
    assert!(!named(&tables, SOCKET + 1, &mut pod(1)), "nor another socket's");
}

#[test]
fn sockets_are_spread_over_all_backends() {
    let tables = world(3);
    let mut shares = [0; 4];
    for _ in 0..300 {
        shares[usize::from(connected(&tables, &HOST, peer(VIP, 80)).addr.octets()[3])] += 1;
    }
    assert!(shares[1..].iter().all(|share| (60..=140).contains(share)), "{shares:?}");
}

#[test]
fn where_packets_are_rejected_or_dropped_the_call_fails_at_once() {
    let mut tables = world(1);
    check(&tables, HOST, peer(VIP, 81), Answer::Refused);
    check(&tables, HOST, peer([10, 96, 0, 99], 80), Answer::Untouched);
    update(&mut tables, |service| service.cluster = SlotRange::EMPTY);
    check(&tables, HOST, peer(VIP, 80), Answer::Unreachable);
    update(&mut tables, |service| service.flags = service::IN_USE);
    check(&tables, HOST, peer(VIP, 80), Answer::Refused);
    assert_eq!(tables.counters().get(&Counter::RejectNoEndpoint), Some(&1));
    assert_eq!(tables.v4.sockets(), []);
}

#[test]
fn an_internal_policy_local_holds_at_sockets_and_an_external_one_is_short_circuited() {
    let mut tables = world(1);
    frontend(&mut tables, peer(VIP, 82), flags::LOCAL);
    frontend(&mut tables, peer([203, 0, 113, 1], 80), flags::LOCAL | flags::EXTERNAL);
    for is_host in [true, false] {
        let caller = Caller { is_host, ..HOST };
        check(&tables, caller, peer(VIP, 82), Answer::Unreachable);
        check(&tables, caller, peer([203, 0, 113, 1], 80), Answer::Translated);
    }
}

#[test]
fn loopback_addresses_lead_the_host_to_node_ports_and_to_nothing_else() {
    let mut tables = world(1);
    frontend(&mut tables, peer(NODE_IP, 30_080), flags::EXTERNAL | flags::NODE_PORT);
    frontend(&mut tables, peer(NODE_IP, 80), flags::EXTERNAL);
    for loopback in [[127, 0, 0, 1], [127, 0, 0, 53], [0, 0, 0, 0]] {
        check(&tables, HOST, peer(loopback, 30_080), Answer::Translated);
        check(&tables, HOST, peer(loopback, 80), Answer::Untouched);
        check(&tables, HOST, peer(loopback, 30_081), Answer::Untouched);
        check(
            &tables,
            Caller { is_host: false, ..HOST },
            peer(loopback, 30_080),
            Answer::Untouched,
        );
    }
    check(&tables, HOST, peer(NODE_IP, 30_080), Answer::Translated);
    let mut at = connected(&tables, &HOST, peer([127, 0, 0, 1], 30_080));
    assert!(named(&tables, SOCKET, &mut at));
    assert_eq!(at, peer([127, 0, 0, 1], 30_080));
}

#[test]
fn a_loopback_address_or_none_means_this_host() {
    let is = |groups: [u16; 8]| {
        is_this_host(Addr6::from_ip(core::net::Ipv6Addr::from(groups).into()).unwrap())
    };
    assert!(is([0, 0, 0, 0, 0, 0, 0, 1]) && is([0; 8]));
    assert!(is_this_host(addr([127, 9, 9, 9])) && is_this_host(addr([0; 4])));
    assert!(!is_this_host(addr([0, 0, 0, 1])) && !is_this_host(addr([128, 0, 0, 1])));
    assert!(!is([0, 0, 0, 0, 0, 0, 0, 2]) && !is([0xfd00, 0, 0, 0, 0, 0, 0, 1]));
}

#[test]
fn source_ranges_go_by_the_address_that_is_known_and_else_the_packets_decide() {
    let mut tables = world(1);
    frontend(&mut tables, peer(VIP, 83), flags::SOURCE_RANGES);
    let pod = Caller { is_host: false, ..HOST };
    check(&tables, HOST, peer(VIP, 83), Answer::Unreachable);
    check(&tables, pod, peer(VIP, 83), Answer::Untouched);
    tables.v4.source_ranges.insert(SourceRange::of(SERVICE, addr(NODE_IP)));
    check(&tables, HOST, peer(VIP, 83), Answer::Translated);
    check(&tables, pod, peer(VIP, 83), Answer::Untouched);
    for caller in [HOST, pod] {
        let elsewhere = Caller { bound: Some(addr([10, 1, 0, 9])), ..caller };
        check(&tables, elsewhere, peer(VIP, 83), Answer::Unreachable);
        let inside = Caller { bound: Some(addr(NODE_IP)), ..caller };
        check(&tables, inside, peer(VIP, 83), Answer::Translated);
    }
}

#[test]
fn affinity_goes_by_the_address_else_by_the_namespace() {
    let mut tables = world(3);
    update(&mut tables, |service| service.affinity_s = 60);
    let chosen = connected(&tables, &HOST, peer(VIP, 80));
    for socket in 0..20 {
        assert_eq!(connected(&tables, &Caller { socket, ..HOST }, peer(VIP, 80)), chosen);
    }
    let clients = |tables: &MemoryTables| -> Vec<Addr4> {
        tables.v4.affinities().iter().map(|(key, _)| key.client).collect()
    };
    assert_eq!(clients(&tables), [addr([0, 4, 5, 6])]);
    let bound = Caller { bound: Some(addr([10, 1, 0, 9])), netns: 8, ..HOST };
    connected(&tables, &bound, peer(VIP, 80));
    assert_eq!(clients(&tables), [addr([0, 4, 5, 6]), addr([10, 1, 0, 9])]);
    let v6: Addr6 = stand_in(NETNS);
    assert_eq!(v6.to_ip().to_string(), "100::102:304:506");
}

#[test]
fn datagrams_stay_with_their_backend_while_it_serves() {
    let mut tables = world(3);
    let first = sent(&tables, peer(VIP, 80));
    for _ in 0..20 {
        assert_eq!(sent(&tables, peer(VIP, 80)), first);
    }
    let id = u32::from(first.addr.octets()[3]);
    tables.v4.backends.get_mut(&id).unwrap().flags &= !backend::SERVING;
    // Chance may choose the old one again while it is in the list: others do in the end.
    let other = (0..50).map(|_| sent(&tables, peer(VIP, 80))).find(|at| *at != first);
    assert!(other.is_some());
    assert!(!received(&tables, SOCKET, &mut first.clone()), "the old one answers for itself");
}

#[test]
fn answers_come_from_what_was_dialled_last() {
    let mut tables = world(1);
    frontend(&mut tables, peer(VIP, 84), 0);
    for port in [80, 84, 80] {
        let mut from = sent(&tables, peer(VIP, port));
        assert!(received(&tables, SOCKET, &mut from));
        assert_eq!(from, peer(VIP, port));
    }
    let mut direct = pod(1);
    assert_eq!(send(&tables, &HOST_UDP, &mut direct), Answer::Untouched);
    assert!(!received(&tables, SOCKET, &mut pod(1)), "it was dialled directly");
    assert!(!received(&tables, SOCKET + 1, &mut pod(1)));
}

#[test]
fn a_connected_udp_socket_hears_who_it_dialled_until_it_is_connected_elsewhere() {
    let tables = world(1);
    let mut from = connected(&tables, &HOST_UDP, peer(VIP, 80));
    assert!(received(&tables, SOCKET, &mut from));
    assert_eq!(from, peer(VIP, 80));
    assert_eq!(send(&tables, &HOST_UDP, &mut pod(1)), Answer::Untouched);
    assert!(received(&tables, SOCKET, &mut pod(1)), "what it is connected to is not dialled anew");
    check(&tables, HOST_UDP, pod(1), Answer::Untouched);
    assert!(!received(&tables, SOCKET, &mut pod(1)));
    assert!(!named(&tables, SOCKET, &mut pod(1)));
}

#[test]
fn a_closed_socket_leaves_nothing() {
    let mut tables = world(3);
    for port in 1000..1010 {
        frontend(&mut tables, peer(VIP, port), 0);
        sent(&tables, peer(VIP, port));
    }
    connected(&tables, &HOST_UDP, peer(VIP, 80));
    assert!(!tables.v4.sockets().is_empty());
    release::<Addr4, _>(&tables, SOCKET + 1, protocol::UDP);
    assert!(!tables.v4.sockets().is_empty(), "another socket's");
    release::<Addr4, _>(&tables, SOCKET, protocol::UDP);
    assert_eq!(tables.v4.sockets(), []);
}

#[test]
fn a_datagram_whose_answers_would_be_strangers_is_not_sent() {
    let mut tables = world(1);
    tables.flow_capacity = Some(0);
    let mut at = peer(VIP, 80);
    assert_eq!(send(&tables, &HOST_UDP, &mut at), Answer::Unreachable);
    assert_eq!(tables.counters().get(&Counter::DropSocketTable), Some(&1));
    check(&tables, HOST, peer(VIP, 80), Answer::Translated);
    assert_eq!(tables.counters().get(&Counter::SocketNotKept), Some(&2));
}

#[test]
fn a_process_of_the_node_cannot_bind_a_node_port_of_a_service() {
    let mut tables = world(1);
    frontend(&mut tables, peer(NODE_IP, 30_080), flags::EXTERNAL | flags::NODE_PORT);
    frontend(&mut tables, peer(NODE_IP, 80), flags::EXTERNAL);
    let check = |caller: Caller<Addr4>, address: Peer<Addr4>, expected| {
        assert_eq!(bind(&tables, &caller, &address), expected, "{address:?}");
    };
    for address in [[0; 4], [127, 0, 0, 1], NODE_IP] {
        check(HOST, peer(address, 30_080), Answer::Taken);
        check(HOST, peer(address, 80), Answer::Untouched);
        check(HOST, peer(address, 0), Answer::Untouched);
        check(Caller { is_host: false, ..HOST }, peer(address, 30_080), Answer::Untouched);
    }
    check(HOST, peer([192, 168, 0, 12], 30_080), Answer::Untouched);
    assert_eq!(tables.counters().get(&Counter::RejectBind), Some(&3));
    assert_eq!(tables.refused_binds.borrow().len(), 3, "the agent is told of each");
}

#[test]
fn an_exempt_pod_is_left_to_its_packets_and_the_node_never_is() {
    let mut tables = world(1);
    tables.exempt.extend([exempt::ANY, 9]);
    tables.cgroups.extend([8, 9]);
    let vip = peer(VIP, 80);
    let left_alone = Caller { is_host: false, ..HOST };
    for (caller, expected) in [(left_alone, Answer::Untouched), (HOST, Answer::Translated)] {
        assert_eq!(connect(&tables, &caller, &mut vip.clone()), expected);
        assert_eq!(send(&tables, &caller, &mut vip.clone()), expected);
    }
    tables.exempt.clear();
    assert_eq!(connect(&tables, &left_alone, &mut vip.clone()), Answer::Translated);
}
