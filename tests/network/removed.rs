//! Connections of pods and of clients outside to an endpoint that is removed: they end where asked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, let_pass, wait_for};
use lb_tests::objects::Slice;
use lb_tests::traffic::{Connection, pattern};

use crate::cluster::{Cluster, PATIENCE, Server, cluster_ips, slices, web};
use crate::pair::wait_for_answer;

/// Longer than a datapath may take to look at the endpoint of a connection again.
const SETTLED: Duration = Duration::from_secs(2);

/// Makes the second server the endpoint; with `is_ending`, the first one is there and serves no more.
fn write(cluster: &Cluster, is_ending: bool) {
    let first = cluster.servers[0].sockets().map(|at| at.ip().to_string());
    let slices = slices("default/web", &cluster.servers[1..]);
    let with = |(slice, ip): (Slice, &String)| {
        if is_ending { slice.endpoint(ip).terminating(false).object() } else { slice.object() }
    };
    let mut objects: Vec<_> = slices.into_iter().zip(&first).map(with).collect();
    objects.push(web().object());
    cluster.manifests.write("web.yaml", &objects);
    for (from, dst) in askers(cluster) {
        wait_for_answer(from, dst, "web2");
    }
}

/// Who asks whom: a pod the ClusterIPs, a client outside the node ports, behind which he is hidden.
fn askers(cluster: &Cluster) -> [(&Namespace, SocketAddr); 4] {
    let ([a, b], [c, d]) = (cluster_ips(), cluster.node_ports());
    let (pod, client) = (&cluster.pod.ns, &cluster.client.ns);
    [(pod, a), (pod, b), (client, c), (client, d)]
}

/// A world with a second server and connections to the first.
fn world(flags: &[&str]) -> (Cluster, Vec<Connection>) {
    let flags = [&["--masquerade=kube-proxy"], flags].concat();
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    cluster.servers.push(Server::start(&cluster.node, "web2"));
    let open = |(from, dst)| Connection::open(from, dst, None, PATIENCE).expect("a connection");
    let mut connections: Vec<_> = askers(&cluster).into_iter().map(open).collect();
    check_alive(&mut connections);
    (cluster, connections)
}

#[track_caller]
fn check_alive(connections: &mut [Connection]) {
    for connection in connections {
        assert_eq!(connection.get("/").expect("an answer").name, "web1");
    }
}

#[test]
fn clients_of_a_removed_endpoint_are_sent_a_reset_where_asked_for_but_not_of_one_that_ends() {
    let (cluster, mut connections) = world(&["--terminate-tcp=removed"]);
    write(&cluster, true);
    let_pass(SETTLED);
    check_alive(&mut connections);
    assert_eq!(cluster.counter("reject_removed_endpoint"), 0);
    write(&cluster, false);
    for (index, connection) in connections.iter_mut().enumerate() {
        let error = wait_for("the connection has ended", PATIENCE, || {
            // What a segment carries makes no difference, nor that it is too large for a link.
            let answer = match index % 2 {
                0 => connection.get("/"),
                _ => connection.post("/echo", &pattern(1 << 20)),
            };
            answer.err().ok_or("it has not")
        });
        let ends = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(ends.contains(&error.kind()), "{error}");
    }
    assert!(cluster.counter("reject_removed_endpoint") >= 4);
}

#[test]
fn clients_of_a_removed_endpoint_stay_with_it_as_with_kube_proxy() {
    let (cluster, mut connections) = world(&[]);
    write(&cluster, false);
    let_pass(SETTLED);
    check_alive(&mut connections);
    assert_eq!(cluster.counter("reject_removed_endpoint"), 0);
}
