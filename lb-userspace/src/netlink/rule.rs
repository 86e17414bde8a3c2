//! Which interfaces are ours, which programs they need, and which lead to pods. Pure.
//!
//! Ours is every host-side interface at which packets of clients or backends enter or leave, and each
//! packet once: a bridge is left out in favour of its ports, the slaves of a bond in favour of the
//! bond (design §3.1).

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet};

use super::{Interface, InterfaceAddress, LinkHeader, Network, Scope};

/// An interface that should have our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its ifindex.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Which programs it needs.
    pub layer: Layer,
}

/// Where the packets of an interface begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// With an Ethernet header.
    Ethernet,
    /// With the network header.
    L3,
}

/// The interfaces an operator wants and does not want, by name.
#[derive(Clone, Debug)]
pub struct InterfaceFilter {
    include: GlobSet,
    exclude: GlobSet,
}

impl InterfaceFilter {
    /// Matches what one of `include` matches and none of `exclude`.
    pub fn new(include: &[Glob], exclude: &[Glob]) -> Result<Self, globset::Error> {
        Ok(Self { include: GlobSet::new(include)?, exclude: GlobSet::new(exclude)? })
    }

    fn matches(&self, name: &str) -> bool {
        self.include.is_match(name) && !self.exclude.is_match(name)
    }
}

/// The interfaces that should have our programs, by ifindex.
#[must_use]
pub fn targets(
    interfaces: &BTreeMap<u32, Interface>,
    filter: &InterfaceFilter,
) -> BTreeMap<u32, Target> {
    let masters: BTreeSet<u32> = interfaces.values().filter_map(|i| i.master).collect();
    let target = |interface: &Interface| {
        let layer = layer(interface.header)?;
        let represented = is_bridge_with_ports(interface, &masters)
            || master(interface, interfaces).is_some_and(is_aggregate);
        (!represented && filter.matches(&interface.name)).then(|| Target {
            index: interface.index,
            name: interface.name.clone(),
            layer,
        })
    };
    interfaces.values().filter_map(target).map(|target| (target.index, target)).collect()
}

/// The interfaces that lead to pods of this node, as far as they show it: the near ends of pairs
/// whose far ends are in another network namespace, and the taps of machines. The node itself may
/// be at the far end of such a pair (a node that is a container, as kind's): the network of an
/// uplink is wider than one address, while at the host's end of a pod there is none or a single
/// address.
#[must_use]
pub fn workloads(network: &Network) -> BTreeSet<u32> {
    let uplinks: BTreeSet<u32> =
        network.addresses.iter().filter(|a| is_of_a_network(a)).map(|a| a.interface).collect();
    let all = network.interfaces.values().filter(|interface| leads_elsewhere(interface));
    all.map(|interface| interface.index).filter(|index| !uplinks.contains(index)).collect()
}

fn leads_elsewhere(interface: &Interface) -> bool {
    match interface.kind.as_str() {
        "veth" | "netkit" => interface.peer_elsewhere,
        "tun" => interface.header == LinkHeader::Ethernet,
        _ => false,
    }
}

fn is_of_a_network(address: &InterfaceAddress) -> bool {
    let whole = if address.ip.is_ipv4() { 32 } else { 128 };
    address.scope == Scope::Global && address.prefix_len < whole
}

fn layer(header: LinkHeader) -> Option<Layer> {
    match header {
        LinkHeader::Ethernet => Some(Layer::Ethernet),
        LinkHeader::None => Some(Layer::L3),
        LinkHeader::Loopback | LinkHeader::Unknown => None,
    }
}

fn is_bridge_with_ports(interface: &Interface, masters: &BTreeSet<u32>) -> bool {
    interface.kind == "bridge" && masters.contains(&interface.index)
}

fn master<'a>(
    interface: &Interface,
    interfaces: &'a BTreeMap<u32, Interface>,
) -> Option<&'a Interface> {
    interfaces.get(&interface.master?)
}

