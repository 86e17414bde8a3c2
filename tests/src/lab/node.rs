//! A node: a namespace that routes, with an uplink to the router and pods of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::links::{self, GATEWAY_MAC};
use super::{Carrier, Cgroup, Lab, Namespace, Pod, ROUTER_V4, ROUTER_V6, UPLINK, fabric_addresses};

/// How pods are connected to their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Each pod has a link of its own with a host route, and a gateway (169.254.1.1, `fe80::1`) that
    /// exists only in its neighbour table: Calico, AWS VPC CNI.
    Routed,
    /// The pods' links are ports of the bridge `cni0`, which holds the gateway's addresses, without
    /// hairpin mode: bridge, flannel.
    Bridge,
}

/// The kernel's check that a packet's source is reached by the interface it came by (RFC 3704).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpFilter {
    /// No check.
    Off = 0,
    /// By exactly that interface: what a new node has.
    Strict = 1,
    /// By any interface.
    Loose = 2,
}

/// A node of the cluster: it and its pods have a cgroup of their own. Its uplink is [`UPLINK`]; a pod's link on the node is `veth-<pod>`.
#[derive(Debug)]
pub struct Node {
    /// Where it lives.
    pub ns: Namespace,
    /// `node1`, `node2`, …
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    topology: Topology,
    carrier: Carrier,
    pod_mtu: u32,
    number: u8,
    pods: AtomicU8,
    cgroup: Arc<Cgroup>,
}

/// The bridge of [`Topology::Bridge`].
const BRIDGE: &str = "cni0";

impl Node {
    pub(super) fn new(lab: &Lab, number: u8, topology: Topology) -> Self {
        let name = format!("node{number}");
        let cgroup = Arc::new(Cgroup::new(&name));
        let ns = Namespace::in_cgroup(&name, &cgroup);
        let (v4, v6) = fabric_addresses(10 + number);
        // The gateway is the first address, also where it is nobody's.
        let (carrier, pod_mtu, pods) = (lab.carrier, lab.pod_mtu(), AtomicU8::new(2));
        let node = Self { ns, name, v4, v6, topology, carrier, pod_mtu, number, pods, cgroup };
        node.ns.forward_packets();
        node.set_rp_filter(RpFilter::Strict);
        lab.plug(&node.ns, &node.name, (v4, v6));
        node.ns.ip(&format!(
            "route add 0.0.0.0/0 via {ROUTER_V4}
             route add ::/0 via {ROUTER_V6}"
        ));
        carrier.connect(lab, &node);
        if topology == Topology::Bridge {
            let (v4, v6) = pod_addresses(number, 1);
            links::add_bridge(&node.ns, BRIDGE, v4, v6);
        }
        node
    }

    /// The networks of its pods, IPv4 first.
    #[must_use]
    pub fn pod_cidrs(&self) -> [String; 2] {
        let (v4, v6) = pod_addresses(self.number, 0);
        [format!("{v4}/24"), format!("{v6}/64")]
    }

    /// Its addresses on the way to the pods of other nodes, IPv4 first: what those pods see of it.
    #[must_use]
    pub fn addresses_towards_pods(&self) -> [IpAddr; 2] {
        self.carrier.addresses(self)
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// Adds a pod, also while agents run. `name` is at most 10 characters, for `veth-<name>`.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        self.pod_in(name, &self.cgroup)
    }

    /// The same with a cgroup of its own, called as the kubelet calls that of the pod with this uid.
    #[must_use]
    pub fn pod_with_uid(&self, name: &str, uid: &str) -> Pod {
        self.pod_in(name, &Arc::new(Cgroup::below(&self.cgroup, &format!("pod{uid}"))))
    }

    fn pod_in(&self, name: &str, cgroup: &Arc<Cgroup>) -> Pod {
        let ns = Namespace::in_cgroup(&format!("{}-{name}", self.name), cgroup);
        let (v4, v6) = pod_addresses(self.number, self.pods.fetch_add(1, Ordering::Relaxed));
        let pod = Pod { ns, name: name.to_owned(), v4, v6, host_link: format!("veth-{name}") };
        match self.topology {
            Topology::Routed => self.connect_by_route(&pod),
            Topology::Bridge => self.connect_by_bridge(&pod),
        }
        pod
    }

    /// Sets the check on every interface, present and future.
    pub fn set_rp_filter(&self, mode: RpFilter) {
        self.ns.run(|| {
            for interface in fs::read_dir("/proc/sys/net/ipv4/conf").expect("list interfaces") {
                let file = interface.expect("list interfaces").path().join("rp_filter");
                fs::write(file, (mode as u8).to_string()).expect("set rp_filter");
            }
        });
    }

    fn connect_by_route(&self, pod: &Pod) {
        let link = &pod.host_link;
        links::add_veth((&self.ns, link), (&pod.ns, UPLINK), self.pod_mtu);
        self.ns.ip(&format!("link set {link} address {GATEWAY_MAC}"));
        links::bring_up((&self.ns, link), (&pod.ns, UPLINK));
        self.ns.ip(&format!(
            "addr add fe80::1/64 dev {link} nodad
             route add {}/32 dev {link}
             route add {}/128 dev {link}",
            pod.v4, pod.v6
        ));
        pod.ns.ip(&format!(
            "addr add {}/32 dev {UPLINK}
             addr add {}/128 dev {UPLINK} nodad
             neigh add 169.254.1.1 lladdr {GATEWAY_MAC} dev {UPLINK} nud permanent
             neigh add fe80::1 lladdr {GATEWAY_MAC} dev {UPLINK} nud permanent
             route add 169.254.1.1/32 dev {UPLINK} scope link
             route add 0.0.0.0/0 via 169.254.1.1 dev {UPLINK}
             route add ::/0 via fe80::1 dev {UPLINK}",
            pod.v4, pod.v6
        ));
    }

    fn connect_by_bridge(&self, pod: &Pod) {
        let (gateway_v4, gateway_v6) = pod_addresses(self.number, 1);
        links::add_veth((&self.ns, &pod.host_link), (&pod.ns, UPLINK), self.pod_mtu);
        links::join_bridge(&self.ns, &pod.host_link, BRIDGE);
        links::bring_up((&self.ns, &pod.host_link), (&pod.ns, UPLINK));
        pod.ns.ip(&format!(
            "addr add {}/24 dev {UPLINK}
             addr add {}/64 dev {UPLINK} nodad
             route add 0.0.0.0/0 via {gateway_v4}
             route add ::/0 via {gateway_v6}",
            pod.v4, pod.v6
        ));
    }
}

/// Addresses in the networks of the pods of node `number`.
pub(super) fn pod_addresses(number: u8, host: u8) -> (Ipv4Addr, Ipv6Addr) {
    let network = Ipv6Addr::new(0xfd00, 0x10, number.into(), 0, 0, 0, 0, 0);
    (Ipv4Addr::new(10, number, 0, host), super::with_last_digits(network, host))
}
