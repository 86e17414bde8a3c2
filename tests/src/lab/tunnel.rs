//! A device without Ethernet headers: VXLAN-GPE, the tunnel for bare IP packets that needs neither a
//! kernel module nor a process that forwards. Programs at TC see what they see on wireguard or ipip.

use std::net::{IpAddr, Ipv4Addr};

use super::Namespace;

/// The device, one in a namespace.
pub(super) const DEVICE: &str = "tunnel";

/// Makes the device, with an address of each family.
pub(super) fn add(namespace: &Namespace, [v4, v6]: [IpAddr; 2], mtu: u32) {
    namespace.ip(&format!(
        "link add {DEVICE} mtu {mtu} type vxlan dstport 4790 external gpe
         link set {DEVICE} up
         addr add {v4}/32 dev {DEVICE}
         addr add {v6}/128 dev {DEVICE} nodad"
    ));
}

/// Sends what goes to `prefix` through the device, to that of the namespace with the address `there`.
pub(super) fn route(namespace: &Namespace, prefix: &str, there: Ipv4Addr) {
    namespace.ip(&format!("route add {prefix} encap ip id 1 dst {there} dev {DEVICE}"));
}
