//! Path MTU discovery through a service: the errors of a narrow hop reach who can heed them.

use std::net::{IpAddr, SocketAddr};

use lb_tests::lab::{Carrier, Lab, Namespace, Topology};
use lb_tests::traffic::Connection;

use crate::cluster::{Cluster, PATIENCE, cluster_ips};
use crate::pair::{BALANCER, Pair, balancer, node_ports, wait_for_answer, web};

/// Bytes each way: much more than the first flight.
const LENGTH: u64 = 4 << 20;
/// What the narrow hop takes; all links take 1500.
const NARROW: u32 = 1400;

/// The narrow hop is the node's side of the backend's link: the backend itself knows nothing of it and
/// lets clients send segments of 1500 bytes, which the node does not get through.
#[test]
fn large_transfers_to_a_service_complete_over_a_narrow_link_of_its_backend() {
    let cluster = Cluster::new(Topology::Routed, 1);
    cluster.node.ns.ip(&format!("link set {} mtu {NARROW}", cluster.servers[0].pod.host_link));
    let outside: (&Namespace, _) = (&cluster.client.ns, cluster.node_ports());
    for (from, dsts) in [outside, (&cluster.pod.ns, cluster_ips())] {
        for dst in dsts {
            let before = cluster.counter("error_translated");
            let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
            connection.send_stream(LENGTH).unwrap_or_else(|error| panic!("{dst}: {error}"));
            assert!(cluster.counter("error_translated") > before, "{dst}");
        }
    }
}

/// Which way the bulk goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Between the client and the first node: too large is what the backends send, and its errors are
/// about the frontend, so the node must translate them.
const BEFORE_THE_NODE: Way = Way::Down;
/// Between the nodes: too large is what clients send, and its errors are about the backend.
const BEHIND_THE_NODE: Way = Way::Up;

impl Pair {
    /// Transfers to and from `dst` over the router's narrow hop, with nothing known of it before.
    #[track_caller]
    fn check_over_hop(&self, from: &Namespace, dst: SocketAddr, translated: Way) {
        for way in [Way::Up, Way::Down] {
            let what = format!("{way:?} {dst}");
            self.forget_path_mtus();
            let (dropped, errors) = (self.lab.too_large(), self.counter(0, "error_translated"));
            let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
            let done = match way {
                Way::Up => connection.send_stream(LENGTH),
                Way::Down => connection.receive_stream(LENGTH),
            };
            done.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(self.lab.too_large() > dropped, "{what}: nothing was too large");
            let some = self.counter(0, "error_translated") > errors;
            assert_eq!(some, way == translated, "{what}: errors were translated");
        }
    }

    fn forget_path_mtus(&self) {
        let pods = self.pods.iter().chain(self.servers.iter().map(|server| &server.pod));
        let all = pods.map(|pod| &pod.ns).chain(self.nodes.iter().map(|node| &node.ns));
        for ns in all.chain([&self.client.ns]) {
            ns.forget_path_mtus();
        }
    }

    /// All that clients outside dial at the first node.
    fn dialled_outside(&self) -> [SocketAddr; 4] {
        let ([a, b], [c, d]) = (balancer(), node_ports(&self.nodes[0]));
        [a, b, c, d]
    }
}

/// The second node's check of reverse paths would not take errors from the router by way of an overlay.
#[track_caller]
fn check_hop_before_the_node(carrier: Carrier) {
    let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
    let ([node, _], client) = (&pair.nodes, &pair.client);
    let own = [IpAddr::from(client.v4), client.v6.into()];
    for ((via, own), ip) in
        [IpAddr::from(node.v4), node.v6.into()].into_iter().zip(own).zip(BALANCER)
    {
        for dialled in [&via.to_string(), ip] {
            pair.lab.narrow(&client.ns, dialled, via, NARROW);
        }
        pair.lab.narrow(&node.ns, &own.to_string(), own, NARROW);
    }
    for server in &pair.servers {
        pair.write(&web(), std::slice::from_ref(server));
        for dst in pair.dialled_outside() {
            wait_for_answer(&client.ns, dst, &server.pod.name);
            pair.check_over_hop(&client.ns, dst, BEFORE_THE_NODE);
        }
    }
}

#[test]
fn large_transfers_complete_over_a_narrow_hop_between_client_and_node() {
    check_hop_before_the_node(Carrier::Routed);
}

#[test]
fn large_transfers_complete_over_a_narrow_hop_between_client_and_node_and_over_vxlan() {
    check_hop_before_the_node(Carrier::Vxlan);
}

#[test]
fn large_transfers_complete_over_a_narrow_hop_between_the_nodes() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    for (here, there) in [(0, 1), (1, 0)] {
        let [here, there] = [&pair.nodes[here], &pair.nodes[there]];
        for (cidr, via) in there.pod_cidrs().iter().zip(there.addresses_towards_pods()) {
            pair.lab.narrow(&here.ns, cidr, via, NARROW);
            pair.lab.narrow(&here.ns, &via.to_string(), via, NARROW);
        }
    }
    for ip in BALANCER {
        pair.client.route(ip, &pair.nodes[0]);
    }
    pair.write(&web(), &pair.servers[1..]);
    let outside = pair.dialled_outside().map(|dst| (&pair.client.ns, dst));
    let inside = cluster_ips().map(|dst| (&pair.pods[0].ns, dst));
    for (from, dst) in outside.into_iter().chain(inside) {
        wait_for_answer(from, dst, "web2");
        pair.check_over_hop(from, dst, BEHIND_THE_NODE);
    }
}
