//! Links that are not a plain veth of 1500 bytes: small and jumbo ones, large packets and single
//! segments, devices without Ethernet header, devices on top of devices.

use std::io::ErrorKind;
use std::net::SocketAddr;

use aya::programs::{SchedClassifier, TcAttachType};
use lb_tests::lab::{Carrier, Lab, Namespace, Topology, UPLINK, wait_until};
use lb_tests::traffic::{Tagger, UdpClient, http_get};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices};
use crate::pair::{BALANCER, Seen, balancer, check_asked, check_bulk, wait_for_answer, web};

/// Writes [`web`] with all servers of the cluster, and waits until it answers.
#[track_caller]
fn serve(cluster: &Cluster) {
    let [v4, v6] = slices("default/web", &cluster.servers);
    cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    for dst in balancer() {
        wait_for_answer(&cluster.pod.ns, dst, "web1");
    }
}

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
    serve(&cluster);
    let inside = cluster_ips().map(|dst| (&cluster.pod.ns, dst));
    let outside = cluster.node_ports().map(|dst| (&cluster.client.ns, dst));
    for (from, dst) in inside.into_iter().chain(outside) {
        check_full_datagram(from, dst, mtu as usize);
        check_bulk(from, dst, 8 << 20);
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
            check_bulk(from, dst, 8 << 20);
        }
        let average = average_packet(&cluster);
        assert!(sizes.contains(&average), "{average} bytes a packet, {segments:?}");
    }
}

/// Waits until the agent has attached its programs to an interface of the node.
#[track_caller]
fn wait_until_attached(cluster: &Cluster, interface: &str) {
    wait_until(&format!("{interface} has programs"), PATIENCE, || {
        cluster.node.ns.run(|| {
            [TcAttachType::Ingress, TcAttachType::Egress].iter().all(|hook| {
                SchedClassifier::query_tcx(interface, *hook).is_ok_and(|(_, all)| all.len() == 1)
            })
        })
    });
}

#[test]
fn a_client_behind_a_device_without_ethernet_header_is_served() {
    let cluster = Cluster::new(Topology::Routed, 1);
    serve(&cluster);
    cluster.client.tunnel(&cluster.node, &BALANCER);
    wait_until_attached(&cluster, "tunnel");
    for dst in balancer() {
        check_asked(&cluster.client.ns, dst, "web1", Seen::Client);
        check_bulk(&cluster.client.ns, dst, 8 << 20);
    }
}

/// One tag is in the packet's metadata when we see it, of two the inner one is in the frame.
#[test]
fn a_client_whose_frames_carry_vlan_tags_is_served_and_refused() {
    for tags in [1, 2] {
        let cluster = Cluster::new(Topology::Routed, 1);
        serve(&cluster);
        let (client, wire) = cluster.lab.client_behind_wire();
        let _tagger = Tagger::start(&wire, "near", "far", tags);
        for (dst, ip) in balancer().into_iter().zip(BALANCER) {
            client.route(ip, &cluster.node);
            wait_for_answer(&client.ns, dst, "web1");
            check_asked(&client.ns, dst, "web1", Seen::Client);
            check_bulk(&client.ns, dst, 4 << 20);
            let closed = SocketAddr::new(dst.ip(), 81);
            let refused =
                http_get(&client.ns, closed, None, PATIENCE).expect_err("nobody is there");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{tags} tags, {closed}");
        }
    }
}

/// A packet passes the hooks of the lower device and of the one on top of it, as on a VLAN's parent
/// and the VLAN: it must be translated once, and counted once.
#[test]
fn a_device_on_top_of_another_translates_each_flow_once() {
    let cluster = Cluster::new(Topology::Routed, 1);
    serve(&cluster);
    let client = &cluster.client;
    let node = &cluster.node.ns;
    node.ip(&format!(
        "link add link {UPLINK} name upper address 0a:00:00:00:01:01 type macvlan mode bridge
         link set upper up
         addr add 192.168.0.111/32 dev upper
         addr add fd00:c0::111/128 dev upper nodad
         route add {} dev upper src 192.168.0.111
         route add {} dev upper src fd00:c0::111",
        client.v4, client.v6
    ));
    for (ip, via) in BALANCER.into_iter().zip(["192.168.0.111", "fd00:c0::111"]) {
        client.ns.ip(&format!(
            "neigh add {via} lladdr 0a:00:00:00:01:01 dev {UPLINK} nud permanent
             route add {ip} via {via}"
        ));
    }
    wait_until_attached(&cluster, "upper");
    for dst in balancer() {
        let before = cluster.counter("new_flow");
        check_asked(&client.ns, dst, "web1", Seen::Client);
        assert_eq!(cluster.counter("new_flow"), before + 3, "one by TCP, two by UDP");
        check_bulk(&client.ns, dst, 8 << 20);
    }
    let received = node.output("ip", &["-s", "-json", "link", "show", "dev", "upper"]);
    let received: Value = serde_json::from_str(&received).expect("ip prints JSON");
    for way in ["rx", "tx"] {
        let bytes = received[0]["stats64"][way]["bytes"].as_u64();
        assert!(
            bytes.is_some_and(|bytes| bytes > 16 << 20),
            "{way} by the upper device: {bytes:?}"
        );
    }
}
