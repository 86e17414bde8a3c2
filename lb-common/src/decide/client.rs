//! Who asks: a pod, the node itself, or somebody outside (kube-proxy-behaviour §4.3, §4.4).

use crate::abi::frontend::{Frontend, flags};
use crate::abi::prefix::client;
use crate::net::Address;
use crate::tables::Tables;

use super::select::List;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A pod of the cluster.
    Pod,
    /// A process of this node.
    Node,
    /// Anybody else.
    Outside,
}

impl Client {
    /// Who `addr` is.
    #[inline(always)]
    pub(super) fn of<A: Address, T: Tables<A>>(tables: &T, addr: A) -> Self {
        match tables.client(addr) {
            Some(client::POD) => Self::Pod,
            Some(client::NODE) => Self::Node,
            _ => Self::Outside,
        }
    }

    /// The list that this client's flows through `frontend` are balanced over. Pods and the node
    /// itself short-circuit an external policy `Local`: for them it is as if they had left the
    /// cluster and come back through a node with endpoints.
    #[inline(always)]
    pub(super) const fn list(self, frontend: Frontend) -> List {
        let local = frontend.flags & flags::LOCAL != 0;
        let external = frontend.flags & flags::EXTERNAL != 0;
        match self {
            Self::Outside if local => List::Local,
            _ if local && !external => List::Local,
            _ => List::Cluster,
        }
    }

    /// Whether the backend must see an address of this node instead of the client's, by
    /// kube-proxy's table (§4.3, detector present).
    #[inline(always)]
    pub(super) const fn is_masqueraded(self, frontend: Frontend) -> bool {
        let local = frontend.flags & flags::LOCAL != 0;
        let external = frontend.flags & flags::EXTERNAL != 0;
        match self {
            Self::Pod => external && !local,
            Self::Node => true,
            Self::Outside => !external || !local,
        }
    }
}
