//! What the datapath must know besides services: who the clients are, and under which of its
//! addresses the node hides them. Pure.
//!
//! A pod is told from other clients by its address or by the interface behind which it is; which of
//! these count is the operator's choice, the [`Detector`]. The node's own addresses are always
//! known, and more precisely than any network of pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lb_common::abi::interface::NODE;
use lb_common::net::Family;

use super::{Client, Detector, InterfaceEntry, Surroundings};
use crate::model::Node;
use crate::netlink::rule::workloads;
use crate::netlink::source::{Source, sources};
use crate::netlink::{Interface, Network};
use crate::store::Store;

/// What surrounds the services of the node that has this `network`.
pub(super) fn surroundings(detector: &Detector, store: &Store, network: &Network) -> Surroundings {
    Surroundings {
        clients: clients(detector, store, network),
        service_cidrs: store.service_cidrs().copied().collect(),
        interfaces: interfaces(detector, store, network),
    }
}

fn clients(detector: &Detector, store: &Store, network: &Network) -> BTreeMap<IpNet, Client> {
    let pods = pod_prefixes(detector, store);
    let is_untold = |family| match detector {
        Detector::None => true,
        Detector::ClusterCidr(_) | Detector::NodeCidr => {
            !pods.iter().any(|prefix| family_of(prefix) == family)
        }
        Detector::Auto | Detector::BridgeInterface(_) | Detector::InterfaceNamePrefix(_) => false,
    };
    let untold = [Family::V4, Family::V6].into_iter().filter(|family| is_untold(*family));
    let untold = untold.map(|family| (everybody(family), Client { untold: true, ..NOBODY }));
    let pods = pods.iter().map(|prefix| (*prefix, Client { pod: true, ..NOBODY }));
    // Last, so that an address of this node is never taken for a pod's.
    let own = network.addresses.iter().map(|address| {
        let untold = is_untold(Family::of(&address.ip));
        (IpNet::from(address.ip), Client { node: true, untold, ..NOBODY })
    });
    untold.chain(pods).chain(own).collect()
}

const NOBODY: Client = Client { pod: false, node: false, untold: false };

/// The networks of pods, as far as the detector goes by addresses.
fn pod_prefixes(detector: &Detector, store: &Store) -> BTreeSet<IpNet> {
    match detector {
        Detector::Auto => store.pod_cidrs().copied().collect(),
        Detector::ClusterCidr(cidrs) => {
            let first = |family| cidrs.iter().find(|cidr| family_of(cidr) == family);
            let firsts = [Family::V4, Family::V6].into_iter().filter_map(first);
            firsts.map(IpNet::trunc).collect()
        }
        Detector::NodeCidr => {
            store.node().into_iter().flat_map(|node| &node.pod_cidrs).copied().collect()
        }
        Detector::BridgeInterface(_) | Detector::InterfaceNamePrefix(_) | Detector::None => {
            BTreeSet::new()
        }
    }
}

/// What is known of interfaces: which have pods behind them, and what masqueraded packets get that
/// leave by them.
fn interfaces(
    detector: &Detector,
    store: &Store,
    network: &Network,
) -> BTreeMap<u32, InterfaceEntry> {
    let sources = sources(network);
    let own = own_source(store.node(), network, &sources);
    let all = sources.into_iter().chain((own != Source::default()).then_some((NODE, own)));
    let entry = |Source { v4, v6 }| InterfaceEntry { workload: false, v4, v6 };
    let mut entries: BTreeMap<_, _> = all.map(|(index, source)| (index, entry(source))).collect();
    for index in workload_interfaces(detector, network) {
        entries.entry(index).or_default().workload = true;
    }
    entries
}

/// The node's own addresses: the first that its Node object names and it has, else those of its
/// first interface that has any.
fn own_source(node: Option<&Node>, network: &Network, sources: &BTreeMap<u32, Source>) -> Source {
    let is_here = |ip: &&IpAddr| network.addresses.iter().any(|address| address.ip == **ip);
    let mut own = Source::default();
    for ip in node.iter().flat_map(|node| &node.addresses).filter(is_here) {
        match *ip {
            IpAddr::V4(ip) => _ = own.v4.get_or_insert(ip),
            IpAddr::V6(ip) => _ = own.v6.get_or_insert(ip),
        }
    }
    Source {
        v4: own.v4.or_else(|| sources.values().find_map(|source| source.v4)),
        v6: own.v6.or_else(|| sources.values().find_map(|source| source.v6)),
    }
}

/// The interfaces with pods behind them, as far as the detector goes by interfaces.
fn workload_interfaces(detector: &Detector, network: &Network) -> BTreeSet<u32> {
    match detector {
        Detector::Auto => workloads(network),
        Detector::BridgeInterface(bridge) => named(network, |name| name == bridge),
        Detector::InterfaceNamePrefix(prefix) => named(network, |name| name.starts_with(prefix)),
        Detector::ClusterCidr(_) | Detector::NodeCidr | Detector::None => BTreeSet::new(),
    }
}

/// The interfaces with such names, and the ports of bridges with such names: netfilter, and so
/// kube-proxy, sees a packet of a port at the bridge, our programs see it at the port.
fn named(network: &Network, is_wanted: impl Fn(&str) -> bool) -> BTreeSet<u32> {
    let master = |interface: &Interface| network.interfaces.get(&interface.master?);
    let is_bridge = |master: &Interface| master.kind == "bridge" && is_wanted(&master.name);
    let wanted = network
        .interfaces
        .values()
        .filter(|interface| is_wanted(&interface.name) || master(interface).is_some_and(is_bridge));
    wanted.map(|interface| interface.index).collect()
}

fn family_of(prefix: &IpNet) -> Family {
    Family::of(&prefix.addr())
}

fn everybody(family: Family) -> IpNet {
    let unspecified = match family {
        Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    IpNet::new_assert(unspecified, 0)
}
