//! Who may ask, who answers: policies and their short-circuits, source ranges, affinity.

use lb_common::abi::backend;
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Hook, flags as flow};
use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL, SOURCE_RANGES};
use lb_common::abi::prefix::client::{NODE, POD};
use lb_common::abi::service::SlotRange;
use lb_common::net::protocol::TCP;
use lb_common::parse::tcp::SYN;
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, World, tcp};

const VIP: &str = "1.2.3.4:80";
const ELSEWHERE: &str = "5.6.7.8:80";
/// On this node: the first of the backends.
const HERE: &str = "10.180.2.1:80";
const THERE: &str = "10.180.0.1:80";
const P: &str = "10.0.0.2";
const N: &str = "192.168.0.2";
const X: &str = "203.0.113.2";
const XB: &str = "203.0.113.130";

/// A service at [`VIP`] with one backend on this node and one elsewhere; pods and the node known.
fn world(flags: u32) -> World {
    World::default()
        .service(TCP, &[VIP], &[HERE, THERE])
        .policy(flags, 1)
        .clients([10, 0, 0, 0], 8, POD)
        .clients([192, 168, 0, 2], 32, NODE)
}

/// The backends that thirty connections from `client` reach, and whether it is masqueraded.
#[track_caller]
fn reached(datapath: &mut Datapath, client: &str) -> (Vec<[u8; 4]>, bool) {
    let mut backends = Vec::new();
    for port in 1000..1030 {
        let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{client}:{port}"), VIP, SYN));
        assert_eq!(outcome.verdict, Verdict::Rewritten);
        backends.push(<[u8; 4]>::try_from(&outcome.packet[30..34]).unwrap());
    }
    backends.sort_unstable();
    backends.dedup();
    let flows = datapath.tables().v4.flows();
    let mut own = flows.iter().filter(|(key, _)| format!("{:?}", key.src) == client);
    let is_masqueraded = own.next().expect("a flow").1.flags & flow::MASQUERADE != 0;
    assert!(own.all(|(_, it)| (it.flags & flow::MASQUERADE != 0) == is_masqueraded), "all alike");
    (backends, is_masqueraded)
}

/// kube-proxy-behaviour §10.5-§10.8 and §4.3, by the flags of the frontend that is dialled.
#[track_caller]
fn check(flags: u32, client: &str, everywhere: bool, is_masqueraded: bool) {
    let mut datapath = Datapath::new(world(flags).tables());
    let all = [[10, 180, 0, 1], [10, 180, 2, 1]];
    let expected = if everywhere { &all[..] } else { &all[1..] };
    let (backends, masquerade) = reached(&mut datapath, client);
    assert_eq!((&backends[..], masquerade), (expected, is_masqueraded), "{client}, {flags}");
}

#[test]
fn an_internal_policy_cluster_reaches_all_endpoints() {
    check(0, P, true, false);
    check(0, N, true, true);
    check(0, X, true, true);
}

#[test]
fn an_internal_policy_local_binds_everybody() {
    check(LOCAL, P, false, false);
    check(LOCAL, N, false, true);
    check(LOCAL, X, false, true);
}

#[test]
fn an_external_policy_cluster_reaches_all_endpoints_and_hides_the_client() {
    check(EXTERNAL, P, true, true);
    check(EXTERNAL, N, true, true);
    check(EXTERNAL, X, true, true);
}

#[test]
fn an_external_policy_local_binds_the_world_but_not_pods_and_the_node() {
    check(EXTERNAL | LOCAL, P, true, false);
    check(EXTERNAL | LOCAL, N, true, true);
    check(EXTERNAL | LOCAL, X, false, false);
}

#[test]
fn a_pod_that_is_its_own_backend_is_hidden_from_itself() {
    let world = World::default().service(TCP, &[VIP], &["10.0.0.2:80"]);
    let mut datapath = Datapath::new(world.clients([10, 0, 0, 0], 8, POD).tables());
    assert_eq!(reached(&mut datapath, P), (vec![[10, 0, 0, 2]], true));
}

/// §3.4: nothing here, but something elsewhere.
#[test]
fn an_empty_local_list_drops_while_other_nodes_have_endpoints() {
    let world = World::default().service(TCP, &[VIP], &[THERE]).policy(EXTERNAL | LOCAL, 0);
    let mut datapath = Datapath::new(world.tables());
    let outcome = datapath.send(Hook::Ingress, &tcp("203.0.113.2:1000", VIP, SYN));
    assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropNoLocalEndpoint));
}

/// §10.3: ranges are looked at before anything else, and pods are not exempt.
#[test]
fn only_clients_in_a_source_range_get_in() {
    let world = world(EXTERNAL | SOURCE_RANGES)
        .source_range([203, 0, 113, 0], 25)
        .source_range([192, 168, 0, 0], 24);
    let mut datapath = Datapath::new(world.tables());
    for client in [X, N] {
        assert_eq!(reached(&mut datapath, client).0.len(), 2, "{client}");
    }
    for client in [XB, P] {
        let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{client}:1000"), VIP, SYN));
        assert_eq!(outcome.verdict, Verdict::Drop(Counter::DropSourceRange), "{client}");
    }
}

/// A service at two addresses with ten backends and affinity.
fn sticky() -> Datapath {
    let backends: Vec<_> = (1..=10).map(|n| format!("10.180.0.{n}:80")).collect();
    let backends: Vec<_> = backends.iter().map(String::as_str).collect();
    let world = World::default().service(TCP, &[VIP, ELSEWHERE], &backends);
    Datapath::new(world.affinity(10_800).tables())
}

#[track_caller]
fn backend(datapath: &mut Datapath, port: u16, vip: &str) -> u8 {
    let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{X}:{port}"), vip, SYN));
    assert_eq!(outcome.verdict, Verdict::Rewritten);
    outcome.packet[33]
}

/// §4.8: one backend for a client, whatever its port and whichever frontend of the service it dials.
#[test]
fn a_client_sticks_to_its_backend_over_ports_and_frontends() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    for port in 1001..1030 {
        assert_eq!(backend(&mut datapath, port, VIP), first);
        assert_eq!(backend(&mut datapath, port + 1000, ELSEWHERE), first);
    }
}

/// §4.8: a backend that left the list in use is not remembered any more.
#[test]
fn a_client_whose_backend_left_the_list_gets_another_and_sticks_to_that() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    datapath.change(|tables| {
        let gone = tables.v4.backends.get_mut(&u32::from(first)).unwrap();
        gone.flags &= !backend::flags::IN_CLUSTER_LIST;
        let slots: Vec<_> = (1..=10).filter(|id| *id != u32::from(first)).collect();
        tables.slots.extend((20..).zip(slots));
        tables.services.get_mut(&1).unwrap().cluster = SlotRange::new(20, 9);
    });
    let second = backend(&mut datapath, 1001, VIP);
    assert_ne!(second, first);
    for port in 1002..1020 {
        assert_eq!(backend(&mut datapath, port, VIP), second);
    }
}
