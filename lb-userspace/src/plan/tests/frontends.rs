//! Who may use which frontend, and what is at the other ports of its address: §4.5, §4.6, §10.3.

use super::planner::{Applied, put_node, put_other_node, settled};
use crate::model::Service;
use crate::model::fixture::service;
use crate::netlink::fixture::network;
use crate::plan::Settings;

/// `LoadBalancer` 1.2.3.4, 5.6.7.8 and `2001:db8::9`, external 192.0.2.1 and `NodePort` 3001, on the
/// node 192.168.0.2.
fn balanced(source_ranges: &str) -> Service {
    let mut service = service("d/web", "172.30.0.41");
    service.cluster_ips.push("fd00::1".parse().unwrap());
    service.ports[0].node_port = Some(3001);
    let ips = ["1.2.3.4", "5.6.7.8", "2001:db8::9"];
    service.load_balancer_ips = ips.map(|ip| ip.parse().unwrap()).into();
    service.external_ips.insert("192.0.2.1".parse().unwrap());
    let ranges = source_ranges.split_whitespace().map(|range| range.parse().unwrap());
    service.source_ranges = ranges.collect();
    service
}

fn now() -> Applied {
    let mut now = settled(Settings::default());
    now.apply(put_node("", "192.168.0.2"));
    now
}

/// §10.3 and the cases derived from it.
#[test]
fn source_ranges_guard_the_load_balancer_addresses_of_their_family() {
    let check = |ranges: &str, guarded: &str, expected: &str| {
        let mut now = now();
        now.put(balanced(ranges));
        assert_eq!(now.with("guarded"), guarded, "{ranges}");
        assert_eq!(now.source_ranges(), expected, "{ranges}");
    };
    let v4 = "1.2.3.4:80/TCP 5.6.7.8:80/TCP";
    check("", "", "");
    check("203.0.113.0/25", v4, "203.0.113.0/25");
    check("2001:db8:1::/48", "[2001:db8::9]:80/TCP", "2001:db8:1::/48");
    // The node may, so its own LoadBalancer addresses may.
    check(
        "192.168.0.0/24 203.0.113.0/25",
        v4,
        "1.2.3.4/32 5.6.7.8/32 192.168.0.0/24 203.0.113.0/25",
    );
    check("192.168.0.3/32", v4, "192.168.0.3/32");
    // Host bits are no other range.
    check("203.0.113.7/25", v4, "203.0.113.0/25");
}

#[test]
fn ranges_without_an_address_to_guard_are_not_planned() {
    let mut now = now();
    let mut web = balanced("203.0.113.0/25");
    web.load_balancer_ips.clear();
    now.put(web);
    assert_eq!(now.source_ranges(), "");
    // The address of another Service is not ours to guard.
    let mut older = balanced("");
    (older.name, older.created_s) = (crate::model::fixture::name("d/older"), -1);
    older.cluster_ips = vec!["172.30.0.42".parse().unwrap()];
    now.put(older);
    now.put(balanced("203.0.113.0/25"));
    assert_eq!((now.with("guarded"), now.source_ranges()), (String::new(), String::new()));
}

#[test]
fn the_ranges_follow_the_address_of_the_node() {
    let mut now = now();
    now.put(balanced("192.168.0.2/32"));
    assert_eq!(now.source_ranges(), "1.2.3.4/32 5.6.7.8/32 192.168.0.2/32");
    now.apply(put_node("", "192.168.0.3"));
    assert_eq!(now.source_ranges(), "192.168.0.2/32");
}

#[test]
fn an_address_that_exists_for_services_alone_is_closed() {
    let mut now = now();
    now.put(balanced(""));
    let services_alone =
        "1.2.3.4:80/TCP 172.30.0.41:80/TCP 5.6.7.8:80/TCP [2001:db8::9]:80/TCP [fd00::1]:80/TCP";
    let mut closed: Vec<_> = now.with("closed").split(' ').map(str::to_owned).collect();
    closed.sort();
    assert_eq!(closed.join(" "), services_alone);
}

/// A load balancer that forwards to the nodes themselves: other ports are the nodes'.
#[test]
fn a_load_balancer_address_that_a_node_has_is_open() {
    let mut now = now();
    now.put(balanced(""));
    let is_closed = |now: &Applied| now.with("closed").contains("1.2.3.4");
    assert!(is_closed(&now));
    assert_eq!(now.apply(put_other_node("n2", "1.2.3.4")), ["d/web/TCP", "d/web/TCPV6"]);
    assert!(!is_closed(&now));
    now.apply(put_other_node("n2", "192.168.0.3"));
    assert!(is_closed(&now));
    now.apply(put_node("", "1.2.3.4"));
    assert!(!is_closed(&now));
    now.apply(put_node("", "192.168.0.2"));
    assert!(is_closed(&now));
    assert!(!now.set_network(network(&["eth0 - ether 1.2.3.4/24"])).is_empty());
    assert!(!is_closed(&now));
    now.set_network(network(&["eth0 - ether 192.168.0.2/24"]));
    assert!(is_closed(&now));
}

/// So many Nodes may come, one by one, and nothing is planned again.
#[test]
fn nodes_that_have_no_address_of_a_service_concern_no_service() {
    let mut now = now();
    now.put(balanced("192.168.0.0/24"));
    for n in 10..20 {
        let (name, address) = (format!("n{n}"), format!("192.168.0.{n}"));
        assert!(now.apply(put_other_node(&name, &address)).is_empty());
    }
    assert!(now.set_network(network(&["eth0 - ether 192.168.0.2/24"])).is_empty());
}

#[test]
fn external_ips_can_be_left_alone() {
    for ignore_external_ips in [false, true] {
        let mut now = settled(Settings { ignore_external_ips, ..Settings::default() });
        now.put(balanced(""));
        assert_eq!(now.owner("192.0.2.1").is_empty(), ignore_external_ips);
        assert_eq!(now.owner("1.2.3.4"), "d/web");
    }
}
