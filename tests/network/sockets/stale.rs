//! Nobody hangs on a dead backend: sockets that hold one are destroyed, and the program's next
//! datagram goes to a living one.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lb_tests::lab::{Namespace, Topology, wait_for, wait_until};
use lb_tests::objects::{Protocol, Service, Slice, service, slice};
use lb_tests::traffic::{Connection, UdpClient};
use nix::errno::Errno;

use crate::cluster::{Cluster, PATIENCE, Server, cluster_ips, slices, web};
use crate::metrics::scrape;
use crate::sockets::wait_for_answer;

/// Where nobody answers what comes.
const SILENT: u16 = 8081;

/// How a program talks by UDP, and who has seen such programs hang.
#[derive(Clone, Copy, Debug)]
enum Talk {
    /// Connected: the resolvers of nginx and dnsmasq (cilium issues 27300, 48096, 31012).
    Connected,
    /// An address with each datagram (cilium issues 12859, 24128).
    Unconnected,
    /// Connected, and never reads: statsd, syslog (cilium issue 48244).
    OneWay,
}

/// A program that talks to a service.
struct Program {
    talk: Talk,
    dst: SocketAddr,
    client: UdpClient,
}

impl Program {
    fn start(from: &Namespace, talk: Talk, ip: IpAddr) -> Self {
        let (dst, client) = match talk {
            Talk::Connected => {
                let dst = SocketAddr::new(ip, 53);
                (dst, UdpClient::connect(from, dst, None, PATIENCE))
            }
            Talk::Unconnected => {
                let dst = SocketAddr::new(ip, 53);
                (dst, UdpClient::open(from, dst, None, PATIENCE))
            }
            Talk::OneWay => {
                let dst = SocketAddr::new(ip, 514);
                (dst, UdpClient::connect(from, dst, None, PATIENCE))
            }
        };
        Self { talk, dst, client: client.expect("a socket") }
    }

    /// Whether the next datagram reaches the server `name`, whose silent port is `sink`. As programs
    /// do, it connects its socket again where it hears that it is connected no more.
    fn reaches(&self, name: &str, sink: &UdpSocket) -> io::Result<bool> {
        match self.try_reach(name, sink) {
            Err(error) if is_end(&error) => {
                self.client.socket().connect(self.dst)?;
                self.try_reach(name, sink)
            }
            outcome => outcome,
        }
    }

    fn try_reach(&self, name: &str, sink: &UdpSocket) -> io::Result<bool> {
        match self.talk {
            Talk::Connected | Talk::Unconnected => Ok(self.client.ask()?.name == name),
            Talk::OneWay => {
                self.client.send(b"stat")?;
                Ok(sink.recv(&mut [0; 64]).is_ok())
            }
        }
    }

    #[track_caller]
    fn wait_until_it_reaches(&self, name: &str, sink: &UdpSocket) {
        wait_for(&format!("{:?} {} reaches {name}", self.talk, self.dst), PATIENCE, || match self
            .reaches(name, sink)
        {
            Ok(true) => Ok(()),
            Ok(false) => Err("it does not".to_owned()),
            Err(error) => Err(error.to_string()),
        });
    }
}

/// What a program hears, at whichever call it makes next, when its socket was destroyed.
fn is_end(error: &io::Error) -> bool {
    let ends = [Errno::ECONNABORTED, Errno::EDESTADDRREQ].map(|errno| Some(errno as i32));
    ends.contains(&error.raw_os_error())
}

/// A socket in a server's pod that takes what comes to its silent port, and waits for it but shortly.
fn sink(server: &Server) -> UdpSocket {
    let socket = server.pod.ns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, SILENT)));
    let socket = socket.expect("listen by UDP");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    socket
}

/// The service `default/log`, which nobody answers for.
fn log() -> Service {
    service("default/log").cluster_ip("10.96.0.11").cluster_ip("fd00:96::11").port(
        "log",
        514,
        Protocol::Udp,
    )
}

fn log_ips() -> [IpAddr; 2] {
    ["10.96.0.11", "fd00:96::11"].map(|ip| ip.parse().expect("an address"))
}

fn log_slices(servers: &[Server]) -> [Slice; 2] {
    [0, 1].map(|family| {
        let slice = slice(&format!("default/log-{family}")).service("log");
        let slice = slice.port("log", SILENT, Protocol::Udp);
        servers
            .iter()
            .fold(slice, |slice, server| slice.endpoint(&server.sockets()[family].ip().to_string()))
    })
}

/// Makes these servers the endpoints; with `is_ending`, the first one is there and serves no more.
fn write(cluster: &Cluster, servers: &[Server], is_ending: bool) {
    let services = [(web(), slices("default/web", servers)), (log(), log_slices(servers))];
    for ((service, slices), file) in services.into_iter().zip(["web.yaml", "log.yaml"]) {
        let [v4, v6] = slices.map(|slice| if is_ending { ending(slice, cluster) } else { slice });
        cluster.manifests.write(file, &[service.object(), v4.object(), v6.object()]);
    }
}

