//! A pod: a namespace with one interface, on a node.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use super::{Namespace, UPLINK};

/// A pod with an address of each family. Dropping it removes it from its node.
#[derive(Debug)]
pub struct Pod {
    /// Where it lives.
    pub ns: Namespace,
    /// Its name, unique on its node.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// The name of its link in the node's namespace.
    pub host_link: String,
}

impl Drop for Pod {
    /// The link goes at once, on the node too: a namespace lingers while a socket of it is open.
    fn drop(&mut self) {
        let delete = || Command::new("ip").args(["link", "delete", UPLINK]).output();
        self.ns.run(delete).ok();
    }
}
