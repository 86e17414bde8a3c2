//! Datagrams follow the endpoints, whatever the socket that they come from has seen before.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lb_tests::lab::{Lab, Namespace, Topology, wait_for, wait_until};
use lb_tests::objects::{Protocol, Slice, slice};
use lb_tests::traffic::UdpClient;

use crate::beside::let_everything_leave_from_the_node;
use crate::cluster::{Cluster, PATIENCE, Server, cluster_ips, slices};
use crate::pair::{Pair, node_ports, web};

/// How long to wait for an answer that may not come.
const SHORT: Duration = Duration::from_millis(200);

/// Waits until a new socket of `from` gets from `dst` what is `wanted`: a server's name, or no answer.
#[track_caller]
fn wait_until_new_ones_get(from: &Namespace, dst: SocketAddr, wanted: Result<&str, ErrorKind>) {
    wait_for(&format!("{dst} leads to {wanted:?}"), PATIENCE, || {
        let got = UdpClient::connect(from, dst, None, SHORT).and_then(|client| client.ask());
        let got = got.map(|answer| answer.name).map_err(|error| error.kind());
        if got.as_deref().map_err(|kind| *kind) == wanted {
            Ok(())
        } else {
            Err(format!("{got:?}"))
        }
    });
}

/// The sockets of a world, one for each asker.
struct Sockets<'a> {
    askers: Vec<(&'a Namespace, SocketAddr)>,
    sockets: Vec<UdpClient>,
}

impl<'a> Sockets<'a> {
    fn open(askers: &[(&'a Namespace, SocketAddr)]) -> Self {
        let open = |(from, dst)| UdpClient::connect(from, dst, None, PATIENCE).expect("a socket");
        Self { askers: askers.to_vec(), sockets: askers.iter().copied().map(open).collect() }
    }

    /// As soon as new sockets get what is `wanted`, the old ones do, with their next datagram.
    #[track_caller]
    fn check(&self, wanted: Result<&str, ErrorKind>) {
        self.wait(wanted);
        self.check_old(wanted);
    }

    #[track_caller]
    fn wait(&self, wanted: Result<&str, ErrorKind>) {
        for (from, dst) in &self.askers {
            wait_until_new_ones_get(from, *dst, wanted);
        }
    }

    #[track_caller]
    fn check_old(&self, wanted: Result<&str, ErrorKind>) {
        for (socket, (_, dst)) in self.sockets.iter().zip(&self.askers) {
            let got = socket.ask().map(|answer| answer.name).map_err(|error| error.kind());
            assert_eq!(got.as_deref().map_err(|kind| *kind), wanted, "{dst}");
        }
    }
}

#[test]
fn a_socket_follows_the_endpoints_and_hears_when_there_are_none() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let [first, second] = [&pair.servers[..1], &pair.servers[1..]];
    pair.write(&web(), &[]);
    let sockets = Sockets::open(&pair.askers());
    sockets.check(Err(ErrorKind::ConnectionRefused));
    for (servers, name) in [(first, "web1"), (second, "web2"), (first, "web1")] {
        pair.write(&web(), servers);
        sockets.check(Ok(name));
    }
    pair.write(&web(), &[]);
    sockets.check(Err(ErrorKind::ConnectionRefused));
    pair.write(&web(), second);
    sockets.check(Ok("web2"));
}

/// kube-proxy-behaviour §10.14.
#[test]
fn a_socket_stays_with_an_endpoint_that_ends_until_it_serves_no_more() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let [first, second] = &pair.servers;
    let ending = |serving| {
        let mut families = slices("default/web", &pair.servers[..1]).into_iter();
        second.sockets().map(|heir| {
            let slice: Slice = families.next().expect("two families");
            let slice = slice.terminating(serving).endpoint(&heir.ip().to_string());
            slice.on(&pair.nodes[1].name)
        })
    };
    pair.write(&web(), std::slice::from_ref(first));
    let sockets = Sockets::open(&pair.askers());
    sockets.check(Ok("web1"));
    pair.write_slices("web", &web(), ending(true));
    sockets.wait(Ok("web2"));
    sockets.check_old(Ok("web1"));
    pair.write_slices("web", &web(), ending(false));
    for (socket, (_, dst)) in sockets.sockets.iter().zip(&sockets.askers) {
        wait_until(&format!("the socket to {dst} has left"), PATIENCE, || {
            socket.ask().expect("an answer").name == "web2"
        });
    }
}

