//! One client port that goes through a VIP and directly to the backend in turn.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{Answer, Connection};

use crate::cluster::{Cluster, cluster_ips};

/// Connections of each kind.
const CONNECTIONS: u32 = 1000;
/// Below the second after which a lost SYN is sent again, so that nothing heals unseen.
pub(crate) const PATIENCE: Duration = Duration::from_millis(900);
/// The client's port.
const PORT: u16 = 41_000;

/// Closed entries that went on translating would turn the direct connection's answers into the
/// VIP's (design §7), and the client would reset them.
#[test]
fn one_port_alternates_between_a_vip_and_its_backend_and_no_connection_fails() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let server = &cluster.servers[0];
    for ns in [&cluster.pod.ns, &server.pod.ns] {
        // No TIME_WAIT: both paths are one connection to the server, which would take a new one by
        // the other path for an old duplicate. That is the lab's doing, not the load balancer's.
        ns.sysctls(&[("net.ipv4.tcp_max_tw_buckets", "0")]);
    }
    let mut sockets = socket_table(&server.pod.ns);
    let own = [IpAddr::from(cluster.pod.v4), IpAddr::from(cluster.pod.v6)];
    for ((vip, backend), own) in cluster_ips().into_iter().zip(server.sockets()).zip(own) {
        let own = SocketAddr::new(own, PORT);
        for round in 0..CONNECTIONS {
            for dst in [vip, backend] {
                let what = || format!("round {round}, {dst}");
                let answer = once(&cluster.pod.ns, dst, own, round % 2 == 0);
                let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", what()));
                assert_eq!((answer.peer, answer.name.as_str()), (dst, "web1"), "{}", what());
                wait_until_forgotten(&mut sockets, PORT);
            }
        }
    }
}

/// One connection from `own` with one request, closed in good order or with a reset.
fn once(from: &Namespace, dst: SocketAddr, own: SocketAddr, orderly: bool) -> io::Result<Answer> {
    let mut connection = Connection::open(from, dst, Some(own), PATIENCE)?;
    let answer = connection.get("/")?;
    if orderly {
        connection.finish()?;
    } else {
        connection.reset()?;
    }
    Ok(answer)
}

/// The server's TCP sockets, as a file that stays open: it listens by IPv6 for both families.
pub(crate) fn socket_table(ns: &Namespace) -> File {
    ns.run(|| File::open("/proc/thread-self/net/tcp6").expect("list the server's sockets"))
}

/// Waits until no socket of the server knows a client's `port` any more. Else the next SYN can meet
/// the one before it while it ends, and a SYN that meets a dying socket is lost.
pub(crate) fn wait_until_forgotten(sockets: &mut File, port: u16) {
    let port = format!(":{port:04X} ");
    wait_until("the server has forgotten the connection", PATIENCE, || {
        let mut text = String::new();
        sockets.rewind().expect("read from the start");
        sockets.read_to_string(&mut text).expect("read the server's sockets");
        !text.contains(&port)
    });
}
