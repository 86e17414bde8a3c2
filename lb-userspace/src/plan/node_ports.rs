//! On which of the node's addresses NodePorts answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use lb_common::net::Family;

use crate::model::Node;

/// The setting `--nodeport-addresses`: `primary`, `all`, or a list of CIDRs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The first address of the Node object per family; while there is no Node object, all.
    #[default]
    Primary,
    /// Every global unicast address of the node's interfaces.
    All,
    /// The addresses of the node's interfaces that are in one of the prefixes. A family without
    /// prefix, and one with the prefix of length 0, is not restricted (as with kube-proxy).
    Cidrs(Vec<IpNet>),
}

/// Why a value of `--nodeport-addresses` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} names no node port addresses; use primary, all, or CIDRs separated by commas")]
pub struct BadNodePortAddresses {
    value: String,
}

impl FromStr for NodePortAddresses {
    type Err = BadNodePortAddresses;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "primary" => Ok(Self::Primary),
            "all" => Ok(Self::All),
            cidrs => {
                let cidrs: Result<_, _> = cidrs.split(',').map(|s| s.trim().parse()).collect();
                cidrs.map(Self::Cidrs).map_err(|_| BadNodePortAddresses { value: value.to_owned() })
            }
        }
    }
}

impl NodePortAddresses {
    /// The addresses on which NodePorts answer, given what the cluster says of the node and what
    /// its `interfaces` have.
    #[must_use]
    pub fn select(&self, node: Option<&Node>, interfaces: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        match (self, node) {
            (Self::Primary, Some(node)) => primary(node),
            (Self::Primary, None) | (Self::All, _) => {
                interfaces.iter().copied().filter(is_global_unicast).collect()
            }
            (Self::Cidrs(cidrs), _) => {
                interfaces.iter().copied().filter(|address| admits(cidrs, address)).collect()
            }
        }
    }
}

fn primary(node: &Node) -> BTreeSet<IpAddr> {
    let first = |family| node.addresses.iter().find(|address| Family::of(address) == family);
    [Family::V4, Family::V6].into_iter().filter_map(first).copied().collect()
}

fn admits(cidrs: &[IpNet], address: &IpAddr) -> bool {
    let mut family =
        cidrs.iter().filter(|c| Family::of(&c.addr()) == Family::of(address)).peekable();
    let unrestricted = family.peek().is_none() || family.clone().any(|c| c.prefix_len() == 0);
    if unrestricted { is_global_unicast(address) } else { family.any(|c| c.contains(address)) }
}

/// An address that others can reach: not of the host itself, of a link, or of a group.
fn is_global_unicast(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn interfaces() -> BTreeSet<IpAddr> {
        addresses(&[
            "127.0.0.1",
            "169.254.0.1",
            "192.168.0.2",
            "192.168.1.2",
            "::1",
            "fe80::1",
            "2001:db8::1",
            "2001:db8:1::2",
        ])
    }

    fn node(list: &[&str]) -> Node {
        Node {
            name: "n1".into(),
            zone: "".into(),
            addresses: list.iter().map(|ip| ip.parse().unwrap()).collect(),
            pod_cidrs: Vec::new(),
            leaving: false,
        }
    }

    /// `kube-proxy-behaviour.md` §4.7 and §10.4.
    #[test]
    fn node_ports_answer_where_the_setting_says() {
        let both = node(&["192.168.0.2", "2001:db8::1", "192.168.1.2"]);
        let check = |setting: &str, node: Option<&Node>, expected: &[&str]| {
            let setting: NodePortAddresses = setting.parse().unwrap();
            assert_eq!(setting.select(node, &interfaces()), addresses(expected), "{setting:?}");
        };
        let all = &["192.168.0.2", "192.168.1.2", "2001:db8::1", "2001:db8:1::2"];
        check("primary", Some(&both), &["192.168.0.2", "2001:db8::1"]);
        check("primary", Some(&node(&["192.168.0.2"])), &["192.168.0.2"]);
        check("primary", None, all);
        check("all", Some(&both), all);
        check("192.168.0.0/24,2001:db8::/64", None, &["192.168.0.2", "2001:db8::1"]);
        check("192.168.0.0/24", None, &["192.168.0.2", "2001:db8::1", "2001:db8:1::2"]);
        check("10.0.0.0/8, 2001:db8:1::2/128", None, &["2001:db8:1::2"]);
        check("0.0.0.0/0,10.0.0.0/8,::/0", None, all);
        check("127.0.0.0/8,2001:db8::/64", None, &["127.0.0.1", "2001:db8::1"]);
    }

    #[test]
    fn a_setting_that_names_no_addresses_is_refused() {
        for bad in ["", "secondary", "10.0.0.1", "10.0.0.0/8,all"] {
            let error = bad.parse::<NodePortAddresses>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{bad:?} names no")), "{error}");
        }
    }
}
