//! Nodes.

use serde::Serialize;
use serde_json::{Value, json};

use super::{common_methods, named, push};

/// A Node under construction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Node {
    object: Value,
}

common_methods!(Node);

/// A Node without addresses and pod networks so far.
#[must_use]
pub fn node(name: &str) -> Node {
    let mut object = named("v1", "Node", name);
    object["metadata"]["labels"] = json!({"kubernetes.io/hostname": name});
    Node { object }
}

impl Node {
    /// Adds an internal address.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        push(
            &mut self.object["status"]["addresses"],
            json!({"type": "InternalIP", "address": address}),
        );
        self
    }

    /// Adds a network of its pods.
    #[must_use]
    pub fn pod_cidr(mut self, cidr: &str) -> Self {
        let spec = &mut self.object["spec"];
        if spec["podCIDR"].is_null() {
            spec["podCIDR"] = json!(cidr);
        }
        push(&mut spec["podCIDRs"], json!(cidr));
        self
    }

    /// Puts it in a zone.
    #[must_use]
    pub fn zone(self, zone: &str) -> Self {
        self.label("topology.kubernetes.io/zone", zone)
    }
}

impl From<&crate::lab::Node> for Node {
    /// A node of the lab, with its name, addresses and pod networks.
    fn from(real: &crate::lab::Node) -> Self {
        let [v4, v6] = real.pod_cidrs();
        let node = node(&real.name).address(&real.v4.to_string()).address(&real.v6.to_string());
        node.pod_cidr(&v4).pod_cidr(&v6)
    }
}
