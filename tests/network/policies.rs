//! Who may ask and who answers: policies, hints, source ranges, affinity, node port addresses.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, UPLINK, let_pass, wait_until};
use lb_tests::objects::{Node, Slice};
use lb_tests::traffic::{Connection, http_get};

use crate::cluster::{Cluster, NODE_PORT, PATIENCE, cluster_ips, slices, web};

/// Addresses of a load balancer, which the world outside sends to the node.
const BALANCER: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];
/// How long a client waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(400);

fn balancer() -> [SocketAddr; 2] {
    BALANCER.map(|ip| SocketAddr::new(ip.parse().expect("an address"), 80))
}

/// Whether `dst` does not answer at all: a refusal is an answer.
fn is_silent(from: &Namespace, dst: SocketAddr) -> bool {
    http_get(from, dst, None, SILENCE).is_err_and(|error| error.kind() == ErrorKind::TimedOut)
}

/// A cluster whose service `default/web` also has [`BALANCER`], changed by `change`.
fn behind_balancer(
    servers: usize,
    change: impl FnOnce(lb_tests::objects::Service) -> lb_tests::objects::Service,
) -> Cluster {
    let cluster = Cluster::new(Topology::Routed, servers);
    for ip in BALANCER {
        cluster.client.route(ip, &cluster.node);
    }
    let service = BALANCER.into_iter().fold(web(), lb_tests::objects::Service::load_balancer_ip);
    let [v4, v6] = slices("default/web", &cluster.servers);
    let objects = [change(service).object(), v4.object(), v6.object()];
    cluster.manifests.write("web.yaml", &objects);
    cluster
}

/// kube-proxy-behaviour §4.3: the address that the server sees is the client's own, which
/// [`Cluster::ask`] asserts of every answer.
#[test]
fn under_the_external_policy_local_the_server_sees_the_true_client() {
    let mut cluster = behind_balancer(2, lb_tests::objects::Service::external_local);
    let client = &cluster.client.ns;
    for dst in balancer().into_iter().chain(cluster.node_ports()) {
        cluster.agent.wait_ready(&format!("{dst} answers"), PATIENCE, || {
            http_get(client, dst, None, Duration::from_secs(1))
        });
        assert_eq!(Cluster::ask(client, dst, 30).len(), 2, "{dst}");
    }
}

/// kube-proxy-behaviour §4.5: ranges guard the load balancer's addresses, from pods too, and
/// nothing else.
#[test]
fn source_ranges_admit_their_clients_to_the_balancer_and_guard_nothing_else() {
    let mut cluster = behind_balancer(1, |service| {
        service.source_range(" 192.168.0.101/32").source_range("fd00:c0::101/128")
    });
    let client = &cluster.client.ns;
    for dst in balancer() {
        cluster.agent.wait_ready(&format!("{dst} answers"), PATIENCE, || {
            http_get(client, dst, None, Duration::from_secs(1))
        });
        assert!(is_silent(&cluster.pod.ns, dst), "{dst}");
    }
    assert!(cluster.counter("drop_source_range") >= 2);
    for dst in cluster_ips().into_iter().chain(cluster.node_ports()) {
        Cluster::ask(&cluster.pod.ns, dst, 3);
    }
    let [v4, v6] = slices("default/web", &cluster.servers);
    let closed = BALANCER.into_iter().fold(web(), lb_tests::objects::Service::load_balancer_ip);
    let closed = closed.source_range("203.0.113.0/24").source_range("2001:db8:ffff::/48");
    cluster.manifests.write("web.yaml", &[closed.object(), v4.object(), v6.object()]);
    for dst in balancer() {
        wait_until(&format!("{dst} is silent"), PATIENCE, || is_silent(client, dst));
    }
}

