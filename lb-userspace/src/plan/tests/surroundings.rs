//! Who clients are, by detector: §4.3.

use std::net::IpAddr;

use super::planner::{planner, put_other_node, settled};
use crate::model::fixture::node;
use crate::model::{NamespacedName, Node, Outcome, ServiceCidr};
use crate::netlink::Network;
use crate::netlink::fixture::network;
use crate::plan::{Client, Detector, InterfaceEntry, Planner, Settings, Surroundings};
use crate::store::{Event, Update};

fn put(name: &str, pod_cidrs: &[&str]) -> Event {
    let pod_cidrs = pod_cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let node = Node { name: name.into(), pod_cidrs, ..node("", "192.168.0.2") };
    Event::Nodes(Update::Apply(NamespacedName::new("", name), Outcome::Usable(node, vec![])))
}

fn put_service_cidr(name: &str, cidr: &str) -> Event {
    let name = NamespacedName::new("", name);
    let cidr = ServiceCidr { name: name.clone(), cidrs: [cidr.parse().unwrap()].into() };
    Event::ServiceCidrs(Update::Apply(name, Outcome::Usable(cidr, vec![])))
}

/// A node with a bridge of pods, a routed pod, an uplink and loopback.
fn this_node() -> Network {
    network(&[
        "lo - loopback 127.0.0.1/8 ::1/128",
        "eth0 - ether 192.168.0.2/24 2001:db8::1/64",
        "cni0 bridge ether 10.1.1.1/24",
        "veth1 veth ether cni0 elsewhere",
        "cali1 veth ether elsewhere fe80::1/64",
    ])
}

/// Of two nodes with these pods; n1 is this one.
fn two_nodes(detector: Detector) -> Planner {
    let mut planner = planner_with(detector);
    planner.apply(put("n1", &["10.1.1.0/24", "fd01:1::/64"]));
    planner.apply(put("n2", &["10.1.2.0/24", "fd01:2::/64"]));
    planner.set_network(this_node().into());
    planner
}

fn planner_with(detector: Detector) -> Planner {
    settled(Settings { detector, ..Settings::default() }).into_planner()
}

/// `10.1.0.0/16 pod, …`, in order; then the interfaces with pods behind them.
fn text(surroundings: &Surroundings) -> (String, String) {
    let one = |(prefix, client): (&ipnet::IpNet, &Client)| {
        let flags = [(client.pod, " pod"), (client.node, " node"), (client.untold, " untold")];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
        format!("{prefix}{}", flags.collect::<String>())
    };
    let clients: Vec<_> = surroundings.clients.iter().map(one).collect();
    let workloads = surroundings.interfaces.iter().filter(|(_, entry)| entry.workload);
    let workloads: Vec<_> = workloads.map(|(index, _)| index.to_string()).collect();
    (clients.join(", "), workloads.join(" "))
}

#[track_caller]
fn check(detector: Detector, clients: &str, interfaces: &str) {
    let surroundings = two_nodes(detector).take_surroundings().unwrap();
    assert_eq!(text(&surroundings), (clients.into(), interfaces.into()));
}

const OWN_V4: &str = "10.1.1.1/32 node, 127.0.0.1/32 node, 192.168.0.2/32 node";
const OWN_V6: &str = "::1/128 node, 2001:db8::1/128 node, fe80::1/128 node";

#[test]
fn by_itself_a_pod_is_told_by_the_networks_of_all_nodes_and_by_its_interface() {
    check(
        Detector::Auto,
        "10.1.1.0/24 pod, 10.1.1.1/32 node, 10.1.2.0/24 pod, 127.0.0.1/32 node, \
         192.168.0.2/32 node, ::1/128 node, 2001:db8::1/128 node, fd01:1::/64 pod, \
         fd01:2::/64 pod, fe80::1/128 node",
        "4 5",
    );
}

#[test]
fn the_first_cluster_cidr_of_a_family_is_all_pods_and_a_family_without_has_no_detector() {
    let cidrs = |list: &[&str]| list.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let own_v6 = "::1/128 node untold, 2001:db8::1/128 node untold, fe80::1/128 node untold";
    check(
        Detector::ClusterCidr(cidrs(&["10.1.2.3/16", "10.2.0.0/16"])),
        &format!(
            "10.1.0.0/16 pod, 10.1.1.1/32 node, 127.0.0.1/32 node, 192.168.0.2/32 node, \
             ::/0 untold, {own_v6}"
        ),
        "",
    );
    check(
        Detector::ClusterCidr(cidrs(&["10.1.0.0/16", "fd01::/32"])),
        &format!(
            "10.1.0.0/16 pod, {OWN_V4}, ::1/128 node, 2001:db8::1/128 node, fd01::/32 pod, \
             fe80::1/128 node"
        ),
        "",
    );
}

#[test]
fn the_own_nodes_pods_are_those_of_this_node_alone() {
    check(
        Detector::NodeCidr,
        "10.1.1.0/24 pod, 10.1.1.1/32 node, 127.0.0.1/32 node, 192.168.0.2/32 node, ::1/128 node, \
         2001:db8::1/128 node, fd01:1::/64 pod, fe80::1/128 node",
        "",
    );
    let mut nodeless = planner_with(Detector::NodeCidr);
    nodeless.apply(put("n2", &["10.1.2.0/24"]));
    let surroundings = nodeless.take_surroundings().unwrap();
    assert_eq!(text(&surroundings).0, "0.0.0.0/0 untold, ::/0 untold");
}

