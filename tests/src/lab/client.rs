//! Somebody outside the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Lab, Namespace, Node, UPLINK, fabric_addresses, links, tunnel};

/// The largest packet in a tunnel over ordinary links.
const MTU: u32 = 1450;

/// A host on the network of the nodes. It has no default route and none to pods.
#[derive(Debug)]
pub struct Client {
    /// Where it lives.
    pub ns: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Client {
    pub(super) fn new(lab: &Lab, number: u8) -> Self {
        let name = format!("client{number}");
        let ns = Namespace::new(&name);
        let (v4, v6) = fabric_addresses(100 + number);
        lab.plug(&ns, &name, (v4, v6));
        Self { ns, v4, v6 }
    }

    /// Not on the network of the nodes, but at the near side of `wire`.
    pub(super) fn behind(lab: &Lab, number: u8, wire: &Namespace) -> Self {
        let name = format!("client{number}");
        let ns = Namespace::new(&name);
        let (v4, v6) = fabric_addresses(100 + number);
        lab.connect((wire, "far"), &name);
        // What the wire adds to a packet must not make it too long.
        links::add_veth((wire, "near"), (&ns, UPLINK), lab.mtu - 8);
        links::bring_up((wire, "near"), (&ns, UPLINK));
        super::give_addresses(&ns, (v4, v6));
        Self { ns, v4, v6 }
    }

    /// Sends what goes to `prefix` (an address or a CIDR of either family) by way of `node`, as the
    /// outside world does with the addresses of load balancers.
    pub fn route(&self, prefix: &str, node: &Node) {
        let via = if prefix.contains(':') { IpAddr::V6(node.v6) } else { IpAddr::V4(node.v4) };
        self.ns.ip(&format!("route add {prefix} via {via}"));
    }

    /// Digs a tunnel to `node`, whose packets have no Ethernet header, and sends what goes to
    /// `prefixes` through it; the client's addresses are others there. Once for each node.
    pub fn tunnel(&self, node: &Node, prefixes: &[&str]) {
        let ends = [2, 1].map(|end| {
            [
                Ipv4Addr::new(172, 31, 0, end).into(),
                Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, end.into()).into(),
            ]
        });
        let [own, its]: [[IpAddr; 2]; 2] = ends;
        tunnel::add(&self.ns, own, MTU);
        tunnel::add(&node.ns, its, MTU);
        for prefix in prefixes {
            tunnel::route(&self.ns, prefix, node.v4);
        }
        for ip in own {
            tunnel::route(&node.ns, &ip.to_string(), self.v4);
        }
    }

    /// Gives the client a direct way to the node's pods.
    pub fn route_to_pods(&self, node: &Node) {
        for cidr in node.pod_cidrs() {
            self.route(&cidr, node);
        }
    }
}
