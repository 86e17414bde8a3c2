//! Clients that stick to their backends: for how long, and to which (kube-proxy-behaviour §4.8).

use lb_common::abi::backend;
use lb_common::abi::flow::Hook;
use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL};
use lb_common::abi::service::SlotRange;
use lb_common::native::MemoryTables;
use lb_common::net::protocol::TCP;
use lb_common::parse::tcp::{ACK, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, World, tcp};

const VIP: &str = "1.2.3.4:80";
const ELSEWHERE: &str = "5.6.7.8:80";
const VIP6: &str = "[fd00:96::10]:80";
const CLIENT: &str = "203.0.113.2";
const CLIENT6: &str = "[2001:db8::2]";

/// How long clients stick, in seconds.
const TIMEOUT: u32 = 10_800;
/// So much earlier a client may be remembered, and the test may take a while yet.
const MOST: u32 = TIMEOUT - 1000;

/// A service at two addresses with ten backends, and its IPv6 twin at one.
fn world(timeout: u32) -> World {
    let backends = |host: &str| (81..=90).map(|port| format!("{host}:{port}")).collect::<Vec<_>>();
    let (v4, v6) = (backends("10.180.0.1"), backends("[fd00:180::1]"));
    let (v4, v6): (Vec<_>, Vec<_>) =
        (v4.iter().map(String::as_str).collect(), v6.iter().map(String::as_str).collect());
    let world = World::default().service(TCP, &[VIP, ELSEWHERE], &v4).affinity(timeout);
    world.service(TCP, &[VIP6], &v6).affinity(timeout)
}

fn sticky() -> Datapath {
    Datapath::new(world(TIMEOUT).tables())
}

/// The port of the backend that a packet of `client` from `port` reaches: backends differ by it.
#[track_caller]
fn send(datapath: &mut Datapath, client: &str, port: u16, vip: &str, flags: u8) -> u16 {
    let outcome = datapath.send(Hook::Ingress, &tcp(&format!("{client}:{port}"), vip, flags));
    assert_eq!(outcome.verdict, Verdict::Rewritten);
    let at = if vip.starts_with('[') { 14 + 40 + 2 } else { 14 + 20 + 2 };
    u16::from_be_bytes([outcome.packet[at], outcome.packet[at + 1]])
}

#[track_caller]
fn backend(datapath: &mut Datapath, port: u16, vip: &str) -> u16 {
    let client = if vip.starts_with('[') { CLIENT6 } else { CLIENT };
    send(datapath, client, port, vip, SYN)
}

/// A port from which a connection to `vip` reaches another backend than one from 1000, if nobody is
/// remembered; and that backend.
fn other_port(vip: &str) -> (u16, u16) {
    let mut forgetful = Datapath::new(world(0).tables());
    let first = backend(&mut forgetful, 1000, vip);
    let mut others = (2000..).map(|port| (port, backend(&mut forgetful, port, vip)));
    others.find(|(_, backend)| *backend != first).expect("the hash spreads")
}

#[test]
fn a_client_sticks_to_its_backend_over_ports_and_frontends() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    for port in 1001..1030 {
        assert_eq!(backend(&mut datapath, port, VIP), first);
        assert_eq!(backend(&mut datapath, port + 1000, ELSEWHERE), first);
    }
}

#[test]
fn a_client_is_remembered_until_its_timeout_and_no_longer() {
    for vip in [VIP, VIP6] {
        let mut datapath = sticky();
        let first = backend(&mut datapath, 1000, vip);
        let (port, other) = other_port(vip);
        datapath.age_affinities(MOST);
        assert_eq!(backend(&mut datapath, port, vip), first);

        let mut datapath = sticky();
        backend(&mut datapath, 1000, vip);
        datapath.age_affinities(TIMEOUT + 2);
        assert_eq!(backend(&mut datapath, port, vip), other);
        assert_eq!(backend(&mut datapath, 1000 + 1, vip), other, "that is remembered now");
    }
}

#[test]
fn each_new_connection_begins_the_timeout_anew() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    for port in 1001..1010 {
        datapath.age_affinities(MOST);
        assert_eq!(backend(&mut datapath, port, VIP), first);
        datapath.age_affinities(MOST);
        assert_eq!(backend(&mut datapath, port + 1000, ELSEWHERE), first);
    }
}

