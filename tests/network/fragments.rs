//! Datagrams that are larger than a link takes, through a service and back.

use std::net::SocketAddr;

use lb_tests::lab::{Namespace, Topology};
use lb_tests::traffic::UdpClient;

use crate::cluster::{Cluster, PATIENCE, cluster_ips};

#[track_caller]
fn check(from: &Namespace, dst: SocketAddr) {
    for length in [2000, 60_000] {
        let client = UdpClient::open(from, dst, None, PATIENCE).expect("a socket");
        let answer = client.ask_with(&vec![7; length]).unwrap_or_else(|e| panic!("{dst}: {e}"));
        assert_eq!((answer.length, answer.from), (length, dst));
    }
}

#[track_caller]
fn check_everywhere(topology: Topology) {
    let cluster = Cluster::new(topology, 2);
    for dst in cluster_ips() {
        check(&cluster.pod.ns, SocketAddr::new(dst.ip(), 53));
    }
    for dst in cluster.node_ports() {
        check(&cluster.client.ns, dst);
    }
}

#[test]
fn large_datagrams_go_there_and_back_over_routed_links() {
    check_everywhere(Topology::Routed);
}

#[test]
fn large_datagrams_go_there_and_back_over_a_bridge() {
    check_everywhere(Topology::Bridge);
}
