//! Sockets live on while the agent dies, comes back, or is told otherwise.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use lb_tests::lab::{Namespace, Topology, wait_until};
use lb_tests::objects::{Protocol, service};
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, slices};
use crate::sockets::{attached, entries, wait_for_answer};

/// Ids of the pinned links and of the programs behind them, in the order of their names.
fn links(cluster: &Cluster) -> Vec<(u32, u32)> {
    let pins = cluster.bpffs.path().join("waggle/v1/sockets");
    let mut pins: Vec<_> =
        std::fs::read_dir(pins).unwrap().map(|pin| pin.unwrap().path()).collect();
    pins.sort();
    let info = |pin| FdLink::from(PinnedLink::from_pin(pin).unwrap()).info().unwrap();
    pins.iter().map(info).map(|info| (info.id(), info.program_id())).collect()
}

#[test]
fn sockets_live_on_while_the_agent_is_killed_and_comes_back_to_the_same_links() {
    let mut cluster = Cluster::new(Topology::Routed, 3);
    let host = &cluster.node.ns;
    let mut connections: Vec<_> = cluster_ips()
        .map(|dst| {
            wait_for_answer(host, dst);
            (dst, Connection::open(host, dst, None, PATIENCE).unwrap())
        })
        .into();
    let datagrams: Vec<_> = cluster_ips()
        .into_iter()
        .flat_map(|dst| {
            let dst = SocketAddr::new(dst.ip(), 53);
            [
                UdpClient::connect(host, dst, None, PATIENCE),
                UdpClient::open(host, dst, None, PATIENCE),
            ]
        })
        .map(Result::unwrap)
        .collect();
    let mut names = || -> Vec<String> {
        let tcp = connections.iter_mut().map(|(dst, connection)| {
            let answer = connection.get("/").unwrap();
            assert_eq!(answer.peer, *dst);
            answer.name
        });
        tcp.chain(datagrams.iter().map(|it| it.ask().unwrap().name)).collect()
    };
    let before = (names(), links(&cluster));
    assert_eq!(before.1.len(), 9);
    cluster.agent.kill();
    assert_eq!(names(), before.0, "without an agent");
    for dst in cluster_ips() {
        Cluster::ask(&cluster.node.ns, dst, 10);
    }
    cluster.agent.restart(&cluster.node.ns);
    wait_until("the new agent's programs are behind the links", PATIENCE, || {
        let programs = |links: &[(u32, u32)]| -> Vec<u32> { links.iter().map(|it| it.1).collect() };
        let now = programs(&links(&cluster));
        programs(&before.1).iter().zip(&now).all(|(old, new)| old != new)
    });
    let ids = |links: &[(u32, u32)]| -> Vec<u32> { links.iter().map(|it| it.0).collect() };
    assert_eq!(ids(&links(&cluster)), ids(&before.1), "no link was made anew");
    assert_eq!(names(), before.0, "with the new agent");
}

#[test]
fn a_closed_socket_leaves_no_entry() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let counts = || ["SOCKETS_V4", "SOCKETS_V6"].map(|map| entries(&cluster, map));
    let host = &cluster.node.ns;
    for dst in cluster_ips() {
        wait_for_answer(host, dst);
    }
    let open = cluster_ips().map(|tcp| {
        let udp = SocketAddr::new(tcp.ip(), 53);
        let clients = [
            UdpClient::connect(host, udp, None, PATIENCE).unwrap(),
            UdpClient::open(host, udp, None, PATIENCE).unwrap(),
        ];
        for client in &clients {
            client.ask().unwrap();
        }
        (Connection::open(host, tcp, None, PATIENCE).unwrap(), clients)
    });
    assert_eq!(counts(), [6; 2], "one by TCP, two of the connected, three of the other");
    drop(open);
    assert_eq!(counts(), [0; 2]);
}

/// A socket that has written to more addresses than its end takes along.
#[track_caller]
fn talkative(from: &Namespace) -> UdpClient {
    let all: Vec<_> = MANY.map(many).collect();
    for dst in &all {
        let client = UdpClient::open(from, *dst, None, Duration::from_millis(500)).unwrap();
        wait_until(&format!("{dst} answers"), PATIENCE, || client.ask().is_ok());
    }
    let client = UdpClient::open(from, all[0], None, PATIENCE).unwrap();
    for dst in all {
        client.also(dst).unwrap().ask().unwrap();
    }
    client
}

/// The last bytes of addresses of the service `default/many`.
const MANY: Range<u8> = 1..31;

fn many(last: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, last], 53))
}

#[test]
fn entries_that_a_closed_socket_has_left_are_removed_and_those_of_open_ones_stay() {
    let flags = ["--socket-lb=all", "--drift-interval=500ms"];
    let cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    let service = MANY.fold(service("default/many").cluster_ip("10.96.0.30"), |it, last| {
        it.external_ip(&many(last).ip().to_string())
    });
    let service = service.port("dns", 53, Protocol::Udp);
    let [slice, _] = slices("default/many", &cluster.servers);
    cluster.manifests.write("many.yaml", &[service.object(), slice.object()]);
    for from in [&cluster.node.ns, &cluster.pod.ns] {
        let talkative = talkative(from);
        let open = UdpClient::connect(from, many(1), None, PATIENCE).unwrap();
        let count = || entries(&cluster, "SOCKETS_V4");
        let all = count();
        drop(talkative);
        assert!((3..all).contains(&count()), "not all are removed with the socket");
        wait_until("only the open socket has entries", PATIENCE, || count() == 2);
        assert_eq!(open.socket().peer_addr().unwrap(), many(1));
        assert_eq!(open.ask().unwrap().name, "web1");
    }
}

#[test]
fn cleanup_and_the_setting_off_leave_no_program_at_the_cgroup() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    let [dst, _] = cluster_ips();
    wait_for_answer(&cluster.node.ns, dst);
    assert_eq!(attached(&cluster).len(), 9);
    cluster.agent.stop();
    assert_eq!(attached(&cluster).len(), 9, "stopping leaves everything in place");
    let cleaned = cluster.waggle(&["cleanup"]);
    assert!(cleaned.contains("removed 9 programs from the cgroups"), "{cleaned}");
    assert_eq!(attached(&cluster), Vec::<String>::new());
    let silence = Duration::from_millis(300);
    assert!(http_get(&cluster.node.ns, dst, None, silence).is_err());
    cluster.agent.restart(&cluster.node.ns);
    wait_for_answer(&cluster.node.ns, dst);
    cluster.agent.stop();
    let flags = ["--socket-lb=off"];
    cluster.agent =
        crate::cluster::start_agent(&cluster.node, &cluster.manifests, &cluster.bpffs, &flags);
    cluster.agent.wait_printed("every source has delivered", PATIENCE);
    assert_eq!(attached(&cluster), Vec::<String>::new(), "an agent that is told so lets go");
}