/// Where the backends listen that never answer.
const SILENT: u16 = 8081;

/// A socket of a server's pod that takes datagrams.
fn listen(server: &Server) -> UdpSocket {
    let socket = server.pod.ns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, SILENT)));
    let socket = socket.expect("listen by UDP");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// The slices of `default/web` with a silent server, for UDP only.
fn silent(server: &Server) -> [Slice; 2] {
    [0, 1].map(|family| {
        slice(&format!("default/web-{family}"))
            .service("web")
            .port("dns", SILENT, Protocol::Udp)
            .endpoint(&server.sockets()[family].ip().to_string())
    })
}

/// Empties what `socket` has received, without waiting.
fn drain(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).expect("not to wait");
    let mut came = 0;
    while socket.recv(&mut [0; 64]).is_ok() {
        came += 1;
    }
    socket.set_nonblocking(false).expect("to wait");
    came
}

/// As statsd and syslog do. Nothing but the datagrams themselves tells that the flow is in use.
#[test]
fn a_sender_that_never_hears_an_answer_follows_the_endpoints() {
    const MORE: usize = 10;
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let sinks = [0, 1].map(|n| listen(&pair.servers[n]));
    let sockets = Sockets::open(&pair.askers());
    for (new, old) in [(0, 1), (1, 0), (0, 1)] {
        pair.write_slices("web", &web(), silent(&pair.servers[new]));
        for (socket, (_, dst)) in sockets.sockets.iter().zip(&sockets.askers) {
            wait_until(&format!("a datagram to {dst} reaches server {new}"), PATIENCE, || {
                // Before anybody knows of the service there may be an error on the socket.
                socket.send(b"stat").is_ok() && drain(&sinks[new]) > 0
            });
            drain(&sinks[old]);
            for _ in 0..MORE {
                socket.send(b"stat").expect("a datagram is sent");
            }
            let came =
                (0..MORE).map(|_| sinks[new].recv(&mut [0; 64])).collect::<io::Result<Vec<_>>>();
            came.unwrap_or_else(|error| {
                panic!("all datagrams to {dst} reach server {new}: {error}")
            });
            assert_eq!(drain(&sinks[old]), 0, "{dst}");
        }
    }
}

/// The node's own connection tracking remembers that datagrams went astray; ours are translated
/// before it sees them.
#[test]
fn a_socket_that_is_older_than_the_agent_is_served_by_it() {
    let mut cluster = Cluster::new(Topology::Routed, 2);
    cluster.agent.stop();
    cluster.waggle(&["cleanup"]);
    let_everything_leave_from_the_node(&cluster.node);
    let inside = cluster_ips().map(|dst| (&cluster.pod.ns, dst));
    let outside = node_ports(&cluster.node).map(|dst| (&cluster.client.ns, dst));
    let sockets = Sockets::open(&[inside, outside].concat());
    for socket in &sockets.sockets {
        let timeout = |time| socket.socket().set_read_timeout(Some(time)).expect("a timeout");
        timeout(SHORT);
        socket.ask().expect_err("nobody answers yet");
        timeout(PATIENCE);
    }
    let write = |servers| {
        let [v4, v6] = slices("default/web", servers);
        cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    };
    write(&cluster.servers[..1]);
    cluster.agent.restart(&cluster.node.ns);
    sockets.check(Ok("web1"));
    cluster.agent.kill();
    write(&cluster.servers[1..]);
    sockets.check_old(Ok("web1"));
    cluster.agent.restart(&cluster.node.ns);
    sockets.check(Ok("web2"));
}
