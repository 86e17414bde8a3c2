//! Masquerade beside others that use the node's addresses and ports: the CNI's own masquerade, strict
//! checks of reverse paths, pods in the node's namespace, sockets of the node.

use std::net::{IpAddr, SocketAddr};

use lb_tests::lab::{Carrier, Lab, Namespace, Node, Topology};
use lb_tests::objects::{Protocol, Slice, slice};
use lb_tests::traffic::{Connection, HttpServer, UdpEcho};

use crate::cluster::{PATIENCE, cluster_ips};
use crate::pair::{Pair, Seen, check_asked, check_bulk, node_ports, wait_for_answer, web};

/// Of bulk data, each way.
const LENGTH: u32 = 1 << 20;

/// Adds rules that masquerade to a node, which thereby tracks connections.
fn masquerade(node: &Node, rules: &str) {
    let table = "table inet cni { chain postrouting { type nat hook postrouting priority srcnat;";
    drop(node.ns.output("nft", &[&format!("{table} {rules} }}\n}}\n")]));
}

/// As a CNI does for pods that ask the world outside.
fn let_pods_leave_from_the_node(node: &Node) {
    let rule = "ip saddr 10.0.0.0/8 ip daddr != 10.0.0.0/8 masquerade; \
                ip6 saddr fd00:10::/32 ip6 daddr != fd00:10::/32 masquerade;";
    masquerade(node, rule);
}

/// As a CNI does whose pods are known to nobody else.
pub(crate) fn let_everything_leave_from_the_node(node: &Node) {
    masquerade(node, "oifname { \"eth0\", \"flannel.1\" } masquerade;");
}

/// What is asked, from where and who must answer; whom the server must see.
#[track_caller]
fn check(from: &Namespace, dst: SocketAddr, name: &str, seen: Seen) {
    wait_for_answer(from, dst, name);
    check_asked(from, dst, name, seen);
    check_bulk(from, dst, LENGTH);
}

/// Both masquerade what a client outside asks of a pod on the other node; answers find their way
/// through both.
#[track_caller]
fn check_beside_cni(carrier: Carrier, rules: fn(&Node), pods_are_hidden: bool) {
    let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
    for node in &pair.nodes {
        rules(node);
        assert_eq!(node.ns.sysctl("net.ipv4.conf.eth0.rp_filter"), "1", "the check is strict");
    }
    let [first, _] = &pair.nodes;
    let hidden = first.addresses_towards_pods().map(Seen::Other);
    let [local, remote] = [&pair.servers[..1], &pair.servers[1..]];
    for (servers, name, outside) in
        [(remote, "web2", hidden), (local, "web1", [Seen::Client; 2]), (remote, "web2", hidden)]
    {
        pair.write(&web(), servers);
        for (dst, seen) in node_ports(first).into_iter().zip(outside) {
            check(&pair.client.ns, dst, name, seen);
        }
        let inside = if pods_are_hidden { outside } else { [Seen::Client; 2] };
        for (dst, seen) in cluster_ips().into_iter().zip(inside) {
            check(&pair.pods[0].ns, dst, name, seen);
        }
    }
}

#[test]
fn a_cni_that_masquerades_pods_is_no_obstacle_over_routed_links() {
    check_beside_cni(Carrier::Routed, let_pods_leave_from_the_node, false);
}

#[test]
fn a_cni_that_masquerades_pods_is_no_obstacle_over_vxlan() {
    check_beside_cni(Carrier::Vxlan, let_pods_leave_from_the_node, false);
}

#[test]
fn a_node_that_masquerades_all_that_leaves_is_no_obstacle_over_routed_links() {
    check_beside_cni(Carrier::Routed, let_everything_leave_from_the_node, true);
}

#[test]
fn a_node_that_masquerades_all_that_leaves_is_no_obstacle_over_vxlan() {
    check_beside_cni(Carrier::Vxlan, let_everything_leave_from_the_node, true);
}

/// Where pods in a node's own namespace serve.
const HOST_PORT: u16 = 8090;

/// The slices of `default/web` with a pod in the node's own namespace.
fn on_host(node: &Node) -> [Slice; 2] {
    [("0", IpAddr::from(node.v4)), ("1", node.v6.into())].map(|(family, ip)| {
        slice(&format!("default/web-{family}"))
            .service("web")
            .port("http", HOST_PORT, Protocol::Tcp)
            .port("dns", HOST_PORT, Protocol::Udp)
            .endpoint(&ip.to_string())
            .on(&node.name)
    })
}

/// The CNI hides pods from other nodes, as it must where there is an overlay: they would answer by
/// another way than they were asked.
#[track_caller]
fn check_host_network(carrier: Carrier) {
    let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
    let [first, _] = &pair.nodes;
    let _serving = [0, 1].map(|n| {
        let Node { ns, name, v4, v6, .. } = &pair.nodes[n];
        let own = [IpAddr::from(*v4), IpAddr::from(*v6)].map(|ip| SocketAddr::new(ip, HOST_PORT));
        (HttpServer::start(ns, name, HOST_PORT), own.map(|address| UdpEcho::at(ns, name, address)))
    });
    pair.nodes.iter().for_each(let_pods_leave_from_the_node);
    let hidden = [IpAddr::from(first.v4), first.v6.into()].map(Seen::Other);
    for (node, seen) in pair.nodes.iter().zip([[Seen::Client; 2], hidden]) {
        pair.write_slices("web", &web(), on_host(node));
        for (index, (from, dst)) in pair.askers().into_iter().enumerate() {
            check(from, dst, &node.name, seen[index % 2]);
        }
    }
}

#[test]
fn pods_in_the_namespace_of_a_node_serve_over_routed_links() {
    check_host_network(Carrier::Routed);
}

#[test]
fn pods_in_the_namespace_of_a_node_serve_beside_vxlan() {
    check_host_network(Carrier::Vxlan);
}

/// Sockets of the node that were bound there on purpose, beside masqueraded flows to the same backend
/// from every hundredth port.
#[test]
fn sockets_of_the_node_on_masquerade_ports_go_on_working() {
    const LISTENS: u16 = 61_234;
    let pair = Pair::new(Lab::new(), Topology::Routed);
    pair.write(&web(), &pair.servers[1..]);
    let [first, _] = &pair.nodes;
    let _serving = HttpServer::start(&first.ns, "node", LISTENS);
    let own = [IpAddr::from(first.v4), first.v6.into()];
    for ((dst, backend), own) in
        node_ports(first).into_iter().zip(pair.servers[1].sockets()).zip(own)
    {
        let open = |from, dst, port| {
            let any = if own.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
            let bind = SocketAddr::new(any, port);
            Connection::open(from, dst, Some(bind), PATIENCE).expect("a connection")
        };
        wait_for_answer(&pair.client.ns, dst, "web2");
        let mut asks = open(&first.ns, backend, 61_250);
        let mut masqueraded: Vec<_> =
            (61_000..61_500).step_by(100).map(|port| open(&pair.client.ns, dst, port)).collect();
        for _ in 0..3 {
            assert_eq!(asks.get("/").expect("an answer").name, "web2");
            for connection in &mut masqueraded {
                let answer = connection.get("/").expect("an answer");
                let seen = answer.seen_peer.expect("a greeting");
                assert_eq!((seen.ip(), seen.port()), (own, answer.local.port()));
            }
        }
        wait_for_answer(&pair.client.ns, SocketAddr::new(own, LISTENS), "node");
    }
}
