//! A Service without any endpoint refuses its clients at once; one without an endpoint here, whose
//! policy wants one, is silent.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices, web};

/// The error of a connection to `dst`.
fn tcp_error(from: &Namespace, dst: SocketAddr) -> ErrorKind {
    http_get(from, dst, None, PATIENCE).expect_err("nobody is there").kind()
}

/// The error that a connected UDP socket gets instead of an answer.
fn udp_error(from: &Namespace, dst: SocketAddr) -> io::Result<ErrorKind> {
    let answer = UdpClient::connect(from, dst, None, PATIENCE)?.ask();
    Ok(answer.expect_err("nobody is there").kind())
}

/// How soon a client must know.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long a client waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(400);

/// Of a few attempts one is refused that soon: the others may have waited for a CPU, but a lost or
/// missing answer would hold each of them up for a second.
#[track_caller]
fn check_refused_at_once(from: &Namespace, tcp: SocketAddr, udp: SocketAddr) {
    let connect = |_| http_get(from, tcp, None, AT_ONCE).map(drop);
    let ask = |_| UdpClient::connect(from, udp, None, AT_ONCE)?.ask().map(drop);
    let is_refusal =
        |it: io::Result<()>| it.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    assert!((0..5).map(connect).any(is_refusal), "TCP {tcp}");
    assert!((0..5).map(ask).any(is_refusal), "UDP {udp}");
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

/// `from` is refused by TCP and by UDP, and by us: a node refuses by itself what nobody listens to.
#[track_caller]
fn check_refused(cluster: &Cluster, from: &Namespace, tcp: SocketAddr, udp: SocketAddr) {
    let before = cluster.counter("reject_no_endpoint");
    assert_eq!(tcp_error(from, tcp), ErrorKind::ConnectionRefused, "TCP {tcp}");
    assert_eq!(udp_error(from, udp).unwrap(), ErrorKind::ConnectionRefused, "UDP {udp}");
    // One answer to each sufficed: a lost one would have been asked for again.
    assert_eq!(cluster.counter("reject_no_endpoint"), before + 2, "{tcp}");
    check_refused_at_once(from, tcp, udp);
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

/// kube-proxy-behaviour §3.4, §4.4: under the policy `Local`, clients outside hear nothing while only
/// other nodes have endpoints, and pods reach those.
#[test]
fn a_local_service_without_a_local_endpoint_is_silent_to_the_world_and_open_to_pods() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let [v4, v6] = slices("default/web", &[]);
    let [v4_there, v6_there] = cluster.servers[0].sockets().map(|it| it.ip().to_string());
    let v4 = v4.endpoint(&v4_there).on("elsewhere");
    let v6 = v6.endpoint(&v6_there).on("elsewhere");
    let objects = [web().external_local().object(), v4.object(), v6.object()];
    cluster.manifests.write("web.yaml", &objects);
    for dst in cluster.node_ports() {
        wait_until(&format!("{dst} is silent"), PATIENCE, || {
            let answer = http_get(&cluster.client.ns, dst, None, SILENCE);
            answer.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
        });
        assert_eq!(Cluster::ask(&cluster.pod.ns, dst, 5).len(), 1, "{dst}");
    }
    assert!(cluster.counter("drop_no_local_endpoint") >= 2);
}
