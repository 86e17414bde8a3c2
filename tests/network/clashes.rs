//! One client port that is used for more than one thing at a time, or again at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Barrier;
use std::thread;

use lb_tests::lab::{Lab, Namespace, Topology, wait_until};
use lb_tests::objects::{Protocol, Service, service};
use lb_tests::traffic::{Connection, UdpClient};

use crate::cluster::{PATIENCE, Server, cluster_ips};
use crate::pair::{Pair, node_ports, wait_for_answer, web};
use crate::reuse;

/// The client's port.
const PORT: u16 = 41_000;
/// The node port of [`other`].
const OTHER_NODE_PORT: u16 = 30_081;

/// The service `default/other`, which will have the endpoints of `default/web`.
fn other() -> Service {
    let [v4, v6] = other_cluster_ips().map(|dst| dst.ip().to_string());
    service("default/other")
        .cluster_ip(&v4)
        .cluster_ip(&v6)
        .port("http", 80, Protocol::Tcp)
        .node_port(OTHER_NODE_PORT)
        .port("dns", 80, Protocol::Udp)
        .node_port(OTHER_NODE_PORT)
}

fn other_cluster_ips() -> [SocketAddr; 2] {
    ["10.96.0.11:80", "[fd00:96::11]:80"].map(|address| address.parse().expect("address:port"))
}

/// A client and its two ways to one backend, which is in the way of both.
struct Ways<'a> {
    from: &'a Namespace,
    own: SocketAddr,
    dsts: [SocketAddr; 2],
    name: &'a str,
}

/// From a pod by ClusterIP and from outside by NodePort, both families: the first way is through
/// `default/web`, the second as `second` says of (ClusterIP or NodePort, server).
fn ways<'a>(
    pair: &'a Pair,
    server: &'a Server,
    second: impl Fn(SocketAddr, SocketAddr) -> SocketAddr,
) -> Vec<Ways<'a>> {
    let (pod, client) = (&pair.pods[0], &pair.client);
    let inside = [IpAddr::from(pod.v4), pod.v6.into()].map(|ip| (&pod.ns, ip));
    let outside = [IpAddr::from(client.v4), client.v6.into()].map(|ip| (&client.ns, ip));
    let others = node_ports(&pair.nodes[0]).map(|dst| SocketAddr::new(dst.ip(), OTHER_NODE_PORT));
    let firsts = cluster_ips().into_iter().chain(node_ports(&pair.nodes[0]));
    let others = other_cluster_ips().into_iter().chain(others);
    let backends = server.sockets().into_iter().cycle();
    let clients = inside.into_iter().chain(outside);
    clients
        .zip(firsts.zip(others.zip(backends)))
        .map(|((from, ip), (first, (other, backend)))| Ways {
            from,
            own: SocketAddr::new(ip, PORT),
            dsts: [first, second(other, backend)],
            name: &server.pod.name,
        })
        .collect()
}

/// Puts `server`, alone, behind `default/web` and `default/other`.
fn serve(pair: &Pair, server: &Server) {
    let servers = std::slice::from_ref(server);
    pair.write(&web(), servers);
    pair.write_as("other", &other(), servers);
    for way in ways(pair, server, |other, _| other) {
        for dst in way.dsts {
            wait_for_answer(way.from, dst, way.name);
        }
    }
}

/// Two connections from one port at the same time: both live, and seem to be what was dialled.
#[track_caller]
fn check_connections(ways: &Ways<'_>) {
    let open = |dst| Connection::open(ways.from, dst, Some(ways.own), PATIENCE);
    let mut connections = ways.dsts.map(|dst| open(dst).unwrap_or_else(|e| panic!("{dst}: {e}")));
    for round in 0..3 {
        for (connection, dst) in connections.iter_mut().zip(ways.dsts) {
            let answer = connection.get("/").unwrap_or_else(|e| panic!("{dst}, {round}: {e}"));
            let ends = (answer.name.as_str(), answer.local, answer.peer);
            assert_eq!(ends, (ways.name, ways.own, dst), "round {round}");
        }
    }
    for connection in connections {
        connection.reset().expect("a reset");
    }
}

#[test]
fn one_client_port_leads_to_one_backend_through_two_frontends_at_once() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    for server in &pair.servers {
        serve(&pair, server);
        for ways in ways(&pair, server, |other, _| other) {
            check_connections(&ways);
        }
    }
}

#[test]
fn one_client_port_leads_to_a_backend_through_a_frontend_and_directly_at_once() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    for node in &pair.nodes {
        pair.client.route_to_pods(node);
    }
    for server in &pair.servers {
        serve(&pair, server);
        for ways in ways(&pair, server, |_, backend| backend) {
            check_connections(&ways);
        }
    }
}

