//! What carries packets between the pods of different nodes.

use std::net::IpAddr;

use super::{Lab, Node, UPLINK, fabric_addresses, tunnel};

/// How a node reaches the pods of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The router knows which node holds which pods, as the route table of a cloud network does.
    Routed,
    /// The VXLAN device `flannel.1`, with fixed entries for every other node: flannel.
    Vxlan,
    /// The device `tunnel`, whose packets have no Ethernet header, like those of wireguard or ipip.
    Headerless,
}

/// Nodes know this many of each other beforehand.
const NODES: u8 = 4;

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Routed, Self::Vxlan, Self::Headerless];

    /// Bytes that it adds to every packet between pods.
    pub(super) const fn overhead(self) -> u32 {
        match self {
            Self::Routed => 0,
            Self::Vxlan | Self::Headerless => 50,
        }
    }

    /// The addresses of the node that pods of other nodes see, IPv4 first.
    pub(super) fn addresses(self, node: &Node) -> [IpAddr; 2] {
        match self {
            Self::Routed => [node.v4.into(), node.v6.into()],
            Self::Vxlan | Self::Headerless => pods_of(node.number()),
        }
    }

    /// Makes the ways between the pods of `node` and those of all others.
    pub(super) fn connect(self, lab: &Lab, node: &Node) {
        match self {
            Self::Routed => {
                for (cidr, via) in node.pod_cidrs().iter().zip(self.addresses(node)) {
                    lab.router.ip(&format!("route add {cidr} via {via}"));
                }
            }
            Self::Vxlan => add_vxlan(node, lab.pod_mtu()),
            Self::Headerless => add_tunnel(node, lab.pod_mtu()),
        }
    }
}

fn add_vxlan(node: &Node, mtu: u32) {
    const DEVICE: &str = "flannel.1";
    // The first address of the pods' network is the device's, and thereby nobody else's.
    let ([v4, v6], own_mac, local) = (pods_of(node.number()), mac(node.number()), node.v4);
    node.ns.ip(&format!(
        "link add {DEVICE} mtu {mtu} address {own_mac} type vxlan id 1 dev {UPLINK} local {local} dstport 8472 nolearning
         link set {DEVICE} up
         addr add {v4}/32 dev {DEVICE}
         addr add {v6}/128 dev {DEVICE} nodad"
    ));
    for other in others(node) {
        let ([v4, v6], mac) = (pods_of(other), mac(other));
        node.ns.ip(&format!(
            "neigh add {v4} lladdr {mac} dev {DEVICE} nud permanent
             neigh add {v6} lladdr {mac} dev {DEVICE} nud permanent
             route add {v4}/24 via {v4} dev {DEVICE} onlink
             route add {v6}/64 via {v6} dev {DEVICE} onlink"
        ));
        let (there, _) = fabric_addresses(10 + other);
        let entry = format!("fdb append {mac} dev {DEVICE} dst {there}");
        drop(node.ns.output("bridge", &entry.split(' ').collect::<Vec<_>>()));
    }
}

fn add_tunnel(node: &Node, mtu: u32) {
    tunnel::add(&node.ns, pods_of(node.number()), mtu);
    for other in others(node) {
        let ([v4, v6], (there, _)) = (pods_of(other), fabric_addresses(10 + other));
        tunnel::route(&node.ns, &format!("{v4}/24"), there);
        tunnel::route(&node.ns, &format!("{v6}/64"), there);
    }
}

fn others(node: &Node) -> impl Iterator<Item = u8> {
    let own = node.number();
    assert!(own <= NODES, "nodes with an overlay know {NODES} of each other");
    (1..=NODES).filter(move |number| *number != own)
}

/// The first address of the pods' network of node `number`, of each family.
fn pods_of(number: u8) -> [IpAddr; 2] {
    let (v4, v6) = super::node::pod_addresses(number, 0);
    [v4.into(), v6.into()]
}

fn mac(number: u8) -> String {
    format!("0a:00:00:00:00:{number:02x}")
}
