//! A small world of network namespaces: nodes with pods, clients outside, one router between them.
//!
//! ```text
//!  pod a ─ node1 ─┐
//!  pod b ─┘       ├─ router ─ client1
//!  pod c ─ node2 ─┘
//! ```
//!
//! The router is a switch (all nodes and clients share one network) that also knows which node
//! holds which pods, as the route table of a cloud network does, unless the nodes have an overlay
//! ([`Carrier`]). A client has no route to pods unless a test gives it one: an answer must come from
//! the address it dialled.
//!
//! | who | IPv4 | IPv6 |
//! |---|---|---|
//! | router | `192.168.0.1` | `fd00:c0::1` |
//! | node *n* | `192.168.0.(10+n)` | `fd00:c0::(10+n)` |
//! | client *n* | `192.168.0.(100+n)` | `fd00:c0::(100+n)` |
//! | pods of node *n* | `10.n.0.2` and on | `fd00:10:n::2` and on |
//!
//! Addresses are the same in every lab, for each has namespaces of its own; numbers in IPv6
//! addresses are written in decimal digits (`fd00:c0::101`), so that they read like IPv4's.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};

mod agent;
mod bpffs;
mod carrier;
mod cgroup;
mod client;
mod leftovers;
mod links;
mod namespace;
mod narrow;
mod node;
mod patience;
mod pod;
mod program;
mod tunnel;

pub use agent::{Agent, binary as agent_binary, waggle};
pub use bpffs::Bpffs;
pub use carrier::Carrier;
pub use cgroup::Cgroup;
pub use client::Client;
pub use leftovers::{require_root, temporary_directory};
pub use namespace::Namespace;
pub use node::{Node, RpFilter, Topology};
pub use patience::{let_pass, wait_for, wait_until};
pub use pod::Pod;
pub use program::Program;

/// The router's addresses.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// The router's addresses.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc0, 0, 0, 0, 0, 0, 1);

/// A world: the router in its middle, and the numbers its nodes and clients get.
#[derive(Debug)]
pub struct Lab {
    /// The router's namespace: reachable from every node, so the place for an API server.
    pub router: Namespace,
    carrier: Carrier,
    mtu: u32,
    nodes: AtomicU8,
    clients: AtomicU8,
}

impl Lab {
    /// An empty world: nodes will be connected by ordinary routes over links of 1500 bytes.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "building a world is not a default")]
    pub fn new() -> Self {
        Self::with(Carrier::Routed, 1500)
    }

    /// An empty world with another way between nodes, or other links: all of them, those of pods
    /// less what the carrier needs, will take packets of `mtu` bytes.
    #[must_use]
    pub fn with(carrier: Carrier, mtu: u32) -> Self {
        let router = Namespace::new("router");
        router.forward_packets();
        // The switch would tell nodes the direct way to each other's pods.
        router.sysctls(&[
            ("net.ipv4.conf.all.send_redirects", "0"),
            ("net.ipv4.conf.default.send_redirects", "0"),
        ]);
        links::add_bridge(&router, SWITCH, ROUTER_V4, ROUTER_V6);
        Self { router, carrier, mtu, nodes: AtomicU8::new(0), clients: AtomicU8::new(0) }
    }

    /// Adds a node: `node1`, `node2`, …
    pub fn node(&self, topology: Topology) -> Node {
        Node::new(self, self.nodes.fetch_add(1, Ordering::Relaxed) + 1, topology)
    }

    /// Adds a client outside the cluster: `client1`, `client2`, …
    pub fn client(&self) -> Client {
        Client::new(self, self.clients.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The same, behind a wire: a namespace with the interfaces `near` (the client's side) and `far`,
    /// which it is for the test to connect.
    pub fn client_behind_wire(&self) -> (Client, Namespace) {
        let wire = Namespace::new("wire");
        let number = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        (Client::behind(self, number, &wire), wire)
    }

    /// The largest packet from and to pods.
    fn pod_mtu(&self) -> u32 {
        self.mtu - self.carrier.overhead()
    }

    /// Connects `inside`'s new interface `eth0` with the given addresses to the router's port `port`.
    fn plug(&self, inside: &Namespace, port: &str, (v4, v6): (Ipv4Addr, Ipv6Addr)) {
        self.connect((inside, UPLINK), port);
        give_addresses(inside, (v4, v6));
    }

    /// Makes the interface `end`, at the router's port `port`.
    fn connect(&self, end: links::End<'_>, port: &str) {
        links::add_veth((&self.router, port), end, self.mtu);
        links::join_bridge(&self.router, port, SWITCH);
        links::bring_up((&self.router, port), end);
    }
}

/// Gives the uplink of a node or client its addresses.
fn give_addresses(inside: &Namespace, (v4, v6): (Ipv4Addr, Ipv6Addr)) {
    inside.ip(&format!(
        "addr add {v4}/24 dev {UPLINK}
             addr add {v6}/64 dev {UPLINK} nodad"
    ));
}

/// The router's bridge.
const SWITCH: &str = "switch";
/// The one interface of pods and clients, and a node's way out.
pub const UPLINK: &str = "eth0";

/// Addresses on the network of nodes and clients. `number` is at most 199.
fn fabric_addresses(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    (
        Ipv4Addr::new(192, 168, 0, number),
        with_last_digits(Ipv6Addr::new(0xfd00, 0xc0, 0, 0, 0, 0, 0, 0), number),
    )
}

/// `network` with a last group that reads as `number` in decimal digits.
fn with_last_digits(network: Ipv6Addr, number: u8) -> Ipv6Addr {
    let mut groups = network.segments();
    groups[7] =
        u16::from_str_radix(&number.to_string(), 16).expect("decimal digits are hexadecimal ones");
    Ipv6Addr::from(groups)
}
