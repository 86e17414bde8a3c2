//! Networks for tests, in few words.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Interface, InterfaceAddress, LinkHeader, Network, Scope};

/// `name kind header …`, one interface a line; ifindexes count from 1. Then, in any order: the name
/// of its master, `elsewhere` if its peer is in another namespace, addresses `10.0.0.1/24`, with
/// `old:` before those that new flows should not have.
pub(crate) fn network(lines: &[&str]) -> Network {
    let names: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let index =
        |name: &str| u32::try_from(names.iter().position(|n| *n == name).unwrap() + 1).unwrap();
    let mut network = Network::default();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let own = index(words[0]);
        let (addresses, others): (Vec<_>, Vec<_>) =
            words[3..].iter().copied().partition(|word| word.contains('/'));
        network.addresses.extend(addresses.into_iter().map(|text| address(own, text)));
        let interface = Interface {
            index: own,
            name: words[0].into(),
            kind: words[1].trim_matches('-').into(),
            header: header(words[2]),
            master: others.iter().find(|word| **word != "elsewhere").map(|name| index(name)),
            peer_elsewhere: others.contains(&"elsewhere"),
            up: true,
        };
        network.interfaces.insert(own, interface);
    }
    network
}

fn header(text: &str) -> LinkHeader {
    match text {
        "ether" => LinkHeader::Ethernet,
        "none" => LinkHeader::None,
        "loopback" => LinkHeader::Loopback,
        _ => LinkHeader::Unknown,
    }
}

fn address(interface: u32, text: &str) -> InterfaceAddress {
    let (preferred, text) = text.strip_prefix("old:").map_or((true, text), |old| (false, old));
    let written: IpNet = text.parse().unwrap();
    let ip = written.addr();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let scope = match (ip.is_loopback(), link_local) {
        (true, _) => Scope::Host,
        (_, true) => Scope::Link,
        _ => Scope::Global,
    };
    InterfaceAddress { interface, ip, prefix_len: written.prefix_len(), scope, preferred }
}
