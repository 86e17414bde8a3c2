//! Which backend a socket gets, and for how long.

use std::net::SocketAddr;

use lb_tests::lab::{Topology, wait_until};
use lb_tests::traffic::{Connection, UdpClient};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices, web};
use crate::sockets::wait_for_answer;

#[test]
fn processes_of_a_node_are_spread_over_all_pods_which_see_the_node() {
    let cluster = Cluster::new(Topology::Routed, 3);
    let before = cluster.counter("new_flow");
    for dst in cluster_ips().into_iter().chain(cluster.node_ports()) {
        wait_for_answer(&cluster.node.ns, dst);
        let shares = Cluster::ask(&cluster.node.ns, dst, 100);
        assert_eq!(shares.len(), 3, "{dst}: {shares:?}");
        assert!(shares.values().all(|share| (10..=60).contains(share)), "{dst}: {shares:?}");
    }
    assert_eq!(cluster.counter("new_flow"), before, "no packet was translated");
}

#[test]
fn affinity_holds_for_the_processes_of_a_node() {
    let cluster = Cluster::new(Topology::Routed, 3);
    let [v4, v6] = slices("default/web", &cluster.servers);
    cluster.manifests.write("web.yaml", &[web().affinity(60).object(), v4.object(), v6.object()]);
    for dst in cluster_ips() {
        wait_until("one pod answers", PATIENCE, || {
            Cluster::ask(&cluster.node.ns, dst, 12).len() == 1
        });
    }
}

#[test]
fn datagrams_stay_with_a_pod_while_it_serves_and_then_go_to_another() {
    let cluster = Cluster::new(Topology::Routed, 3);
    for tcp in cluster_ips() {
        let dst = SocketAddr::new(tcp.ip(), 53);
        cluster.write_web(3);
        wait_until("all three answer", PATIENCE, || {
            Cluster::ask(&cluster.node.ns, tcp, 40).len() == 3
        });
        // Of the pods that one endpoint less leaves out, the last must be the one that is held.
        let (client, held) = loop {
            let client = UdpClient::open(&cluster.node.ns, dst, None, PATIENCE).unwrap();
            let held = client.ask().unwrap().name;
            if held == "web3" {
                break (client, held);
            }
        };
        for _ in 0..20 {
            assert_eq!(client.ask().unwrap().name, held);
        }
        cluster.write_web(2);
        wait_until("another pod answers", PATIENCE, || client.ask().unwrap().name != held);
        let other = client.ask().unwrap().name;
        for _ in 0..20 {
            assert_eq!(client.ask().unwrap().name, other);
        }
    }
}

#[test]
fn a_connection_outlives_the_endpoint_and_the_service_it_came_by() {
    let cluster = Cluster::new(Topology::Routed, 1);
    for dst in cluster_ips() {
        cluster.write_web(1);
        wait_for_answer(&cluster.node.ns, dst);
        let mut connection = Connection::open(&cluster.node.ns, dst, None, PATIENCE).unwrap();
        connection.get("/").unwrap();
        cluster.manifests.remove("web.yaml");
        wait_until("the service is gone", PATIENCE, || {
            let answer = Connection::open(&cluster.node.ns, dst, None, PATIENCE);
            answer.is_err()
        });
        assert_eq!(connection.get("/").unwrap().peer, dst);
    }
}