/// kube-proxy-behaviour §4.8: the time counts from the last new connection.
#[test]
fn a_client_sticks_to_its_pod_until_the_affinity_has_expired() {
    const TIMEOUT_S: u32 = 1;
    let mut cluster = Cluster::new(Topology::Routed, 4);
    let [v4, v6] = slices("default/web", &cluster.servers);
    let objects = [web().affinity(TIMEOUT_S).object(), v4.object(), v6.object()];
    cluster.manifests.write("web.yaml", &objects);
    let [dst, _] = cluster_ips();
    let ns = &cluster.pod.ns;
    let ask = || Cluster::ask(ns, dst, 10);
    cluster.agent.wait_ready("one pod answers", PATIENCE, || match ask().len() {
        1 => Ok(()),
        pods => Err(format!("{pods} pods answer")),
    });
    // Each round lets the affinity expire; the chance to get the same pod twenty times is nil.
    let first = ask();
    let moved = (0..20).any(|_| {
        let_pass(Duration::from_secs(u64::from(TIMEOUT_S)) * 2 + Duration::from_millis(200));
        let next = ask();
        assert_eq!(next.len(), 1, "{next:?}");
        next.keys().ne(first.keys())
    });
    assert!(moved, "the client never leaves {first:?}");
}

/// The slices of `default/web` in which each server is hinted for the zone of its number.
fn hinted(cluster: &Cluster, zones: &[&str]) -> [Slice; 2] {
    let mut families = slices("default/web", &[]);
    for (server, zone) in cluster.servers.iter().zip(zones) {
        for (slice, socket) in families.iter_mut().zip(server.sockets()) {
            let endpoint = slice.clone().endpoint(&socket.ip().to_string());
            *slice = endpoint.on("elsewhere").for_zones(&[zone]);
        }
    }
    families
}

#[track_caller]
fn wait_for_answers_of(cluster: &Cluster, dst: SocketAddr, server: &str) {
    wait_until(&format!("only {server} answers"), PATIENCE, || {
        Cluster::ask(&cluster.pod.ns, dst, 12).keys().eq([server])
    });
}

/// kube-proxy-behaviour §3.1, §4.2.
#[test]
fn changed_hints_move_new_connections_and_leave_old_ones() {
    let cluster = Cluster::new(Topology::Routed, 2);
    let node = Node::from(&cluster.node).zone("a");
    cluster.manifests.write("node.yaml", &[node.object()]);
    let write = |zones| {
        let [v4, v6] = hinted(&cluster, zones);
        cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    };
    let [dst, _] = cluster_ips();
    write(&["a", "b"]);
    wait_for_answers_of(&cluster, dst, "web1");
    let mut old = Connection::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
    assert_eq!(old.get("/").unwrap().name, "web1");
    write(&["b", "a"]);
    wait_for_answers_of(&cluster, dst, "web2");
    assert_eq!(old.get("/").unwrap().name, "web1");
}

/// kube-proxy-behaviour §4.7.
#[test]
fn node_ports_follow_the_addresses_of_the_node() {
    const ADDED: [&str; 2] = ["192.168.77.1", "fd00:77::1"];
    let networks = "--nodeport-addresses=192.168.0.0/16,fd00::/16";
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, &[networks]);
    for ip in ADDED {
        cluster.client.route(ip, &cluster.node);
    }
    let node = &cluster.node.ns;
    let dialled: BTreeMap<_, _> = ADDED
        .into_iter()
        .map(|ip| (ip, SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), NODE_PORT)))
        .collect();
    for (ip, dst) in &dialled {
        node.ip(&format!("addr add {ip} dev {UPLINK}"));
        cluster.agent.wait_ready(&format!("{dst} answers"), PATIENCE, || {
            http_get(&cluster.client.ns, *dst, None, Duration::from_secs(1))
        });
    }
    for (ip, dst) in &dialled {
        let length = if dst.is_ipv4() { 32 } else { 128 };
        node.ip(&format!("addr del {ip}/{length} dev {UPLINK}"));
        wait_until(&format!("{dst} does not answer"), PATIENCE, || {
            http_get(&cluster.client.ns, *dst, None, SILENCE).is_err()
        });
    }
    for dst in cluster.node_ports() {
        Cluster::ask(&cluster.client.ns, dst, 3);
    }
}
