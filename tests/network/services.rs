//! Services over real sockets: who answers, and what both ends see.

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, Server, cluster_ips, slices, web};

/// A hundred requests to `dst` reach all of three servers, each with a fair share.
#[track_caller]
fn check_shares(from: &Namespace, dst: SocketAddr) {
    let shares = Cluster::ask(from, dst, 100);
    assert_eq!(shares.len(), 3, "{dst}: {shares:?}");
    assert!(shares.values().all(|share| (15..=55).contains(share)), "{dst}: {shares:?}");
}

#[track_caller]
fn check_reached_everywhere(topology: Topology) {
    let cluster = Cluster::new(topology, 3);
    for dst in cluster_ips() {
        check_shares(&cluster.pod.ns, dst);
    }
    for dst in cluster.node_ports() {
        check_shares(&cluster.client.ns, dst);
        check_shares(&cluster.pod.ns, dst);
    }
}

#[test]
fn pods_reach_cluster_ips_and_the_world_node_ports_over_routed_links() {
    check_reached_everywhere(Topology::Routed);
}

#[test]
fn pods_reach_cluster_ips_and_the_world_node_ports_over_a_bridge() {
    check_reached_everywhere(Topology::Bridge);
}

/// UDP answers come from the address that was asked, to unconnected and to connected sockets.
#[track_caller]
fn check_udp(from: &Namespace, dst: SocketAddr) {
    for open in [UdpClient::open, UdpClient::connect] {
        let answer = open(from, dst, None, PATIENCE).unwrap().ask().expect("an answer by UDP");
        assert_eq!(answer.from, dst);
        assert!(answer.name.starts_with("web"), "{answer:?}");
    }
}

#[test]
fn udp_answers_come_from_the_address_that_was_asked() {
    for topology in [Topology::Routed, Topology::Bridge] {
        let cluster = Cluster::new(topology, 2);
        for mut dst in cluster_ips() {
            dst.set_port(53);
            check_udp(&cluster.pod.ns, dst);
        }
        for dst in cluster.node_ports() {
            check_udp(&cluster.client.ns, dst);
        }
    }
}

#[test]
fn bulk_data_arrives_whole_in_both_directions() {
    const LENGTH: usize = 8 << 20;
    let cluster = Cluster::new(Topology::Routed, 1);
    for dst in cluster_ips() {
        let mut connection = Connection::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
        let sent = connection.post("/count", &vec![0x5a; LENGTH]).expect("an answer");
        assert_eq!(sent.body, LENGTH.to_string().into_bytes());
        let received = connection.get(&format!("/bytes/{LENGTH}")).expect("an answer");
        assert_eq!(received.body.len(), LENGTH);
    }
}

#[test]
fn new_connections_follow_the_endpoints_and_old_ones_stay() {
    let cluster = Cluster::new(Topology::Routed, 3);
    let [dst, _] = cluster_ips();
    let mut old: Vec<_> =
        (0..12).map(|_| Connection::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap()).collect();
    let names: Vec<_> = old.iter_mut().map(|c| c.get("/").unwrap().name).collect();
    cluster.write_web(1);
    wait_until("only web1 answers", PATIENCE, || {
        Cluster::ask(&cluster.pod.ns, dst, 12).keys().eq(["web1"])
    });
    let still: Vec<_> = old.iter_mut().map(|c| c.get("/").unwrap().name).collect();
    assert_eq!(still, names);
    cluster.write_web(3);
    wait_until("all three answer", PATIENCE, || Cluster::ask(&cluster.pod.ns, dst, 40).len() == 3);
}

#[test]
fn a_client_with_affinity_keeps_its_pod_over_all_addresses_of_the_service() {
    let mut cluster = Cluster::new(Topology::Routed, 3);
    let [v4, v6] = slices("default/web", &cluster.servers);
    let sticky = web().affinity(10_800);
    cluster.manifests.write("web.yaml", &[sticky.object(), v4.object(), v6.object()]);
    for (dst, node_port) in cluster_ips().into_iter().zip(cluster.node_ports()) {
        let node = &cluster.pod.ns;
        cluster.agent.wait_ready("one pod answers", PATIENCE, || {
            match Cluster::ask(node, dst, 12).len() {
                1 => Ok(()),
                pods => Err(format!("{pods} pods answer")),
            }
        });
        let chosen = Cluster::ask(node, dst, 20);
        assert_eq!(
            chosen.keys().collect::<Vec<_>>(),
            Cluster::ask(node, node_port, 20).keys().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_service_that_goes_takes_its_addresses_along() {
    let cluster = Cluster::new(Topology::Routed, 1);
    cluster.manifests.remove("web.yaml");
    for dst in cluster_ips() {
        wait_until("nobody answers", PATIENCE, || {
            http_get(&cluster.pod.ns, dst, None, Duration::from_millis(200)).is_err()
        });
    }
}

#[test]
fn a_pod_that_comes_later_asks_and_answers_without_a_restart() {
    for topology in [Topology::Routed, Topology::Bridge] {
        let mut cluster = Cluster::new(topology, 1);
        let late = Server::start(&cluster.node, "late");
        for dst in cluster_ips() {
            wait_until("the late pod is served", PATIENCE, || {
                http_get(&late.pod.ns, dst, None, Duration::from_secs(1)).is_ok()
            });
        }
        cluster.servers.push(late);
        cluster.write_web(2);
        let [dst, _] = cluster_ips();
        wait_until("the late pod serves", PATIENCE, || {
            Cluster::ask(&cluster.pod.ns, dst, 20).contains_key("late")
        });
    }
}
