//! Which backend a new flow goes to.

use crate::abi::backend::Backend;
use crate::abi::counter::Counter;
use crate::abi::frontend::{Frontend, flags};
use crate::abi::service::{Service, SlotRange};
use crate::net::Address;
use crate::tables::Tables;

/// A chosen backend and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen<A> {
    pub(super) id: u32,
    pub(super) backend: Backend<A>,
}

/// The list of `service` that `frontend` is balanced over.
#[inline(always)]
pub(super) fn list(frontend: Frontend, service: Service) -> SlotRange {
    if frontend.flags & flags::LOCAL != 0 { service.local } else { service.cluster }
}

/// The backend in the slot of `list` that `hash` falls on, `attempt` slots further.
///
/// The same hash falls on the same slot on every node and after every restart, so that a lost
/// flow entry is made again as it was.
#[inline(always)]
pub(super) fn select<A: Address, T: Tables<A>>(
    tables: &T,
    list: SlotRange,
    hash: u32,
    attempt: u32,
) -> Result<Chosen<A>, Counter> {
    let count = list.count();
    if count == 0 {
        return Err(Counter::DropNoBackend);
    }
    let scaled = ((u64::from(hash) * u64::from(count)) >> 32) as u32;
    let slot = (scaled + attempt) % count;
    let id = tables.slot(list.offset() + slot).ok_or(Counter::DropDanglingSlot)?;
    match tables.backend(id) {
        Some(backend) if backend.exists(backend.generation) => Ok(Chosen { id, backend }),
        _ => Err(Counter::DropDanglingSlot),
    }
}
