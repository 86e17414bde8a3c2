//! Links that are not a plain veth of 1500 bytes: small and jumbo ones, large packets and single
//! segments, devices without Ethernet header, devices on top of devices.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use aya::programs::{SchedClassifier, TcAttachType};
use lb_tests::lab::{Carrier, Lab, Namespace, Topology, UPLINK, wait_until};
use lb_tests::traffic::{Tagger, UdpClient, http_get};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, cluster_ips};
use crate::pair::{
    BALANCER, Pair, Seen, balancer, check_asked, check_bulk, node_ports, wait_for_answer, web,
    write_web,
};

/// Of bulk data, each way.
const LENGTH: u32 = 8 << 20;
/// Addresses of the device on top of a node's uplink, IPv4 first.
const UPPER: [&str; 2] = ["192.168.0.111", "fd00:c0::111"];

/// A datagram that fills a packet of `mtu` bytes, there and back.
#[track_caller]
fn check_full_datagram(from: &Namespace, dst: SocketAddr, mtu: usize) {
    let length = mtu - 8 - if dst.is_ipv4() { 20 } else { 40 };
    let client = UdpClient::connect(from, dst, None, PATIENCE).unwrap();
    let answer = client.ask_with(&vec![b'?'; length]).expect("an answer by UDP");
    assert_eq!(answer.length, length, "{dst}");
}

#[track_caller]
fn check_full_packets(mtu: u32) {
    let cluster = Cluster::in_lab(Lab::with(Carrier::Routed, mtu), Topology::Bridge, 1, &[]);
    write_web(&cluster);
    let inside = cluster_ips().map(|dst| (&cluster.pod.ns, dst));
    let outside = cluster.node_ports().map(|dst| (&cluster.client.ns, dst));
    for (from, dst) in inside.into_iter().chain(outside) {
        check_full_datagram(from, dst, mtu as usize);
        check_bulk(from, dst, LENGTH);
    }
}

#[test]
fn links_of_1280_bytes_carry_full_packets() {
    check_full_packets(1280);
}

#[test]
fn links_of_9000_bytes_carry_full_packets() {
    check_full_packets(9000);
}

/// Bytes of a packet on the average, in the flow that moved most.
fn average_packet(cluster: &Cluster) -> u64 {
    let flows = cluster.waggle_json(&["flows"]);
    let flows = flows.as_array().expect("a list").iter();
    let number = |flow: &Value, name: &str| flow[name].as_u64().expect("a number");
    let sums = flows.map(|flow| (number(flow, "bytes"), number(flow, "packets")));
    let (bytes, packets) = sums.max().expect("a flow");
    bytes / packets
}

/// Senders hand over up to 64 KiB at once and leave checksums and segmenting to whoever sends them
/// to a wire at last; told not to, they send one segment at a time.
#[test]
fn bulk_data_comes_back_whole_in_large_packets_and_in_single_segments() {
    for (segments, sizes) in [(None, 2000..=65_600), (Some(1), 500..=1514)] {
        let cluster = Cluster::new(Topology::Routed, 1);
        for ns in [&cluster.pod.ns, &cluster.servers[0].pod.ns, &cluster.client.ns] {
            if let Some(segments) = segments {
                ns.ip(&format!("link set {UPLINK} gso_max_segs {segments}"));
            }
        }
        let inside = cluster_ips().map(|dst| (&cluster.pod.ns, dst));
        let outside = cluster.node_ports().map(|dst| (&cluster.client.ns, dst));
        for (from, dst) in inside.into_iter().chain(outside) {
            check_bulk(from, dst, LENGTH);
        }
        let average = average_packet(&cluster);
        assert!(sizes.contains(&average), "{average} bytes a packet, {segments:?}");
    }
}

/// Waits until the agent has attached its programs to an interface of the node.
#[track_caller]
fn wait_until_attached(node: &Namespace, interface: &str) {
    wait_until(&format!("{interface} has programs"), PATIENCE, || {
        node.run(|| {
            [TcAttachType::Ingress, TcAttachType::Egress].iter().all(|hook| {
                SchedClassifier::query_tcx(interface, *hook).is_ok_and(|(_, all)| all.len() == 1)
            })
        })
    });
}