fn is_aggregate(interface: &Interface) -> bool {
    matches!(interface.kind.as_str(), "bond" | "team")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::network;
    use super::*;

    #[track_caller]
    fn check_filtered(lines: &[&str], include: &str, exclude: &str, expected: &str) {
        let globs = |text: &str| -> Vec<Glob> {
            text.split(',').filter(|g| !g.is_empty()).map(|g| g.parse().unwrap()).collect()
        };
        let filter = InterfaceFilter::new(&globs(include), &globs(exclude)).unwrap();
        let found: Vec<String> = targets(&network(lines).interfaces, &filter)
            .values()
            .map(|t| match t.layer {
                Layer::Ethernet => t.name.clone(),
                Layer::L3 => format!("{}/L3", t.name),
            })
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[track_caller]
    fn check(lines: &[&str], expected: &str) {
        check_filtered(lines, "*", "", expected);
    }

    #[test]
    fn hardware_and_pods_are_ours_and_the_loopback_device_is_not() {
        check(&["lo - loopback", "eth0 - ether", "cali1 veth ether"], "eth0 cali1");
    }

    #[test]
    fn a_bridge_counts_only_while_it_has_no_ports() {
        check(&["cni0 bridge ether"], "cni0");
        check(&["cni0 bridge ether", "veth1 veth ether cni0"], "veth1");
        check(&["cni0 bridge ether", "br1 bridge ether", "veth1 veth ether br1"], "cni0 veth1");
    }

    #[test]
    fn a_bond_stands_for_its_slaves() {
        check(&["bond0 bond ether", "eth0 - ether bond0", "eth1 - ether bond0"], "bond0");
        check(&["team0 team ether", "eth0 - ether team0"], "team0");
    }

    #[test]
    fn a_bond_that_is_a_bridge_port_is_ours() {
        check(&["br0 bridge ether", "bond0 bond ether br0", "eth0 - ether bond0"], "bond0");
    }

    #[test]
    fn a_vrf_and_its_ports_are_both_ours() {
        check(&["vrf0 vrf ether", "eth0 - ether vrf0"], "vrf0 eth0");
    }

    #[test]
    fn devices_without_a_link_header_get_the_l3_programs() {
        check(&["wg0 wireguard none", "tun0 tun none", "tap0 tun ether"], "wg0/L3 tun0/L3 tap0");
    }

    #[test]
    fn devices_with_a_header_we_cannot_parse_are_left_alone() {
        check(&["ib0 - infiniband", "gre0 gre ipgre"], "");
    }

    #[test]
    fn the_filter_goes_by_name_and_exclusion_wins() {
        let lines = ["eth0 - ether", "eth1 - ether", "veth1 veth ether"];
        check_filtered(&lines, "eth*", "", "eth0 eth1");
        check_filtered(&lines, "*", "veth*,eth1", "eth0");
        check_filtered(&lines, "eth0", "eth0", "");
    }

    #[test]
    fn ports_of_an_excluded_bridge_are_still_ours() {
        check_filtered(&["cni0 bridge ether", "veth1 veth ether cni0"], "*", "cni0", "veth1");
    }

    #[track_caller]
    fn check_workloads(lines: &[&str], expected: &str) {
        let network = network(lines);
        let found = workloads(&network);
        let names: Vec<_> =
            found.iter().map(|index| network.interfaces[index].name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{lines:?}");
    }

    #[test]
    fn pods_are_at_the_far_ends_of_pairs_into_other_namespaces() {
        check_workloads(&["cali1 veth ether elsewhere", "nk1 netkit none elsewhere"], "cali1 nk1");
        check_workloads(&["v0 veth ether", "nk1 netkit none"], "");
        check_workloads(&["cni0 bridge ether 10.1.1.1/24", "v1 veth ether cni0 elsewhere"], "v1");
        check_workloads(&["tap0 tun ether", "tun0 tun none"], "tap0");
    }

    #[test]
    fn hardware_and_overlays_lead_to_no_pods_of_this_node() {
        let lines = ["lo - loopback 127.0.0.1/8", "eth0 - ether", "vxlan0 vxlan ether elsewhere"];
        check_workloads(&lines, "");
    }

    #[test]
    fn the_uplink_of_a_node_that_is_a_container_leads_to_no_pods() {
        check_workloads(&["eth0 veth ether elsewhere 172.18.0.2/16"], "");
        check_workloads(&["eth0 veth ether elsewhere fc00::2/64 fe80::2/64"], "");
        check_workloads(&["tap0 tun ether 10.8.0.2/24"], "");
    }

    #[test]
    fn the_hosts_end_of_a_pod_may_have_a_single_address_and_those_of_its_link() {
        check_workloads(&["veth1 veth ether elsewhere 10.1.1.1/32 fe80::1/64"], "veth1");
        check_workloads(&["veth1 veth ether elsewhere fd01::1/128 169.254.0.1/16"], "veth1");
    }
}