/// Datagrams of one socket through two frontends: each answer comes from the one that was asked.
#[test]
fn one_udp_socket_asks_one_backend_through_two_frontends() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    for server in &pair.servers {
        serve(&pair, server);
        for ways in ways(&pair, server, |other, _| other) {
            let [one, other] = ways.dsts;
            let one = UdpClient::open(ways.from, one, Some(ways.own), PATIENCE).expect("a socket");
            let other = one.also(other).expect("the socket");
            for _ in 0..3 {
                for asked in [&one, &other] {
                    let answer = asked.ask().unwrap_or_else(|e| panic!("{:?}: {e}", ways.dsts));
                    assert_eq!(answer.name, ways.name);
                }
            }
        }
    }
}

/// As a resolver asks for A and AAAA: two datagrams of a new socket, on two CPUs at once if it can be.
#[test]
fn two_first_datagrams_of_a_socket_at_once_are_both_answered_and_are_one_flow() {
    const ROUNDS: u32 = 200;
    let pair = Pair::new(Lab::new(), Topology::Routed);
    for server in &pair.servers {
        serve(&pair, server);
        for Ways { from, dsts: [dst, _], .. } in ways(&pair, server, |other, _| other) {
            for round in 0..ROUNDS {
                let client = UdpClient::connect(from, dst, None, PATIENCE).expect("a socket");
                let both = Barrier::new(2);
                thread::scope(|scope| {
                    for query in [b"A", &b"AAAA"[..]] {
                        let (client, both) = (&client, &both);
                        scope.spawn(move || {
                            both.wait();
                            client.send(query).expect("a query is sent");
                        });
                    }
                });
                let answers = [(); 2].map(|()| client.receive());
                let [a, aaaa] =
                    answers.map(|it| it.unwrap_or_else(|e| panic!("{dst}, round {round}: {e}")));
                assert_eq!(a.seen_peer, aaaa.seen_peer, "{dst}, round {round}");
            }
        }
    }
}

/// A port that is used again is a new connection, whatever the old one was.
#[test]
fn a_port_that_is_used_again_at_once_follows_the_endpoints() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let servers = pair.servers.iter().map(|server| &server.pod.ns);
    for ns in servers.chain([&pair.pods[0].ns, &pair.client.ns]) {
        // Else the port would be kept for a minute by the client or the server themselves.
        ns.sysctls(&[("net.ipv4.tcp_max_tw_buckets", "0")]);
    }
    for orderly in [true, false] {
        for server in pair.servers.iter().chain(&pair.servers) {
            let mut sockets = reuse::socket_table(&server.pod.ns);
            pair.write(&web(), std::slice::from_ref(server));
            for ways in ways(&pair, server, |it, _| it) {
                wait_for_answer(ways.from, ways.dsts[0], ways.name);
                for round in 0..5 {
                    let what = format!("{} to {}, round {round}", ways.own, ways.dsts[0]);
                    let seen = use_port(&ways, orderly).unwrap_or_else(|e| panic!("{what}: {e}"));
                    reuse::wait_until_forgotten(&mut sockets, seen);
                }
            }
        }
    }
}

/// A connection to the first destination, closed in good order or with a reset; returns the port that
/// the server saw.
#[track_caller]
fn use_port(ways: &Ways<'_>, orderly: bool) -> io::Result<u16> {
    let open = Connection::open(ways.from, ways.dsts[0], Some(ways.own), reuse::PATIENCE);
    let mut connection = open?;
    let answer = connection.get("/")?;
    assert_eq!(answer.name, ways.name, "{}", ways.dsts[0]);
    if orderly {
        connection.finish()?;
    } else {
        connection.reset()?;
    }
    Ok(answer.seen_peer.expect("a greeting").port())
}

/// The first SYN is lost at a backend that dies, and the client sends it again to one that lives.
#[test]
fn a_syn_that_is_sent_again_reaches_the_backend_that_came_instead() {
    let pair = Pair::new(Lab::new(), Topology::Routed);
    let [dying, heir] = &pair.servers;
    pair.write(&web(), std::slice::from_ref(dying));
    let clients = ways(&pair, heir, |it, _| it);
    for Ways { from, own, dsts: [dst, _], .. } in &clients {
        wait_for_answer(from, *dst, "web1");
        dying.pod.ns.ip(&format!("route add blackhole {}", own.ip()));
    }
    let before = pair.counter(0, "new_flow");
    thread::scope(|scope| {
        let opening: Vec<_> = clients
            .iter()
            .map(|Ways { from, own, dsts: [dst, _], .. }| {
                scope.spawn(move || Connection::open(from, *dst, Some(*own), PATIENCE))
            })
            .collect();
        wait_until("every SYN has gone to the dying backend", PATIENCE, || {
            pair.counter(0, "new_flow") >= before + 4
        });
        pair.write(&web(), std::slice::from_ref(heir));
        for connection in opening {
            let opened = connection.join().expect("the opening thread ends");
            let mut connection = opened.expect("the SYN that was sent again is answered");
            assert_eq!(connection.get("/").expect("an answer").name, "web2");
        }
    });
}
