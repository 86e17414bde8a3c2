//! Floods of flows that come to nothing, next to connections that must not notice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::lab::{Namespace, Topology, let_pass};
use lb_tests::traffic::{Connection, Flood, SOURCES};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, flow_metrics, slices, web};
use crate::lifecycle::StopOnDrop;
use crate::pair::wait_for_answer;

/// Connections of each of four kinds: by ClusterIP and by NodePort, by IPv4 and by IPv6. Half of
/// them are silent during the floods, the others ask now and then.
const EACH: usize = 50;
/// Of each family; far more than there is room for.
const SYNS: u32 = 500_000;
/// Of each family.
const DATAGRAMS: u32 = 150_000;
/// Room for entries of each family.
const ROOM: &str = "--max-flows=65536";

/// Between two questions of busy connections.
const PAUSE: Duration = Duration::from_millis(20);

/// Established connections, by what they are.
type Connections = BTreeMap<&'static str, Vec<Connection>>;

/// A kind of connections, who opens them and where to.
type Kind<'a> = (&'static str, &'a Namespace, SocketAddr);

fn open(kinds: &[Kind<'_>]) -> Connections {
    let open = |(kind, from, dst): &Kind<'_>| {
        (*kind, (0..EACH / 2).map(|_| connect(from, *dst)).collect())
    };
    kinds.iter().map(open).collect()
}

fn connect(from: &Namespace, dst: SocketAddr) -> Connection {
    let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
    connection.get("/").expect("an answer");
    connection
}

/// How many connections of each kind do not answer any more; those are closed.
fn broken(connections: &mut Connections) -> BTreeMap<&'static str, usize> {
    let ask = |connections: &mut Vec<Connection>| {
        let before = connections.len();
        connections.retain_mut(|connection| connection.get("/").is_ok());
        before - connections.len()
    };
    let kinds = connections.iter_mut().map(|(kind, connections)| (*kind, ask(connections)));
    kinds.filter(|(_, broken)| *broken > 0).collect()
}

/// What is made anew for a connection whose entries were evicted leads elsewhere: its backend has left
/// the Service.
#[test]
fn established_connections_live_through_floods() {
    let cluster = Cluster::with_flags(Topology::Routed, 2, &[ROOM]);
    for source in SOURCES {
        // Else the answers of the flood would be answered by errors.
        cluster.lab.router.ip(&format!("route add blackhole {source}"));
    }
    let [cluster_v4, cluster_v6] = cluster_ips();
    let [node_v4, node_v6] = cluster.node_ports();
    let kinds = [
        ("ClusterIP, IPv4", &cluster.pod.ns, cluster_v4),
        ("ClusterIP, IPv6", &cluster.pod.ns, cluster_v6),
        ("NodePort, IPv4", &cluster.client.ns, node_v4),
        ("NodePort, IPv6", &cluster.client.ns, node_v6),
    ];
    serve_by(&cluster, 0, &kinds);
    let (mut silent, mut busy) = (open(&kinds), open(&kinds));
    serve_by(&cluster, 1, &kinds);
    let floods = [
        ("SYNs", Flood::of_syns as fn(_) -> _, SYNS),
        ("datagrams", Flood::of_datagrams, DATAGRAMS),
    ];
    let mut lost = Vec::new();
    for (what, flood, count) in floods {
        let started = Instant::now();
        while_asking(&mut busy, || {
            for dst in cluster.node_ports() {
                flood(dst).send(&cluster.client.ns, count);
            }
        });
        let time = started.elapsed();
        eprintln!("{} {what} in {time:?}\n{}", 2 * count, flow_metrics(&cluster.node));
        for (how, connections) in [("silent", &mut silent), ("busy", &mut busy)] {
            lost.push((what, how, broken(connections)));
        }
    }
    eprintln!("{lost:?}");
    assert!(lost.iter().all(|(_, _, broken)| broken.is_empty()), "broken by the flood: {lost:?}");
}

/// Makes the server with this index the only endpoint of the Service.
fn serve_by(cluster: &Cluster, server: usize, kinds: &[Kind<'_>]) {
    let [v4, v6] = slices("default/web", &cluster.servers[server..=server]);
    cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    for (_, from, dst) in kinds {
        wait_for_answer(from, *dst, &cluster.servers[server].pod.name);
    }
}

/// Does `work` while all of the connections ask in turn, each every few seconds. One that gets no
/// answer is found later.
fn while_asking(connections: &mut Connections, work: impl FnOnce()) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for connection in connections.values_mut().flatten() {
                    connection.get("/").ok();
                    let_pass(PAUSE);
                }
            }
        });
        let _stop = StopOnDrop(&is_done);
        work();
    });
}
