//! Which clients are hidden from which backends: the whole table of kube-proxy-behaviour §10.7, for
//! both families and every setting.
//!
//! The flow entries say it; `legs` shows that it is done.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::abi::flow::{Flow, FlowKey, Hook, flags};
use lb_common::abi::frontend::flags::{EXTERNAL, LOCAL};
use lb_common::abi::prefix::client::{NODE, POD, UNTOLD};
use lb_common::abi::settings::masquerade::{ALL, LOCAL_BACKENDS};
use lb_common::net::Address;
use lb_common::net::protocol::TCP;
use lb_common::parse::tcp::SYN;
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, World, tcp};

/// How many connections each client opens to each destination.
const CONNECTIONS: u16 = 8;

/// §10.7: client, destination and service; then, per column, the lists and whether the client is
/// hidden as kube-proxy does it. The columns: as usual, no detector, masquerade all, both.
#[rustfmt::skip]
const TABLE: [(&str, &str, usize, [&str; 4]); 27] = [
    ("pod",      "ClusterIP", 1, ["LR no",  "LR no",  "LR yes", "LR yes"]),
    ("pod",      "NodePort",  1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("pod",      "LB",        1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("node",     "ClusterIP", 1, ["LR yes", "LR no",  "LR yes", "LR yes"]),
    ("node",     "NodePort",  1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("node",     "LB",        1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("external", "ClusterIP", 1, ["LR yes", "LR no",  "LR yes", "LR yes"]),
    ("external", "NodePort",  1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("external", "LB",        1, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("pod",      "ClusterIP", 2, ["LR no",  "LR no",  "LR yes", "LR yes"]),
    ("pod",      "NodePort",  2, ["LR no",  "L no",   "LR no",  "L no"]),
    ("pod",      "LB",        2, ["LR no",  "L no",   "LR no",  "L no"]),
    ("node",     "ClusterIP", 2, ["LR yes", "LR no",  "LR yes", "LR yes"]),
    ("node",     "NodePort",  2, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("node",     "LB",        2, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("external", "ClusterIP", 2, ["LR yes", "LR no",  "LR yes", "LR yes"]),
    ("external", "NodePort",  2, ["L no",   "L no",   "L no",   "L no"]),
    ("external", "LB",        2, ["L no",   "L no",   "L no",   "L no"]),
    ("pod",      "ClusterIP", 3, ["L no",   "L no",   "L yes",  "L yes"]),
    ("pod",      "NodePort",  3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("pod",      "LB",        3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("node",     "ClusterIP", 3, ["L yes",  "L no",   "L yes",  "L yes"]),
    ("node",     "NodePort",  3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("node",     "LB",        3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("external", "ClusterIP", 3, ["L yes",  "L no",   "L yes",  "L yes"]),
    ("external", "NodePort",  3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
    ("external", "LB",        3, ["LR yes", "LR yes", "LR yes", "LR yes"]),
];

/// The addresses of one family. Clients: pod, node, external; pods' prefix; everybody; the backends
/// on this node and elsewhere; the start of all services' ClusterIPs, of their LB addresses.
struct Addresses {
    clients: [&'static str; 3],
    pods: &'static str,
    node: &'static str,
    everybody: &'static str,
    backends: [&'static str; 2],
    cluster_ip: &'static str,
    lb: &'static str,
    node_port: &'static str,
}

const V4: Addresses = Addresses {
    clients: ["10.0.0.2", "192.168.0.2", "203.0.113.2"],
    pods: "10.0.0.0/8",
    node: "192.168.0.2/32",
    everybody: "0.0.0.0/0",
    backends: ["10.180.2.1:80", "10.180.0.1:80"],
    cluster_ip: "172.30.0.4",
    lb: "1.2.3.",
    node_port: "192.168.0.2",
};

const V6: Addresses = Addresses {
    clients: ["[fd00:10::2]", "[fd00:168::2]", "[2001:db8::2]"],
    pods: "fd00:10::/32",
    node: "fd00:168::2/128",
    everybody: "::/0",
    backends: ["[fd00:10:1::1]:80", "[fd00:10:2::1]:80"],
    cluster_ip: "[fd00:30::",
    lb: "[fd00:96::",
    node_port: "[fd00:168::2]",
};

impl Addresses {
    fn client(&self, kind: &str) -> &str {
        match kind {
            "pod" => self.clients[0],
            "node" => self.clients[1],
            _ => self.clients[2],
        }
    }

    fn destination(&self, kind: &str, service: usize) -> String {
        let end = if self.lb.starts_with('[') { "]" } else { "" };
        match kind {
            "ClusterIP" => format!("{}{service}{end}:80", self.cluster_ip),
            "LB" => format!("{}{service}{end}:80", self.lb),
            _ => format!("{}:300{service}", self.node_port),
        }
    }

    /// The three services of §10.7 and who is who, with a detector or without.
    fn world(&self, has_detector: bool) -> World {
        let services = [(1, 0, EXTERNAL), (2, 0, EXTERNAL | LOCAL), (3, LOCAL, EXTERNAL)];
        let world = services.into_iter().fold(World::default(), |world, service| {
            let (number, internal, external) = service;
            world
                .service(TCP, &[&self.destination("ClusterIP", number)], &self.backends)
                .policy(internal, 1)
                .frontend(TCP, &self.destination("NodePort", number), external)
                .frontend(TCP, &self.destination("LB", number), external)
        });
        if has_detector {
            world.clients(self.pods, POD).clients(self.node, NODE)
        } else {
            world.clients(self.everybody, UNTOLD).clients(self.node, NODE | UNTOLD)
        }
    }
}

/// The backends that connections of a client reach, and whether it is hidden from them.
type Reached = BTreeMap<SocketAddr, bool>;

#[track_caller]
fn reached(datapath: &mut Datapath, client: &str, first_port: u16, destination: &str) -> Reached {
    let ports = first_port..first_port + CONNECTIONS;
    for port in ports.clone() {
        let syn = tcp(&format!("{client}:{port}"), destination, SYN);
        assert_eq!(datapath.send(Hook::Ingress, &syn).verdict, Verdict::Rewritten);
    }
    let (v4, v6) = (datapath.tables().v4.flows(), datapath.tables().v6.flows());
    let v4 = v4.iter().filter_map(|flow| request(flow, client));
    let v6 = v6.iter().filter_map(|flow| request(flow, client));
    let mut reached = Reached::new();
    for (_, backend, hidden) in v4.chain(v6).filter(|(port, ..)| ports.contains(port)) {
        let before = reached.insert(backend, hidden);
        assert!(before.is_none_or(|before| before == hidden), "{backend}: all alike");
    }
    reached
}

/// The client's port, the backend, and whether the client is hidden, if the entry translates
/// requests of `client`.
fn request<A: Address>(
    (key, flow): &(FlowKey<A>, Flow<A>),
    client: &str,
) -> Option<(u16, SocketAddr, bool)> {
    let from = SocketAddr::new(key.src.to_ip(), key.src_port.to_host());
    let is_request = flow.flags & flags::REPLY == 0;
    let is_clients = from.to_string() == format!("{client}:{}", from.port());
    (is_request && is_clients).then(|| {
        let backend = SocketAddr::new(flow.dst.to_ip(), flow.dst_port.to_host());
        (from.port(), backend, flow.flags & flags::MASQUERADE != 0)
    })
}

/// What a cell of the table means. By default a backend on this node sees who asks from outside:
/// that is the one difference to kube-proxy.
fn expected(addresses: &Addresses, cell: &str, destination: &str, setting: u32) -> Reached {
    let (lists, hidden) = cell.split_once(' ').unwrap();
    let [here, there] = addresses.backends.map(|backend| backend.parse().unwrap());
    let hidden = hidden == "yes";
    let hidden_here = hidden && (destination == "ClusterIP" || setting & LOCAL_BACKENDS != 0);
    let everywhere = [(here, hidden_here), (there, hidden)];
    everywhere.into_iter().take(lists.len()).collect()
}

#[track_caller]
fn check_table(addresses: &Addresses, local_backends: u32) {
    for (column, (has_detector, all)) in
        [(true, 0), (false, 0), (true, ALL), (false, ALL)].into_iter().enumerate()
    {
        let setting = all | local_backends;
        let world = addresses.world(has_detector).masquerade(setting);
        let mut datapath = Datapath::new(world.tables());
        for (row, (client, destination, service, cells)) in (0..).zip(TABLE) {
            let dialled = addresses.destination(destination, service);
            let from = addresses.client(client);
            let found = reached(&mut datapath, from, 1000 + row * CONNECTIONS, &dialled);
            let wanted = expected(addresses, cells[column], destination, setting);
            assert_eq!(found, wanted, "{client} to {destination} {service}, column {column}");
        }
    }
}

#[test]
fn every_client_sees_and_is_seen_as_with_kube_proxy() {
    check_table(&V4, LOCAL_BACKENDS);
    check_table(&V6, LOCAL_BACKENDS);
}

#[test]
fn by_default_backends_of_this_node_see_who_asks_from_outside() {
    check_table(&V4, 0);
    check_table(&V6, 0);
}

#[test]
fn a_backend_that_dials_itself_is_hidden_whatever_the_setting_and_the_policy() {
    for setting in [0, ALL, LOCAL_BACKENDS, ALL | LOCAL_BACKENDS] {
        for (policy, what) in [(0, POD), (0, UNTOLD), (EXTERNAL, POD), (EXTERNAL | LOCAL, POD)] {
            let world = World::default()
                .service(TCP, &["172.30.0.41:80"], &["10.0.0.2:80"])
                .policy(policy, 1)
                .clients("10.0.0.0/8", what)
                .masquerade(setting);
            let mut datapath = Datapath::new(world.tables());
            let found = reached(&mut datapath, "10.0.0.2", 1000, "172.30.0.41:80");
            let backend = "10.0.0.2:80".parse().unwrap();
            assert_eq!(found, [(backend, true)].into(), "policy {policy}, setting {setting}");
        }
    }
}