#[test]
fn a_client_behind_a_device_without_ethernet_header_is_served() {
    let cluster = Cluster::new(Topology::Routed, 1);
    write_web(&cluster);
    cluster.client.tunnel(&cluster.node, &BALANCER);
    wait_until_attached(&cluster.node.ns, "tunnel");
    for dst in balancer() {
        check_asked(&cluster.client.ns, dst, "web1", Seen::Client);
        check_bulk(&cluster.client.ns, dst, LENGTH);
    }
}

/// One tag is in the packet's metadata when we see it, of two the inner one is in the frame.
#[test]
fn a_client_whose_frames_carry_vlan_tags_is_served_and_refused() {
    for tags in [1, 2] {
        let cluster = Cluster::new(Topology::Routed, 1);
        write_web(&cluster);
        let (client, wire) = cluster.lab.client_behind_wire();
        let _tagger = Tagger::start(&wire, "near", "far", tags);
        for (dst, ip) in balancer().into_iter().zip(BALANCER) {
            client.route(ip, &cluster.node);
            wait_for_answer(&client.ns, dst, "web1");
            check_asked(&client.ns, dst, "web1", Seen::Client);
            check_bulk(&client.ns, dst, LENGTH);
            let closed = SocketAddr::new(dst.ip(), 81);
            let refused =
                http_get(&client.ns, closed, None, PATIENCE).expect_err("nobody is there");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{tags} tags, {closed}");
        }
    }
}

/// Puts a macvlan with the addresses [`UPPER`] on the uplink of a node.
fn stack(node: &Namespace) {
    // Else the uplink would answer in the place of the device on top of it.
    node.sysctls(&[("net.ipv4.conf.all.arp_ignore", "1")]);
    let [v4, v6] = UPPER;
    node.ip(&format!(
        "link add link {UPLINK} name upper type macvlan mode bridge
         link set upper up
         addr add {v4}/32 dev upper
         addr add {v6}/128 dev upper nodad"
    ));
}

/// Bytes that the device on top has received and sent.
fn bytes_of_upper(node: &Namespace) -> [u64; 2] {
    let shown = node.output("ip", &["-s", "-json", "link", "show", "dev", "upper"]);
    let shown: Value = serde_json::from_str(&shown).expect("ip prints JSON");
    ["rx", "tx"].map(|way| shown[0]["stats64"][way]["bytes"].as_u64().expect("a number"))
}

/// A packet passes the hooks of the lower device and of the one on top of it, as on a VLAN's parent
/// and the VLAN: it must be translated once, and counted once.
#[test]
fn a_device_on_top_of_another_translates_each_flow_once() {
    let cluster = Cluster::new(Topology::Routed, 1);
    write_web(&cluster);
    let (client, node) = (&cluster.client, &cluster.node.ns);
    stack(node);
    for (ip, upper) in [IpAddr::from(client.v4), client.v6.into()].into_iter().zip(UPPER) {
        node.ip(&format!("route add {ip} dev upper src {upper}"));
    }
    for (ip, upper) in BALANCER.into_iter().zip(UPPER) {
        client.ns.ip(&format!("route add {ip} via {upper}"));
    }
    wait_until_attached(node, "upper");
    for dst in balancer() {
        let before = cluster.counter("new_flow");
        check_asked(&client.ns, dst, "web1", Seen::Client);
        assert_eq!(cluster.counter("new_flow"), before + 3, "one by TCP, two by UDP");
        check_bulk(&client.ns, dst, LENGTH);
    }
    let moved = bytes_of_upper(node);
    assert!(moved.iter().all(|bytes| *bytes > 2 * u64::from(LENGTH)), "{moved:?}");
}

#[test]
fn a_device_on_top_of_another_masquerades_each_flow_once() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    pair.write(&web(), &pair.servers[1..]);
    let [first, second] = &pair.nodes;
    stack(&first.ns);
    for (cidr, via) in second.pod_cidrs().iter().zip(second.addresses_towards_pods()) {
        first.ns.ip(&format!(
            "route add {via} dev upper
             route add {cidr} via {via} dev upper"
        ));
    }
    wait_until_attached(&first.ns, "upper");
    for (dst, upper) in node_ports(first).into_iter().zip(UPPER) {
        let upper = Seen::Other(upper.parse().expect("an address"));
        wait_for_answer(&pair.client.ns, dst, "web2");
        check_asked(&pair.client.ns, dst, "web2", upper);
        check_bulk(&pair.client.ns, dst, LENGTH);
    }
    let moved = bytes_of_upper(&first.ns);
    assert!(moved.iter().all(|bytes| *bytes > 2 * u64::from(LENGTH)), "{moved:?}");
}
