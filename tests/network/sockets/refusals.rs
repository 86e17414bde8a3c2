//! Nobody waits at a socket: what cannot be had is refused by the call itself.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::UdpClient;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices, web};

/// What connecting a non-blocking socket comes to by itself: without a decision at the socket that is
/// "in progress", whatever the peer will say.
fn connect_without_waiting(from: &Namespace, dst: SocketAddr) -> nix::Result<()> {
    from.run(|| {
        let family = if dst.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(dst))
    })
}

fn datagram(from: &Namespace, dst: SocketAddr) -> io::Result<()> {
    UdpClient::open(from, dst, None, PATIENCE)?.ask().map(drop)
}

#[track_caller]
fn check_refused(from: &Namespace, dst: SocketAddr, errno: Errno) {
    assert_eq!(connect_without_waiting(from, dst), Err(errno), "TCP {dst}");
    let dst = SocketAddr::new(dst.ip(), if dst.port() == 80 { 53 } else { dst.port() });
    let error = UdpClient::connect(from, dst, None, PATIENCE).expect_err("connected UDP");
    assert_eq!(error.raw_os_error(), Some(errno as i32), "connected UDP {dst}");
    let error = datagram(from, dst).expect_err("unconnected UDP");
    assert_eq!(error.raw_os_error(), Some(errno as i32), "unconnected UDP {dst}");
}

#[test]
fn a_service_without_endpoints_refuses_connections_and_datagrams_at_once() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let host = &cluster.node.ns;
    for dst in cluster_ips() {
        assert_eq!(connect_without_waiting(host, dst), Err(Errno::EINPROGRESS));
    }
    cluster.write_web(0);
    for dst in cluster_ips().into_iter().chain(cluster.node_ports()) {
        wait_until(&format!("{dst} refuses"), PATIENCE, || {
            connect_without_waiting(host, dst) == Err(Errno::ECONNREFUSED)
        });
        check_refused(host, dst, Errno::ECONNREFUSED);
    }
}

#[test]
fn a_policy_local_without_local_endpoints_is_an_unreachable_host() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let [v4, v6] =
        slices("default/web", &cluster.servers).map(|slice| slice.on("elsewhere").object());
    cluster.manifests.write("web.yaml", &[web().internal_local().object(), v4, v6]);
    for dst in cluster_ips() {
        wait_until(&format!("{dst} is unreachable"), PATIENCE, || {
            connect_without_waiting(&cluster.node.ns, dst) == Err(Errno::EHOSTUNREACH)
        });
        check_refused(&cluster.node.ns, dst, Errno::EHOSTUNREACH);
    }
}