#[test]
fn interfaces_tell_pods_of_both_families() {
    let own = format!("{OWN_V4}, {OWN_V6}");
    check(Detector::BridgeInterface("cni0".into()), &own, "3 4");
    check(Detector::BridgeInterface("cni".into()), &own, "");
    check(Detector::InterfaceNamePrefix("cali".into()), &own, "5");
    check(Detector::InterfaceNamePrefix("c".into()), &own, "3 4 5");
    check(Detector::InterfaceNamePrefix("veth".into()), &own, "4");
}

#[test]
fn without_a_detector_nobody_can_be_told() {
    check(
        Detector::None,
        "0.0.0.0/0 untold, 10.1.1.1/32 node untold, 127.0.0.1/32 node untold, \
         192.168.0.2/32 node untold, ::/0 untold, ::1/128 node untold, \
         2001:db8::1/128 node untold, fe80::1/128 node untold",
        "",
    );
}

/// A network of pods may be a single address, and that one the node's.
#[test]
fn an_address_of_this_node_is_never_a_pods() {
    let mut planner = two_nodes(Detector::Auto);
    planner.apply(put("n2", &["192.168.0.2/32"]));
    let surroundings = planner.take_surroundings().unwrap();
    let client = surroundings.clients[&"192.168.0.2/32".parse().unwrap()];
    assert_eq!(client, Client { node: true, ..Client::default() });
}

/// `7 192.168.0.2 2001:db8::1, …`: what masqueraded packets get that leave by interfaces.
#[track_caller]
fn check_sources(planner: &mut Planner, expected: &str) {
    let interfaces = planner.take_surroundings().unwrap().interfaces;
    let text = |(index, entry): (&u32, &InterfaceEntry)| {
        let addresses = [entry.v4.map(IpAddr::from), entry.v6.map(IpAddr::from)];
        addresses.iter().flatten().fold(index.to_string(), |line, ip| format!("{line} {ip}"))
    };
    assert_eq!(interfaces.iter().map(text).collect::<Vec<_>>().join(", "), expected);
}

const SOURCES: &str = "2 192.168.0.2 2001:db8::1, 3 10.1.1.1, 4 10.1.1.1, 5";

#[test]
fn each_interface_tells_the_source_of_what_is_masqueraded_there() {
    let expected = format!("0 192.168.0.2 2001:db8::1, {SOURCES}");
    check_sources(&mut two_nodes(Detector::Auto), &expected);
    let mut blind = two_nodes(Detector::None);
    check_sources(&mut blind, &expected.replace(", 5", ""));
}

#[test]
fn the_nodes_own_source_is_the_first_address_of_its_node_object_that_it_has() {
    let named = |addresses: &[&str]| {
        let mut planner = planner_with(Detector::Auto);
        planner.set_network(this_node().into());
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let node = Node { name: "n1".into(), addresses, ..node("", "192.0.2.1") };
        let name = NamespacedName::new("", "n1");
        planner.apply(Event::Nodes(Update::Apply(name, Outcome::Usable(node, vec![]))));
        planner
    };
    let own = |ips: &str| format!("0 {ips}, {SOURCES}");
    check_sources(&mut named(&["192.0.2.7", "10.1.1.1"]), &own("10.1.1.1 2001:db8::1"));
    let mut planner = named(&["10.1.1.1", "192.168.0.2"]);
    check_sources(&mut planner, &own("10.1.1.1 2001:db8::1"));
    planner.apply(put("n1", &[]));
    check_sources(&mut planner, &own("192.168.0.2 2001:db8::1"));
}

#[test]
fn service_cidrs_add_up() {
    let mut planner = two_nodes(Detector::Auto);
    planner.apply(put_service_cidr("kubernetes", "10.96.0.0/16"));
    planner.apply(put_service_cidr("more", "fd00:96::/112"));
    let known = |planner: &mut Planner| planner.take_surroundings().unwrap().service_cidrs.len();
    assert_eq!(known(&mut planner), 2);
    planner.apply(put_service_cidr("more", "10.96.0.0/16"));
    assert_eq!(known(&mut planner), 1);
}

#[test]
fn they_are_told_once_and_again_when_they_change() {
    let mut early = Planner::new("n1", Settings::default());
    early.set_network(this_node().into());
    early.apply(put("n1", &["10.1.1.0/24"]));
    assert_eq!(early.take_surroundings(), None, "not all lists are there");
    let mut planner = planner();
    assert_eq!(planner.take_surroundings(), Some(Surroundings::default()));
    assert_eq!(planner.take_surroundings(), None);
    planner.set_network(this_node().into());
    assert_eq!(planner.take_surroundings().map(|now| now.clients.len()), Some(6));
    planner.set_network(this_node().into());
    assert_eq!(planner.take_surroundings(), None);
    planner.apply(put("n2", &["10.1.2.0/24"]));
    assert_eq!(planner.take_surroundings().map(|now| now.clients.len()), Some(7));
    // Neither a Node without pods nor a network that another Node has too changes anything.
    planner.apply(put_other_node("n3", "192.168.0.9"));
    planner.apply(put("n4", &["10.1.2.0/24"]));
    assert_eq!(planner.take_surroundings(), None);
    planner.apply(Event::Nodes(Update::Replace(vec![])));
    assert_eq!(planner.take_surroundings().map(|now| now.clients.len()), Some(6));
}
