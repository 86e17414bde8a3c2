//! Which endpoints go into which list: §2.11, §3.1-3.3, §10.5, §10.8-10.10.

use std::net::{IpAddr, SocketAddr};

use lb_common::net::Family;

use crate::model::fixture::{port, slice};
use crate::model::{Protocol, Slice, SlicePort};
use crate::plan::NodeView;
use crate::plan::endpoints::{Lists, lists};

fn seen_from(zone: &str, slices: &[Slice]) -> Lists {
    let node = NodeView { name: "n1".into(), zone: zone.into(), ..NodeView::default() };
    lists(&slices.iter().collect::<Vec<_>>(), &port("", 80), Family::V4, &node)
}

fn one_slice(endpoints: &str) -> [Slice; 1] {
    [slice("default/a", "default/web", endpoints)]
}

/// The last octets of a list, such as `.1 .2`.
fn short<'a>(list: impl IntoIterator<Item = &'a SocketAddr>) -> String {
    let octet = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => format!(".{}", ip.octets()[3]),
        IpAddr::V6(ip) => ip.to_string(),
    };
    list.into_iter().map(octet).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(endpoints: &str, cluster: &str, local: &str) {
    let lists = seen_from("a", &one_slice(endpoints));
    let got = (short(&lists.cluster), short(&lists.local));
    assert_eq!(got, (cluster.into(), local.into()), "{endpoints}");
}

/// §3.1, row by row. The node is `n1` in zone `a`.
#[test]
fn topology_narrows_the_cluster_list_only_if_all_ready_endpoints_have_hints() {
    // Every one has a node hint, one of them is for us.
    check(".1 L r node:n1 zone:b; .2 R r node:n2 zone:a", ".1", ".1");
    check(".1 L r node:n1 node:n2; .2 R r node:n1; .3 R r node:n3", ".1 .2", ".1");
    // Node hints, none for us; zone hints, one for us.
    check(".1 R r node:n2 zone:a; .2 R r node:n3 zone:b", ".1", "");
    // Node hints, none for us; zones do not help.
    check(".1 R r node:n2 zone:b; .2 R r node:n3 zone:c", ".1 .2", "");
    check(".1 R r node:n2 zone:a; .2 R r node:n3", ".1 .2", "");
    // A node hint is missing; zone hints, one for us.
    check(".1 L r node:n1 zone:a; .2 R r zone:b; .3 R r zone:a", ".1 .3", ".1");
    // A node hint is missing; zone hints, none for us.
    check(".1 L r node:n1 zone:b; .2 R r zone:c", ".1 .2", ".1");
    // A hint of either level is missing.
    check(".1 L r node:n1 zone:a; .2 R r", ".1 .2", ".1");
    check(".1 L r; .2 R r", ".1 .2", ".1");
    // Only ready endpoints are asked.
    check(".1 R r zone:a; .2 R r zone:b; .3 R st; .4 L n", ".1", "");
    // No ready endpoints: topology is ignored.
    check(".1 R st zone:a; .2 R st zone:b", ".1 .2", "");
    check(".1 L n zone:a", "", "");
}

#[test]
fn a_node_without_zone_matches_no_zone_hint() {
    let slices = one_slice(".1 R r zone:a; .2 R r zone:b");
    assert_eq!(short(&seen_from("", &slices).cluster), ".1 .2");
    let mut slices = one_slice(".1 R r zone:a; .2 R r zone:b");
    slices[0].endpoints[0].zone_hints.insert("".into());
    assert_eq!(short(&seen_from("", &slices).cluster), ".1 .2");
}

/// §3.2.
#[test]
fn the_cluster_list_falls_back_to_terminating_endpoints() {
    check(".1 R r; .2 R st; .3 R t; .4 R n", ".1", "");
    check(".1 R st; .2 R st; .3 R t; .4 R n", ".1 .2", "");
    check(".1 R t; .2 R n; .3 R s", "", "");
    check("", "", "");
}

