//! What is known of all Nodes: the own one whole, of the others where they and their pods are.
//!
//! Kubelets touch their Nodes all the time; only what load balancing needs of them is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{NamespacedName, Node};

/// All Nodes. Invariant: `holders` counts the addresses of `all`.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    own_name: Arc<str>,
    own: Option<Node>,
    /// The cluster has the own Node now.
    own_is_there: bool,
    all: BTreeMap<Arc<str>, Place>,
    /// How many Nodes have an address: while a machine is replaced, two may have the same.
    holders: HashMap<IpAddr, usize>,
}

/// Where a Node and its pods are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    addresses: BTreeSet<IpAddr>,
    pod_cidrs: BTreeSet<IpNet>,
}

/// What a change of a Node changed for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// The addresses that it got or lost.
    pub(super) addresses: Vec<IpAddr>,
    /// Its pods are elsewhere now.
    pub(super) pods: bool,
    /// It is the own Node, whose addresses are others now, or in another order.
    pub(super) own_addresses: bool,
}

impl Nodes {
    pub(super) fn new(own_name: &str) -> Self {
        Self {
            own_name: own_name.into(),
            own: None,
            own_is_there: false,
            all: BTreeMap::new(),
            holders: HashMap::new(),
        }
    }

    /// The name of the own Node.
    pub(super) const fn own_name(&self) -> &Arc<str> {
        &self.own_name
    }

    /// The own Node, as the cluster described it last.
    pub(super) const fn own(&self) -> Option<&Node> {
        self.own.as_ref()
    }

    /// Whether traffic from outside may be sent here: the cluster has the own Node, and it is not
    /// leaving. So may it in a cluster that never had any Node.
    pub(super) fn own_is_eligible(&self) -> bool {
        let stays = self.own_is_there && self.own.as_ref().is_some_and(|node| !node.leaving);
        stays || self.all.is_empty()
    }

    /// The names of all Nodes.
    pub(super) fn names(&self) -> impl Iterator<Item = NamespacedName> {
        self.all.keys().map(|name| NamespacedName::new("", name))
    }

    /// Whether a Node has this address.
    pub(super) fn have(&self, address: &IpAddr) -> bool {
        self.holders.contains_key(address)
    }

    /// The pod CIDRs of all Nodes.
    pub(super) fn pod_cidrs(&self) -> impl Iterator<Item = &IpNet> {
        self.all.values().flat_map(|place| &place.pod_cidrs)
    }

    /// The Node of this name is so now, or gone. The own Node stays as it was last: this machine
    /// goes on serving until it is switched off, and its NodePorts and its zone must not change
    /// under live traffic. It keeps its addresses, too, until it has others.
    pub(super) fn put(&mut self, name: Arc<str>, mut node: Option<Node>) -> Moved {
        let is_own = name == self.own_name;
        if is_own {
            self.own_is_there = node.is_some();
        }
        if is_own && node.is_none() {
            return Moved::default();
        }
        if is_own
            && let (Some(new), Some(old)) = (&mut node, &self.own)
            && new.addresses.is_empty()
        {
            new.addresses.clone_from(&old.addresses);
        }
        let new = node.as_ref().map(Place::of).unwrap_or_default();
        let old = match node {
            Some(_) => self.all.insert(name, new.clone()),
            None => self.all.remove(&name),
        };
        let own_before = self.own.as_ref().map(|node| node.addresses.clone());
        if is_own {
            self.own = node;
        }
        let old = old.unwrap_or_default();
        old.addresses.difference(&new.addresses).for_each(|address| self.release(address));
        for address in new.addresses.difference(&old.addresses) {
            *self.holders.entry(*address).or_default() += 1;
        }
        Moved {
            addresses: old.addresses.symmetric_difference(&new.addresses).copied().collect(),
            pods: old.pod_cidrs != new.pod_cidrs,
            own_addresses: own_before.as_deref() != self.own().map(|node| &*node.addresses),
        }
    }

    fn release(&mut self, address: &IpAddr) {
        if let Some(count) = self.holders.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(address);
            }
        }
    }
}

impl Place {
    fn of(node: &Node) -> Self {
        Self {
            addresses: node.addresses.iter().copied().collect(),
            pod_cidrs: node.pod_cidrs.iter().copied().collect(),
        }
    }
}
