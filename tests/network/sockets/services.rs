//! Which backend a socket gets, and for how long.

use std::net::{IpAddr, SocketAddr};

use lb_tests::lab::{Lab, Topology, wait_until};
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices, web};
use crate::pair::{self, Pair, balancer, node_ports};
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
fn processes_of_a_node_reach_pods_of_others_under_the_address_that_the_route_gives_them() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let [first, second] = &pair.nodes;
    pair.write(&pair::web().external_local(), &pair.servers[1..]);
    let own = [IpAddr::from(first.v4), first.v6.into()];
    for dst in [cluster_ips(), node_ports(first), balancer()].concat() {
        wait_for_answer(&first.ns, dst);
        let answer = http_get(&first.ns, dst, None, PATIENCE).unwrap();
        assert_eq!((answer.name.as_str(), answer.peer), ("web2", dst));
        let seen = answer.seen_peer.map(|seen| seen.ip());
        assert!(own.iter().any(|own| seen == Some(*own)), "{dst}: {seen:?}");
    }
    // What is no address of this node is the other's to serve.
    for dst in node_ports(second) {
        wait_for_answer(&first.ns, dst);
    }
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
