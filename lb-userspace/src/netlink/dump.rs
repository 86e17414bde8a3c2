//! One dump of links and addresses, and how their messages are read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::{Stream, StreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};

use super::{Interface, InterfaceAddress, LinkHeader, Network, Scope};

/// Asks the kernel for everything.
pub(super) async fn dump(handle: &rtnetlink::Handle) -> Result<Network, rtnetlink::Error> {
    let links = collect(handle.link().get().execute()).await?;
    let addresses = collect(handle.address().get().execute()).await?;
    Ok(Network { interfaces: interfaces(&links), addresses: usable(&addresses) })
}

async fn collect<T>(
    replies: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, rtnetlink::Error> {
    let replies: Vec<_> = replies.collect().await;
    replies.into_iter().collect()
}

fn interfaces(links: &[LinkMessage]) -> BTreeMap<u32, Interface> {
    links.iter().map(interface).map(|interface| (interface.index, interface)).collect()
}

fn usable(addresses: &[AddressMessage]) -> Vec<InterfaceAddress> {
    addresses.iter().filter_map(address).collect()
}

fn interface(message: &LinkMessage) -> Interface {
    let mut interface = Interface {
        index: message.header.index,
        name: String::new(),
        kind: String::new(),
        header: link_header(message.header.link_layer_type),
        master: None,
        peer_elsewhere: false,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Controller(index) => interface.master = Some(*index),
            // The kernel names the other namespace only if it is not this one.
            LinkAttribute::LinkNetNsId(_) => interface.peer_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => interface.kind = kind(infos),
            _ => {}
        }
    }
    interface
}

fn kind(infos: &[LinkInfo]) -> String {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    });
    kind.unwrap_or_default()
}

/// GRE is left out: some of its devices put an outer header before the packet on egress.
fn link_header(layer: LinkLayerType) -> LinkHeader {
    match layer {
        LinkLayerType::Ether => LinkHeader::Ethernet,
        LinkLayerType::Loopback => LinkHeader::Loopback,
        LinkLayerType::None
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip
        | LinkLayerType::Sit
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6 => LinkHeader::None,
        _ => LinkHeader::Unknown,
    }
}

/// `None` if nobody can reach it: it is still being checked for duplicates, or is one.
fn address(message: &AddressMessage) -> Option<InterfaceAddress> {
    let header = &message.header;
    // The attribute has all flags; the header only the first eight, which an old kernel sends alone.
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    let (mut peer, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // On a point-to-point link `Address` is the other end; `Local` is ours where there is one.
    let unusable = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
    let ip = local.or(peer).filter(|_| !unusable)?;
    let (interface, prefix_len, scope) = (header.index, header.prefix_len, scope(header.scope));
    Some(InterfaceAddress { interface, ip, prefix_len, scope, preferred: is_preferred(ip, flags) })
}

/// The bit of an IPv4 network's second addresses is that of temporary IPv6 addresses. The kernel
/// does not look at the age of an IPv4 address.
fn is_preferred(ip: IpAddr, flags: AddressFlags) -> bool {
    let aged = ip.is_ipv6() && flags.contains(AddressFlags::Deprecated);
    !aged && !flags.contains(AddressFlags::Secondary)
}

fn scope(scope: AddressScope) -> Scope {
    match scope {
        AddressScope::Link => Scope::Link,
        AddressScope::Host | AddressScope::Nowhere => Scope::Host,
        _ => Scope::Global,
    }
}