/// Puts the cluster's first server in front, as one that ends.
fn ending(slice: Slice, cluster: &Cluster) -> Slice {
    let first = cluster.servers[0].sockets();
    let is_v6 = slice.object()["addressType"] == "IPv6";
    slice.endpoint(&first[usize::from(is_v6)].ip().to_string()).terminating(false)
}

/// Two servers, of which the services have the first.
fn world(flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, flags);
    cluster.servers.push(Server::start(&cluster.node, "web2"));
    write(&cluster, &cluster.servers[..1], false);
    cluster
}

/// Programs of each kind and family in a namespace; all of them reach the first server.
fn programs(from: &Namespace, sink: &UdpSocket) -> Vec<Program> {
    let (web, log) = (cluster_ips().map(|dst| dst.ip()), log_ips());
    for ip in log {
        let dst = SocketAddr::new(ip, 514);
        wait_until(&format!("{dst} is served"), PATIENCE, || {
            let client = UdpClient::connect(from, dst, None, PATIENCE).expect("a socket");
            client.send(b"stat").is_ok() && sink.recv(&mut [0; 64]).is_ok()
        });
    }
    let all = [(Talk::Connected, web), (Talk::Unconnected, web), (Talk::OneWay, log)];
    let start = |(talk, ips): (Talk, [IpAddr; 2])| ips.map(|ip| Program::start(from, talk, ip));
    let programs: Vec<_> = all.into_iter().flat_map(start).collect();
    for program in &programs {
        program.wait_until_it_reaches("web1", sink);
    }
    programs
}

/// How many sockets of a protocol the agent has destroyed.
#[track_caller]
fn destroyed(cluster: &Cluster, protocol: &str) -> f64 {
    scrape(cluster).value("waggle_sockets_destroyed_total", &[("protocol", protocol)])
}

#[test]
fn programs_of_the_node_and_of_pods_leave_an_endpoint_that_serves_no_more() {
    let cluster = world(&["--socket-lb=all"]);
    let sinks = [0, 1].map(|server| sink(&cluster.servers[server]));
    let places = [&cluster.node.ns, &cluster.pod.ns];
    let programs: Vec<_> = places.iter().flat_map(|from| programs(from, &sinks[0])).collect();
    write(&cluster, &cluster.servers[1..], true);
    for program in &programs {
        program.wait_until_it_reaches("web2", &sinks[1]);
    }
    let destroyed = destroyed(&cluster, "udp");
    assert!(destroyed >= 8.0, "two that are connected, in each place and family: {destroyed}");
}

/// cilium issue 40336.
#[test]
fn a_program_leaves_an_endpoint_that_has_gone_while_no_agent_ran() {
    let mut cluster = world(&[]);
    let sinks = [0, 1].map(|server| sink(&cluster.servers[server]));
    let programs = programs(&cluster.node.ns, &sinks[0]);
    cluster.agent.kill();
    write(&cluster, &cluster.servers[1..], false);
    for program in &programs {
        program.wait_until_it_reaches("web1", &sinks[0]);
    }
    cluster.agent.restart(&cluster.node.ns);
    for program in &programs {
        program.wait_until_it_reaches("web2", &sinks[1]);
    }
}

/// Connections from the node, and datagrams by which to tell that dead backends have been looked for.
fn connections(cluster: &Cluster) -> Vec<(Connection, UdpClient)> {
    let host = &cluster.node.ns;
    let open = |dst: SocketAddr| {
        wait_for_answer(host, dst);
        let mut connection = Connection::open(host, dst, None, PATIENCE).expect("a connection");
        assert_eq!(connection.get("/").expect("an answer").name, "web1");
        let datagrams = UdpClient::connect(host, (dst.ip(), 53).into(), None, PATIENCE);
        (connection, datagrams.expect("a socket"))
    };
    cluster_ips().into_iter().map(open).collect()
}

#[track_caller]
fn wait_until_destroyed(datagrams: &UdpClient) {
    wait_until("connected UDP has ended", PATIENCE, || {
        datagrams.ask().is_err_and(|error| is_end(&error))
    });
}

#[test]
fn connections_outlive_their_endpoint_as_with_kube_proxy() {
    let cluster = world(&[]);
    let mut connections = connections(&cluster);
    write(&cluster, &cluster.servers[1..], false);
    for (connection, datagrams) in &mut connections {
        wait_until_destroyed(datagrams);
        assert_eq!(connection.get("/").expect("an answer").name, "web1");
    }
    assert!(destroyed(&cluster, "tcp") < 0.5);
}

#[test]
fn connections_end_with_an_endpoint_that_is_removed_where_asked_for_but_not_with_one_that_ends() {
    let cluster = world(&["--terminate-tcp=removed"]);
    let mut connections = connections(&cluster);
    write(&cluster, &cluster.servers[1..], true);
    for (connection, datagrams) in &mut connections {
        wait_until_destroyed(datagrams);
        assert_eq!(connection.get("/").expect("an answer").name, "web1");
    }
    write(&cluster, &cluster.servers[1..], false);
    for (connection, _) in &mut connections {
        wait_until("the connection has ended", PATIENCE, || connection.get("/").is_err());
    }
    let tcp = destroyed(&cluster, "tcp");
    assert!((1.5..2.5).contains(&tcp), "{tcp}");
}
