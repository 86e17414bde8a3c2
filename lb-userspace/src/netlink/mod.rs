//! The node's interfaces and addresses, as the kernel tells them over rtnetlink.
//!
//! [`watch::follow`] keeps a [`Network`] equal to the kernel's view; [`rule`] says which of its
//! interfaces are ours. Nothing here changes an interface.

mod dump;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod namespace;
pub mod rule;
pub(crate) mod sock_diag;
pub mod source;
pub mod watch;

pub use rule::{InterfaceFilter, Layer, Target, targets};
pub use watch::follow;

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Every interface and address of the network namespace the agent runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// By ifindex.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Usable addresses: no tentative or duplicate ones. In the kernel's order, in which the first
    /// of an interface that fits is chosen as a source.
    pub addresses: Vec<InterfaceAddress>,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its ifindex.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What `ip -d link` calls it (`veth`, `bridge`, `vxlan`, …); empty for hardware.
    pub kind: String,
    /// What its packets begin with.
    pub header: LinkHeader,
    /// The ifindex of the bridge, bond or VRF it is a port of.
    pub master: Option<u32>,
    /// Its other end, or the device below it, is in another network namespace.
    pub peer_elsewhere: bool,
    /// Whether it is administratively up.
    pub up: bool,
}

/// What the packets of a device begin with, from its ARPHRD type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    /// An Ethernet header.
    Ethernet,
    /// The network header itself: tun, wireguard, ipip, sit.
    None,
    /// An Ethernet header, and it is the loopback device.
    Loopback,
    /// Something the programs cannot parse.
    Unknown,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's ifindex.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// The bits of it that name its network; of a point-to-point link, the other end's.
    pub prefix_len: u8,
    /// How far it is valid.
    pub scope: Scope,
    /// Whether the kernel chooses it for new flows: neither a second address of an IPv4 network,
    /// nor a temporary or deprecated IPv6 address.
    pub preferred: bool,
}

/// How far an address is valid (`man 8 ip-address`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere, or within the site.
    Global,
    /// On its link only.
    Link,
    /// In this host only, as 127.0.0.1 is.
    Host,
}
