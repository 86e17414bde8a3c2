//! Nobody waits at a socket: what cannot be had is refused by the call itself.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::traffic::{UdpClient, http_get};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use crate::cluster::{Cluster, NODE_PORT, PATIENCE, cluster_ips, slices, web};
use crate::pair::{self, balancer};
use crate::sockets::wait_for_answer;

/// How long a client waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

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

/// The sockets of pods are not bound to an address, so what they send is judged instead.
#[test]
fn source_ranges_hold_for_processes_of_the_node_and_for_pods() {
    let cluster = Cluster::with_flags(Topology::Routed, 1, &["--socket-lb=all"]);
    let (host, pod) = (&cluster.node.ns, &cluster.pod.ns);
    let write = |ranges: [String; 2]| {
        let [v4, v6] = slices("default/web", &cluster.servers);
        let service = ranges.iter().fold(pair::web(), |service, range| service.source_range(range));
        cluster.manifests.write("web.yaml", &[service.object(), v4.object(), v6.object()]);
    };
    write([format!("{}/32", cluster.node.v4), format!("{}/128", cluster.node.v6)]);
    for dst in balancer() {
        wait_for_answer(host, dst);
        assert!(http_get(pod, dst, None, SILENCE).is_err(), "{dst}");
    }
    write([format!("{}/32", cluster.pod.v4), format!("{}/128", cluster.pod.v6)]);
    for dst in balancer() {
        wait_for_answer(pod, dst);
        assert_eq!(connect_without_waiting(host, dst), Err(Errno::EHOSTUNREACH), "{dst}");
    }
    assert!(cluster.counter("drop_source_range") >= 4, "at sockets and of packets");
}

#[test]
fn a_guarded_node_port_cannot_be_bound_by_processes_of_the_node() {
    let bind = |ns: &Namespace, ip: &str, port| -> io::Result<()> {
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        let tcp = ns.run(|| TcpListener::bind(address).map(drop));
        let udp = ns.run(|| UdpSocket::bind(address).map(drop));
        assert_eq!(tcp.is_ok(), udp.is_ok(), "{address}");
        tcp
    };
    for (flags, expected) in [(&[][..], None), (&["--guard-node-ports"], Some(Errno::EADDRINUSE))] {
        let mut cluster = Cluster::with_flags(Topology::Routed, 1, flags);
        for ip in ["0.0.0.0", "::", "127.0.0.1", "::1", &cluster.node.v4.to_string()] {
            let refused = bind(&cluster.node.ns, ip, NODE_PORT).err().map(|it| it.raw_os_error());
            assert_eq!(refused.flatten(), expected.map(|errno| errno as i32), "{ip} {flags:?}");
            bind(&cluster.node.ns, ip, NODE_PORT + 1).unwrap();
        }
        bind(&cluster.pod.ns, "0.0.0.0", NODE_PORT).unwrap();
        if expected.is_some() {
            for protocol in ["TCP", "UDP"] {
                let told =
                    format!("of node node1 wanted to bind the node port {NODE_PORT}/{protocol}");
                cluster.agent.wait_printed(&told, PATIENCE);
            }
        }
    }
}
