//! Backends on another node: over routed links, over VXLAN, and through a tunnel that carries no
//! Ethernet headers.

use lb_tests::lab::{Carrier, Lab, Topology};

use crate::cluster::cluster_ips;
use crate::pair::{
    BALANCER, Pair, Seen, balancer, check_asked, check_bulk, node_ports, wait_for_answer, web,
};

const TOPOLOGIES: [Topology; 2] = [Topology::Routed, Topology::Bridge];

/// A pod asks a ClusterIP whose only backend is on the other node, from either side.
#[track_caller]
fn check_pods_reach_the_other_node(carrier: Carrier) {
    for topology in TOPOLOGIES {
        let pair = Pair::new(Lab::with(carrier, 1500), topology);
        for (pod, there) in [(&pair.pods[0], 1), (&pair.pods[1], 0)] {
            let server = &pair.servers[there..=there];
            let name = &server[0].pod.name;
            pair.write(&web(), server);
            for dst in cluster_ips() {
                wait_for_answer(&pod.ns, dst, name);
                check_asked(&pod.ns, dst, name, Seen::Client);
            }
        }
    }
}

#[test]
fn pods_reach_backends_of_the_other_node_over_routed_links() {
    check_pods_reach_the_other_node(Carrier::Routed);
}

#[test]
fn pods_reach_backends_of_the_other_node_over_vxlan() {
    check_pods_reach_the_other_node(Carrier::Vxlan);
}

#[test]
fn pods_reach_backends_of_the_other_node_through_a_tunnel_without_ethernet_headers() {
    check_pods_reach_the_other_node(Carrier::Headerless);
}

/// kube-proxy-behaviour §3.4: pods short-circuit `externalTrafficPolicy: Local`, and everybody sees
/// true clients.
#[test]
fn pods_reach_a_balancer_whose_local_backends_are_on_the_other_node() {
    for carrier in Carrier::ALL {
        let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
        pair.write(&web().external_local(), &pair.servers[1..]);
        for (dst, ip) in balancer().into_iter().zip(BALANCER) {
            pair.client.route(ip, &pair.nodes[1]);
            for from in [&pair.pods[0].ns, &pair.client.ns] {
                wait_for_answer(from, dst, "web2");
                check_asked(from, dst, "web2", Seen::Client);
            }
        }
    }
}

#[test]
fn bulk_data_comes_back_whole_from_the_other_node() {
    for carrier in Carrier::ALL {
        let pair = Pair::new(Lab::with(carrier, 1500), Topology::Bridge);
        pair.write(&web(), &pair.servers[1..]);
        for dst in cluster_ips() {
            wait_for_answer(&pair.pods[0].ns, dst, "web2");
            check_bulk(&pair.pods[0].ns, dst, 32 << 20);
        }
    }
}

/// A client outside asks the first node, whose only backend is on the second: the backend must
/// answer to the first node, at the address by which it is reached.
#[track_caller]
fn check_node_ports_lead_to_the_other_node(carrier: Carrier) {
    for topology in TOPOLOGIES {
        let pair = Pair::new(Lab::with(carrier, 1500), topology);
        pair.write(&web(), &pair.servers[1..]);
        let [first, _] = &pair.nodes;
        for (dst, hidden) in node_ports(first).into_iter().zip(first.addresses_towards_pods()) {
            wait_for_answer(&pair.client.ns, dst, "web2");
            check_asked(&pair.client.ns, dst, "web2", Seen::Other(hidden));
        }
    }
}

#[test]
fn node_ports_lead_to_the_other_node_over_routed_links() {
    check_node_ports_lead_to_the_other_node(Carrier::Routed);
}

#[test]
fn node_ports_lead_to_the_other_node_over_vxlan() {
    check_node_ports_lead_to_the_other_node(Carrier::Vxlan);
}

#[test]
fn node_ports_lead_to_the_other_node_through_a_tunnel_without_ethernet_headers() {
    check_node_ports_lead_to_the_other_node(Carrier::Headerless);
}

#[test]
fn bulk_data_comes_back_whole_from_behind_a_node_port() {
    for carrier in Carrier::ALL {
        let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
        pair.write(&web(), &pair.servers[1..]);
        for dst in node_ports(&pair.nodes[0]) {
            wait_for_answer(&pair.client.ns, dst, "web2");
            check_bulk(&pair.client.ns, dst, 32 << 20);
        }
    }
}
