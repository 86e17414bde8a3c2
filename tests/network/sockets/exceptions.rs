//! What is left alone where sockets are translated: pods that say so, virtual machines, and MPTCP.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{UdpClient, http_get};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cluster::{Cluster, PATIENCE, cluster_ips};
use crate::sockets::{entries, wait_for_answer};

/// `IPPROTO_MPTCP`.
const IPPROTO_MPTCP: i32 = 262;

const UID: &str = "5a3f-11";

fn pod(cluster: &Cluster, socket_lb: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "shy", "uid": UID, "annotations": {"waggle.dev/socket-lb": socket_lb}},
        "spec": {"nodeName": cluster.node.name},
    })
}

/// How many sockets and how many flows were given a backend while `work` was done; `None` if it failed.
fn new(cluster: &Cluster, work: impl FnOnce() -> io::Result<()>) -> Option<[u64; 2]> {
    let counts = || ["new_socket", "new_flow"].map(|name| cluster.counter(name));
    let before = counts();
    work().ok()?;
    let after = counts();
    Some([after[0] - before[0], after[1] - before[1]])
}

/// Who sends counts, not who made the socket. A datagram may get no answer just when it changes how
/// the sender is treated.
fn ask(from: &Namespace, dst: SocketAddr) -> io::Result<()> {
    assert_eq!(http_get(from, dst, None, PATIENCE)?.peer, dst);
    let dst = SocketAddr::new(dst.ip(), 53);
    for make in [UdpClient::open, UdpClient::connect] {
        let client = make(from, dst, None, Duration::from_secs(1))?;
        from.run(|| client.ask())?;
    }
    Ok(())
}

#[test]
fn a_pod_that_says_so_is_left_to_its_packets_until_it_says_so_no_more() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, &["--socket-lb=all"]);
    let shy = cluster.node.pod_with_uid("shy", UID);
    let (at_sockets, as_packets) = ([3, 0], [0, 3]);
    let is = |expected: [u64; 2]| {
        cluster_ips().into_iter().all(|dst| new(&cluster, || ask(&shy.ns, dst)) == Some(expected))
    };
    for dst in cluster_ips() {
        wait_for_answer(&shy.ns, dst);
    }
    assert!(is(at_sockets), "like all others");
    cluster.manifests.write("pods.yaml", &[pod(&cluster, "off")]);
    wait_until("the pod is left alone", PATIENCE, || is(as_packets));
    for dst in cluster_ips() {
        assert_eq!(
            new(&cluster, || ask(&cluster.pod.ns, dst)),
            Some(at_sockets),
            "the others are not"
        );
        assert_eq!(
            new(&cluster, || ask(&cluster.node.ns, dst)),
            Some(at_sockets),
            "nor is the node"
        );
    }
    cluster.manifests.write("pods.yaml", &[pod(&cluster, "on")]);
    wait_until("the pod is like all others", PATIENCE, || is(at_sockets));
}

/// Connects by MPTCP, asks for something, and returns whom the socket says it talks to.
fn ask_by_mptcp(from: &Namespace, dst: SocketAddr) -> SocketAddr {
    let socket = from.run(|| {
        let protocol = Protocol::from(IPPROTO_MPTCP);
        let socket = Socket::new(Domain::for_address(dst), Type::STREAM, Some(protocol)).unwrap();
        socket.connect(&dst.into()).unwrap();
        socket
    });
    let mut stream = TcpStream::from(socket);
    let peer = stream.peer_addr().unwrap();
    write!(stream, "GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("web1"), "{answer}");
    peer
}

/// Those of pods are translated as packets, as with kube-proxy. Processes of the node have no such
/// packets: the socket that carries theirs is translated. Whoever asks is told what was dialled.
#[test]
fn mptcp_sockets_reach_services_and_name_what_they_have_dialled() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, &["--socket-lb=all"]);
    let counts = || ["SOCKETS_V4", "SOCKETS_V6"].map(|map| entries(&cluster, map));
    for dst in cluster_ips() {
        wait_for_answer(&cluster.node.ns, dst);
        let ask = |from: &Namespace| {
            assert_eq!(ask_by_mptcp(from, dst), dst);
            Ok(())
        };
        let made = new(&cluster, || ask(&cluster.pod.ns));
        assert_eq!(made, Some([0, 1]), "{dst} from the pod");
        let made = new(&cluster, || ask(&cluster.node.ns));
        assert_eq!(made, Some([1, 0]), "{dst} from the node");
        assert_eq!(counts(), [0; 2], "what is closed leaves nothing");
    }
}

#[test]
fn an_mptcp_socket_that_dials_a_pod_itself_is_told_so() {
    let cluster = Cluster::new(Topology::Routed, 1);
    for dst in cluster.servers[0].sockets() {
        assert_eq!(ask_by_mptcp(&cluster.node.ns, dst), dst);
    }
}

/// The tap of a machine comes when the machine starts, a while after its pod.
#[test]
fn a_namespace_with_the_interface_of_a_machine_is_left_to_its_packets() {
    let flags = ["--socket-lb=all", "--socket-lb-skip-interfaces=k6t-*,tap*"];
    let cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    let machine = cluster.node.pod("machine");
    let (at_sockets, as_packets) = ([3, 0], [0, 3]);
    let is = |expected: [u64; 2]| {
        cluster_ips()
            .into_iter()
            .all(|dst| new(&cluster, || ask(&machine.ns, dst)) == Some(expected))
    };
    for dst in cluster_ips() {
        wait_for_answer(&machine.ns, dst);
    }
    assert!(is(at_sockets), "like all others");
    machine.ns.ip("tuntap add tap0 mode tap");
    wait_until("the machine is left alone", PATIENCE, || is(as_packets));
    for dst in cluster_ips() {
        assert_eq!(
            new(&cluster, || ask(&cluster.pod.ns, dst)),
            Some(at_sockets),
            "the others are not"
        );
    }
    machine.ns.ip("link delete tap0");
    wait_until("the machine is gone", PATIENCE, || is(at_sockets));
}
