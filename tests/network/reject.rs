//! A Service without any endpoint refuses its clients at once.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, cluster_ips};

/// The error of a connection to `dst`.
fn tcp_error(from: &Namespace, dst: SocketAddr) -> ErrorKind {
    http_get(from, dst, None, PATIENCE).expect_err("nobody is there").kind()
}

/// The error that a connected UDP socket gets instead of an answer.
fn udp_error(from: &Namespace, dst: SocketAddr) -> io::Result<ErrorKind> {
    let answer = UdpClient::connect(from, dst, None, PATIENCE)?.ask();
    Ok(answer.expect_err("nobody is there").kind())
}

/// A cluster whose service had an endpoint, which new connections do not find any more.
fn emptied(topology: Topology) -> Cluster {
    let cluster = Cluster::new(topology, 1);
    cluster.write_web(0);
    let pod = cluster_ips().map(|dst| (&cluster.pod.ns, dst));
    let outside = cluster.node_ports().map(|dst| (&cluster.client.ns, dst));
    for (from, dst) in pod.into_iter().chain(outside) {
        wait_until(&format!("{dst} refuses"), PATIENCE, || {
            http_get(from, dst, None, PATIENCE).is_err()
        });
    }
    cluster
}

/// How many packets were rejected so far.
fn rejected(cluster: &Cluster) -> u64 {
    let dump = cluster.waggle_json(&["dump"]);
    let counters = dump["counters"].as_array().unwrap();
    let row = counters.iter().find(|row| row["name"] == "reject_no_endpoint");
    row.and_then(|row| row["value"].as_u64()).unwrap()
}

/// `from` is refused by TCP and by UDP, and by us: a node refuses by itself what nobody listens to.
#[track_caller]
fn check_refused(cluster: &Cluster, from: &Namespace, tcp: SocketAddr, udp: SocketAddr) {
    let before = rejected(cluster);
    assert_eq!(tcp_error(from, tcp), ErrorKind::ConnectionRefused, "TCP {tcp}");
    assert_eq!(udp_error(from, udp).unwrap(), ErrorKind::ConnectionRefused, "UDP {udp}");
    // One answer to each sufficed: a lost one would have been asked for again.
    assert_eq!(rejected(cluster), before + 2, "{tcp}");
}

#[track_caller]
fn check_everybody_is_refused(topology: Topology) {
    let cluster = emptied(topology);
    for tcp in cluster_ips() {
        check_refused(&cluster, &cluster.pod.ns, tcp, SocketAddr::new(tcp.ip(), 53));
    }
    for dst in cluster.node_ports() {
        check_refused(&cluster, &cluster.client.ns, dst, dst);
        check_refused(&cluster, &cluster.pod.ns, dst, dst);
    }
}

#[test]
fn everybody_is_refused_over_routed_links() {
    check_everybody_is_refused(Topology::Routed);
}

#[test]
fn everybody_is_refused_over_a_bridge() {
    check_everybody_is_refused(Topology::Bridge);
}