/// §3.3.
#[test]
fn the_local_list_falls_back_by_itself() {
    check(".1 L r; .2 L st; .3 R r", ".1 .3", ".1");
    check(".1 L st; .2 L t; .3 R r", ".3", ".1");
    check(".1 R r; .2 - r", ".1 .2", "");
    check(".1 L n; .2 R r; .3 L s", ".2", "");
    // Topology never narrows it.
    check(".1 L r node:n1; .2 L r node:n2", ".1", ".1 .2");
}

/// §10.5.
#[test]
fn external_policy_local_has_both_lists() {
    check(".1 R r; .2 L r", ".1 .2", ".2");
}

/// §10.8.
#[test]
fn internal_policy_local_has_both_lists() {
    check(".1 L r; .2 R r; .3 R r", ".1 .2 .3", ".1");
    check(".1 L r; .2 L r; .3 R r", ".1 .2 .3", ".1 .2");
    check(".1 R r; .2 R r; .3 R r", ".1 .2 .3", "");
    assert_eq!(seen_from("a", &[]), Lists::default());
}

/// §10.9.
#[test]
fn terminating_endpoints_under_external_policy_local() {
    check(".1 L r; .2 L r; .3 L st; .4 L t; .5 R r", ".1 .2 .5", ".1 .2");
    check(".2 L st; .3 L st; .4 L t; .5 R r", ".5", ".2 .3");
    check(".5 R st", ".5", "");
    check(".5 L t; .6 R t", "", "");
}

/// §10.10.
#[test]
fn terminating_endpoints_under_external_policy_cluster() {
    check(".1 L r; .2 L r; .3 R st; .4 R t; .5 R r", ".1 .2 .5", ".1 .2");
    check(".2 L st; .3 L st; .4 R t; .5 R st", ".2 .3 .5", ".2 .3");
    check(".5 R st", ".5", "");
    check(".5 L t; .6 R t", "", "");
}

#[test]
fn every_endpoint_is_a_backend_with_its_state() {
    let lists = seen_from("", &one_slice(".1 L r; .2 R st; .3 R t; .4 L n"));
    let states: Vec<_> = lists.backends.values().map(|s| (s.serving, s.local)).collect();
    assert_eq!(states, [(true, true), (true, false), (false, false), (false, true)]);
}

/// `publishNotReadyAddresses` makes a pod ready that fails its probe.
#[test]
fn a_ready_endpoint_serves_whatever_its_probe_says() {
    let mut slices = one_slice(".1 R r");
    slices[0].endpoints[0].serving = false;
    assert!(seen_from("", &slices).backends.values().all(|state| state.serving));
}

/// §2.11.
#[test]
fn of_duplicates_the_one_that_is_not_terminating_counts() {
    for slices in [
        [slice("d/a", "d/web", ".1 L st"), slice("d/b", "d/web", ".1 R r")],
        [slice("d/a", "d/web", ".1 R r"), slice("d/b", "d/web", ".1 L st")],
    ] {
        let lists = seen_from("", &slices);
        assert_eq!((short(&lists.cluster), short(&lists.local)), (".1".into(), String::new()));
    }
    assert_eq!(short(&seen_from("", &one_slice(".1 L st; .1 L r; .1 L t")).local), ".1");
}

/// §1.3, `targetPort`: a named port may be another number on another pod.
#[test]
fn each_endpoint_keeps_the_port_of_its_slice() {
    let mut slices = [slice("d/a", "d/web", ".1 R r"), slice("d/b", "d/web", ".2 R r")];
    slices[1].ports[0].port = 9090;
    let cluster: Vec<_> = seen_from("", &slices).cluster.iter().map(ToString::to_string).collect();
    assert_eq!(cluster, ["10.180.0.1:8080", "10.180.0.2:9090"]);
}

#[test]
fn ports_are_joined_by_name_and_protocol_and_slices_by_family() {
    let mut slices = one_slice(".1 R r");
    slices[0].ports = vec![
        SlicePort { name: "".into(), protocol: Protocol::Udp, port: 1 },
        SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 2 },
    ];
    assert_eq!(seen_from("", &slices), Lists::default());
    assert_eq!(seen_from("", &one_slice("fd00::1 R r")), Lists::default());
}
