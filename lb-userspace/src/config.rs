//! What the agent was told to do: validated, typed, ready.
//!
//! The command line is the low side (what was typed, [`crate::cli`]); this is the high side, and the
//! only one the agent sees.

use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use crate::datapath::attach::{Choice, Order};
use crate::datapath::layout::Capacities;
use crate::netlink::InterfaceFilter;

/// The agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The BPF file system under which everything is pinned.
    pub bpffs: PathBuf,
    /// Where Services come from.
    pub source: Source,
    /// The name of this node in the cluster.
    pub node_name: String,
    /// Where node ports are opened.
    pub nodeport_addresses: NodePortAddresses,
    /// Which interfaces may be attached.
    pub interfaces: InterfaceFilter,
    /// How large the maps are.
    pub capacities: Capacities,
    /// How programs are attached.
    pub attach: Choice,
    /// Our place among other programs.
    pub order: Order,
}

/// Where Services come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server, with the service account of the pod the agent runs in.
    InCluster,
    /// The API server that a kubeconfig file names.
    Kubeconfig(PathBuf),
    /// Ordinary Kubernetes YAML in a directory.
    Manifests(PathBuf),
}

/// Which of the node's addresses take node ports (kube-proxy's `--nodeport-addresses`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Those of the Node object, one a family.
    Primary,
    /// All but the loopback ones.
    #[default]
    All,
    /// Those in one of these networks.
    Cidrs(Vec<IpNet>),
}

/// A value that is neither a word we know nor a list of networks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; give primary, all, or networks such as 10.0.0.0/8,fd00::/8")]
pub struct NotANetwork(String);

impl FromStr for NodePortAddresses {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        match text {
            "primary" => Ok(Self::Primary),
            "all" => Ok(Self::All),
            list => list.split(',').map(network).collect::<Result<_, _>>().map(Self::Cidrs),
        }
    }
}

fn network(text: &str) -> Result<IpNet, NotANetwork> {
    text.trim().parse().map_err(|_| NotANetwork(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<NodePortAddresses, &str>) {
        assert_eq!(text.parse(), expected.map_err(|bad| NotANetwork(bad.to_owned())));
    }

    #[test]
    fn node_port_addresses_are_a_word_or_networks() {
        check("primary", Ok(NodePortAddresses::Primary));
        check("all", Ok(NodePortAddresses::All));
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        check("10.0.0.0/8, fd00::/8", Ok(NodePortAddresses::Cidrs(networks)));
    }

    #[test]
    fn the_part_that_is_no_network_is_named() {
        check("10.0.0.0/8,eth0", Err("eth0"));
        check("10.0.0.1", Err("10.0.0.1"));
        check("", Err(""));
    }
}
