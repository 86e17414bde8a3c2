//! One client port that goes through a VIP and directly to the backend in turn.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::lab::Topology;
use lb_tests::traffic::http_get;

use crate::cluster::{Cluster, cluster_ips};

/// Connections of each kind.
const CONNECTIONS: u32 = 1000;
/// The client's port.
const PORT: u16 = 41_000;

/// Closed entries that went on translating would turn the direct connection's answers into the
/// VIP's (design §7). Every connection must succeed at the first try: a retry takes the client a
/// second, as the retransmission of its SYN does, and both are far beyond this time-out.
#[test]
fn one_port_alternates_between_a_vip_and_its_backend_and_no_connection_fails() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let server = &cluster.servers[0];
    for ns in [&cluster.pod.ns, &server.pod.ns] {
        // Time stamps without a random offset per destination, else the server takes a connection
        // by the other path for an old duplicate: the lab's doing, not the load balancer's.
        ns.sysctls(&[("net.ipv4.tcp_timestamps", "2")]);
    }
    let own = [IpAddr::from(cluster.pod.v4), IpAddr::from(cluster.pod.v6)];
    for ((vip, backend), own) in cluster_ips().into_iter().zip(server.sockets()).zip(own) {
        let bind = Some(SocketAddr::new(own, PORT));
        for round in 0..CONNECTIONS {
            for dst in [vip, backend] {
                let answer = http_get(&cluster.pod.ns, dst, bind, Duration::from_millis(900))
                    .unwrap_or_else(|error| panic!("round {round}, {dst}: {error}"));
                assert_eq!((answer.peer, answer.name.as_str()), (dst, "web1"));
            }
        }
    }
}
