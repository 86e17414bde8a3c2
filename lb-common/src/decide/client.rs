//! Who asks: a pod, the node itself, or somebody outside (kube-proxy-behaviour §4.3, §4.4).

use crate::abi::counter::Counter;
use crate::abi::frontend::{Frontend, flags};
use crate::abi::interface;
use crate::abi::prefix::client::{NODE, POD};
use crate::net::Address;
use crate::tables::Tables;

use super::select::List;

/// Who asks: bits of [`client`](crate::abi::prefix::client). None is somebody outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client(u32);

impl Client {
    /// The node itself.
    pub(super) const NODE: Self = Self(NODE);
    /// A pod.
    pub(super) const POD: Self = Self(POD);

    /// Who `addr` is: what is known of the address, else of the interface that it came by.
    #[inline(always)]
    #[must_use]
    pub fn of<A: Address, T: Tables<A>>(tables: &T, addr: A) -> Self {
        let known = Self(tables.client(addr).unwrap_or(0));
        if known.is_any_of(POD | NODE) {
            return known;
        }
        let interface = tables.interface(tables.ifindex()).unwrap_or_default();
        match interface.flags & interface::flags::WORKLOAD {
            0 => known,
            _ => Self(POD),
        }
    }

    /// Whether one of these bits is set.
    #[inline(always)]
    pub(super) const fn is_any_of(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// The list that this client's flows through `frontend` are balanced over. Pods and the node
    /// itself short-circuit an external policy `Local`: for them it is as if they had left the
    /// cluster and come back through a node with endpoints.
    #[inline(always)]
    #[must_use]
    pub const fn list(self, frontend: Frontend) -> List {
        let local = frontend.flags & flags::LOCAL != 0;
        let external = frontend.flags & flags::EXTERNAL != 0;
        if local && !(external && self.is_any_of(POD | NODE)) {
            return List::Local;
        }
        List::Cluster
    }
}

/// Whether only clients in the source ranges of its service may use `frontend`.
#[inline(always)]
pub(super) const fn is_guarded(frontend: Frontend) -> bool {
    frontend.flags & flags::SOURCE_RANGES != 0
}

/// Refuses a client at `addr` that may not use `frontend`.
#[inline(always)]
pub(super) fn let_in<A: Address, T: Tables<A>>(
    tables: &T,
    frontend: Frontend,
    addr: A,
) -> Result<(), Counter> {
    if is_guarded(frontend) && !tables.in_source_ranges(frontend.service, addr) {
        return Err(Counter::DropSourceRange);
    }
    Ok(())
}
