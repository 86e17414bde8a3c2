//! A pod that asks a service and is the one that answers.

use std::net::IpAddr;

use lb_tests::lab::Topology;

use crate::cluster::{Cluster, cluster_ips};
use crate::pair::{Seen, check_asked, check_bulk, node_ports, wait_for_answer, write_web};

/// The pod must not see itself, or it would answer itself directly: it sees the node, by the address
/// of the interface that its packets come back by.
#[track_caller]
fn check_hairpin(topology: Topology, seen: [IpAddr; 2]) {
    let cluster = Cluster::new(topology, 1);
    write_web(&cluster);
    let own = &cluster.servers[0].pod.ns;
    for frontends in [cluster_ips(), node_ports(&cluster.node)] {
        for (dst, seen) in frontends.into_iter().zip(seen) {
            wait_for_answer(own, dst, "web1");
            check_asked(own, dst, "web1", Seen::Other(seen));
            check_bulk(own, dst, 8 << 20);
        }
    }
}

#[test]
fn a_pod_on_a_routed_link_reaches_itself_through_its_service() {
    check_hairpin(Topology::Routed, ["192.168.0.11", "fd00:c0::11"].map(|ip| ip.parse().unwrap()));
}

#[test]
fn a_pod_on_a_bridge_reaches_itself_through_its_service() {
    check_hairpin(Topology::Bridge, ["10.1.0.1", "fd00:10:1::1"].map(|ip| ip.parse().unwrap()));
}
