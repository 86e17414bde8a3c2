//! Every kind of socket × family × kind of address × place of the process.
//!
//! The whole table is written to `target/sockets.md`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology};
use lb_tests::traffic::{UdpClient, http_get};

use crate::cluster::{Cluster, NODE_PORT, PATIENCE, cluster_ips, slices};
use crate::pair::{balancer, web};
use crate::sockets::wait_for_answer;

/// How long a process waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(200);

/// How a process talks.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    ConnectedUdp,
    UnconnectedUdp,
}

/// How it writes addresses.
#[derive(Clone, Copy, Debug)]
enum Form {
    V4,
    V6,
    /// An IPv4 address on an IPv6 socket.
    Mapped,
}

/// What it dials.
#[derive(Clone, Copy, Debug)]
enum Dialled {
    ClusterIp,
    NodePort,
    Loopback,
    LoadBalancer,
}

/// Asks over a new socket and returns who answered; the answer must seem to come from `dst`.
fn ask(from: &Namespace, kind: Kind, dst: SocketAddr, patience: Duration) -> io::Result<String> {
    match kind {
        Kind::Tcp => {
            let answer = http_get(from, dst, None, patience)?;
            assert_eq!(answer.peer, dst, "getpeername tells what was dialled");
            Ok(answer.name)
        }
        Kind::ConnectedUdp => {
            let client = UdpClient::connect(from, dst, None, patience)?;
            assert_eq!(client.socket().peer_addr()?, dst, "getpeername tells what was dialled");
            Ok(client.ask()?.name)
        }
        Kind::UnconnectedUdp => Ok(UdpClient::open(from, dst, None, patience)?.ask()?.name),
    }
}

fn address(cluster: &Cluster, form: Form, dialled: Dialled) -> SocketAddr {
    let family = usize::from(matches!(form, Form::V6));
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let dst = match dialled {
        Dialled::ClusterIp => cluster_ips()[family],
        Dialled::NodePort => cluster.node_ports()[family],
        Dialled::Loopback => SocketAddr::new(loopback[family], NODE_PORT),
        Dialled::LoadBalancer => balancer()[family],
    };
    match (form, dst.ip()) {
        (Form::Mapped, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), dst.port()),
        _ => dst,
    }
}

/// A cluster with the service of all kinds of addresses, its agent started with `flags`.
fn cluster(flags: &[&str]) -> Cluster {
    let cluster = Cluster::with_flags(Topology::Routed, 2, flags);
    let [v4, v6] = slices("default/web", &cluster.servers);
    cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    for dst in balancer() {
        wait_for_answer(&cluster.node.ns, dst);
    }
    cluster
}

/// Fills the rows of one place; every socket must have been given its backend by itself, not by its
/// packets.
fn fill(table: &mut String, cluster: &Cluster, place: &str, from: &Namespace, is_host: bool) {
    for kind in [Kind::Tcp, Kind::ConnectedUdp, Kind::UnconnectedUdp] {
        for form in [Form::V4, Form::V6, Form::Mapped] {
            write!(table, "| {place} | {kind:?} | {form:?} |").unwrap();
            for dialled in
                [Dialled::ClusterIp, Dialled::NodePort, Dialled::Loopback, Dialled::LoadBalancer]
            {
                let dst = address(cluster, form, dialled);
                let case = format!("{place} {kind:?} {form:?} {dialled:?} {dst}");
                let before = ["new_socket", "new_flow"].map(|name| cluster.counter(name));
                // Loopback addresses of a pod are its own.
                let is_own = matches!(dialled, Dialled::Loopback) && !is_host;
                let patience = if is_own { SILENCE } else { PATIENCE };
                let answer = ask(from, kind, dst, patience);
                let after = ["new_socket", "new_flow"].map(|name| cluster.counter(name));
                let new = [after[0] - before[0], after[1] - before[1]];
                if is_own {
                    assert_eq!((answer.is_err(), new), (true, [0, 0]), "{case}");
                    write!(table, " its own |").unwrap();
                } else {
                    let name = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
                    assert!(name.starts_with("web"), "{case}: {name}");
                    assert_eq!(new, [1, 0], "{case}: sockets and flows");
                    write!(table, " {name} |").unwrap();
                }
            }
            table.push('\n');
        }
    }
}

#[test]
fn every_kind_of_socket_reaches_every_kind_of_address() {
    let mut table = String::from(
        "| process | socket | address | ClusterIP | NodePort | NodePort at loopback | LoadBalancer |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let host = cluster(&[]);
    fill(&mut table, &host, "host", &host.node.ns, true);
    drop(host);
    let all = cluster(&["--socket-lb=all"]);
    fill(&mut table, &all, "host, mode all", &all.node.ns, true);
    fill(&mut table, &all, "pod, mode all", &all.pod.ns, false);
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("sockets.md"), table).unwrap();
}
