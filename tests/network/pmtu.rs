//! Path MTU discovery through a service: the errors of a narrow hop reach who can heed them.

use lb_tests::lab::{Namespace, Topology};
use lb_tests::traffic::Connection;

use crate::cluster::{Cluster, PATIENCE, cluster_ips};

/// How many bytes a client sends: more than the first flight.
const LENGTH: usize = 300_000;

/// The narrow hop is the node's side of the backend's link: the backend itself knows nothing of it and
/// lets clients send segments of 1500 bytes, which the node does not get through.
#[test]
fn large_transfers_to_a_service_complete_over_a_narrow_hop() {
    let cluster = Cluster::new(Topology::Routed, 1);
    cluster.node.ns.ip(&format!("link set {} mtu 1400", cluster.servers[0].pod.host_link));
    let outside: (&Namespace, _) = (&cluster.client.ns, cluster.node_ports());
    for (from, dsts) in [outside, (&cluster.pod.ns, cluster_ips())] {
        for dst in dsts {
            let before = cluster.counter("error_translated");
            let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
            let sent = connection.post("/count", &vec![0x5a; LENGTH]).expect("an answer");
            assert_eq!(sent.body, LENGTH.to_string().into_bytes());
            assert!(cluster.counter("error_translated") > before, "{dst}");
        }
    }
}
