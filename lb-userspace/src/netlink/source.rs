//! Which address a packet gets that is masqueraded where it leaves. Pure.
//!
//! As the kernel's own masquerade chooses it: the first address of the device that is valid
//! everywhere and meant for new flows. Netfilter sees the bridge where our programs see its port,
//! so behind a port the addresses of its bridge count.

use std::collections::BTreeMap;
use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Interface, LinkHeader, Network, Scope};

/// How deep the kernel lets devices be stacked (`MAX_NEST_DEV`).
const DEEPEST: usize = 8;

/// The source of packets that leave by an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Of IPv4 packets, if the interface has an address for them.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// The sources by ifindex, of the interfaces that have one. Loopback is none: what leaves by it
/// stays in this host.
#[must_use]
pub fn sources(network: &Network) -> BTreeMap<u32, Source> {
    let own = first_addresses(network);
    let outward = network.interfaces.values().filter(|it| it.header != LinkHeader::Loopback);
    let of =
        |interface: &Interface| Some((interface.index, *own.get(&holder(network, interface)?)?));
    outward.filter_map(of).collect()
}

/// The addresses that each interface itself has.
fn first_addresses(network: &Network) -> BTreeMap<u32, Source> {
    let mut found = BTreeMap::<u32, Source>::new();
    let usable = network.addresses.iter().filter(|it| it.scope == Scope::Global && it.preferred);
    for address in usable {
        let source = found.entry(address.interface).or_default();
        match address.ip {
            IpAddr::V4(ip) => _ = source.v4.get_or_insert(ip),
            IpAddr::V6(ip) => _ = source.v6.get_or_insert(ip),
        }
    }
    found
}

/// The interface that has the addresses of those who send through `interface`: itself, or the
/// bridge or bond it is a port of. The ports of a VRF keep theirs.
fn holder(network: &Network, interface: &Interface) -> Option<u32> {
    let master = |port: &&Interface| {
        let master = network.interfaces.get(&port.master?);
        master.filter(|it| matches!(it.kind.as_str(), "bridge" | "bond" | "team"))
    };
    successors(Some(interface), master).take(DEEPEST).last().map(|holder| holder.index)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::network;
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let network = network(lines);
        let found = sources(&network);
        let text = |(index, Source { v4, v6 }): (&u32, &Source)| {
            let addresses = [v4.map(IpAddr::from), v6.map(IpAddr::from)];
            let name = &network.interfaces[index].name;
            addresses.iter().flatten().fold(name.clone(), |line, ip| format!("{line} {ip}"))
        };
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected, "{lines:?}");
    }

    #[test]
    fn the_first_address_that_is_valid_everywhere_counts() {
        let addresses = "169.254.7.7/16 192.168.0.11/24 192.168.0.12/24 fe80::1/64 fd00::11/64";
        check(&[&format!("eth0 - ether {addresses}")], &["eth0 192.168.0.11 fd00::11"]);
        check(&["flannel.1 vxlan ether 10.244.1.0/32"], &["flannel.1 10.244.1.0"]);
        check(&["eth0 - ether 192.168.9.1/24 192.168.0.1/24"], &["eth0 192.168.9.1"]);
    }

    #[test]
    fn addresses_of_the_link_or_the_host_never_count() {
        check(&["lo - loopback 127.0.0.1/8 10.0.0.1/32", "cali1 veth ether fe80::1/64"], &[]);
    }

    #[test]
    fn addresses_that_new_flows_should_not_have_never_count() {
        let old =
            ["old:192.168.0.1/24 192.168.0.2/24", "old:fd00::1/64 fd00::2/64", "old:fd00::1/64"];
        for (addresses, expected) in
            old.iter().zip([&["eth0 192.168.0.2"][..], &["eth0 fd00::2"], &[]])
        {
            check(&[&format!("eth0 - ether {addresses}")], expected);
        }
    }

    #[test]
    fn a_port_has_the_addresses_of_its_bridge_or_bond() {
        let lines = [
            "cni0 bridge ether 10.1.1.1/24",
            "veth1 veth ether cni0 elsewhere 10.9.9.9/24",
            "br0 bridge ether fd00::1/64",
            "bond0 bond ether br0",
            "eth0 - ether bond0",
            "ovs0 openvswitch ether 10.8.0.1/24",
            "veth2 veth ether ovs0 10.7.0.1/24",
        ];
        let expected = [
            "cni0 10.1.1.1",
            "veth1 10.1.1.1",
            "br0 fd00::1",
            "bond0 fd00::1",
            "eth0 fd00::1",
            "ovs0 10.8.0.1",
            "veth2 10.7.0.1",
        ];
        check(&lines, &expected);
        check(&["br0 bridge ether", "veth1 veth ether br0 10.9.9.9/24"], &[]);
    }

    #[test]
    fn a_port_of_a_vrf_has_its_own() {
        check(&["vrf0 vrf ether 10.0.0.1/32", "eth0 - ether vrf0"], &["vrf0 10.0.0.1"]);
    }
}