#[test]
fn packets_of_old_connections_do_not_begin_the_timeout_anew() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    let (port, other) = other_port(VIP);
    datapath.age_affinities(MOST);
    assert_eq!(send(&mut datapath, CLIENT, 1000, VIP, ACK), first);
    datapath.age_affinities(MOST);
    assert_eq!(backend(&mut datapath, port, VIP), other);
    assert_eq!(send(&mut datapath, CLIENT, 1000, VIP, ACK), first, "the old one stays");
}

#[test]
fn clients_are_remembered_each_by_itself() {
    let mut datapath = sticky();
    let clients: Vec<_> = (1..=20).map(|n| format!("203.0.113.{n}")).collect();
    let backends = |datapath: &mut Datapath, port| -> Vec<u16> {
        clients.iter().map(|client| send(datapath, client, port, VIP, SYN)).collect()
    };
    let first = backends(&mut datapath, 1000);
    assert!(first.iter().any(|backend| *backend != first[0]), "they do not all reach one");
    assert_eq!(backends(&mut datapath, 2000), first);
}

/// Takes the backend with the id `gone` out of the first service's list.
fn take_out(tables: &mut MemoryTables, gone: u32) {
    tables.v4.backends.get_mut(&gone).unwrap().flags &= !backend::flags::IN_CLUSTER_LIST;
    let slots: Vec<_> = (1..=10).filter(|id| *id != gone).collect();
    tables.slots.extend((100..).zip(slots));
    tables.services.get_mut(&1).unwrap().cluster = SlotRange::new(100, 9);
}

/// The id of the first service's backend that listens on `port`.
fn id_of(datapath: &Datapath, port: u16) -> u32 {
    let mut backends = datapath.tables().v4.backends.iter();
    *backends.find(|(_, it)| it.port.to_host() == port).expect("a backend").0
}

#[test]
fn a_client_whose_backend_left_the_list_gets_another_and_sticks_to_that() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    let id = id_of(&datapath, first);
    datapath.change(|tables| take_out(tables, id));
    let second = backend(&mut datapath, 1001, VIP);
    assert_ne!(second, first);
    datapath.change(|tables| {
        tables.services.get_mut(&1).unwrap().cluster = SlotRange::new(0, 10);
        tables.v4.backends.get_mut(&id).unwrap().flags |= backend::flags::IN_CLUSTER_LIST;
    });
    for port in 1002..1020 {
        assert_eq!(backend(&mut datapath, port, VIP), second, "also when the first is back");
    }
}

#[test]
fn a_client_whose_backend_stays_sticks_while_the_list_changes_around_it() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    let id = id_of(&datapath, first);
    datapath.change(|tables| take_out(tables, if id == 1 { 2 } else { 1 }));
    for port in 1001..1020 {
        assert_eq!(backend(&mut datapath, port, VIP), first);
    }
}

#[test]
fn a_client_is_not_led_to_whoever_got_the_id_of_its_backend() {
    let mut datapath = sticky();
    let first = backend(&mut datapath, 1000, VIP);
    let (port, other) = other_port(VIP);
    let id = id_of(&datapath, first);
    datapath.change(|tables| tables.v4.backends.get_mut(&id).unwrap().generation += 1);
    assert_eq!(backend(&mut datapath, port, VIP), other);
}

/// The frontends of a service share what is remembered, but not always the list.
#[test]
fn a_backend_that_another_frontend_may_not_use_is_not_remembered_there() {
    const NODE_PORT: &str = "192.0.2.1:30080";
    let world = World::default()
        .service(TCP, &[VIP], &["10.180.2.1:80", "10.180.0.1:81"])
        .policy(0, 1)
        .affinity(TIMEOUT)
        .frontend(TCP, NODE_PORT, EXTERNAL | LOCAL);
    let mut datapath = Datapath::new(world.tables());
    let mut ports = 1000..;
    let far = ports.find(|port| {
        let client = format!("198.51.100.{}", port - 999);
        send(&mut datapath, &client, 1000, VIP, SYN) == 81
    });
    let client = format!("198.51.100.{}", far.expect("a client of the far one") - 999);
    assert_eq!(send(&mut datapath, &client, 2000, NODE_PORT, SYN), 80, "the one on this node");
    assert_eq!(send(&mut datapath, &client, 3000, VIP, SYN), 80, "and that is remembered");
}
