//! Which backend a new flow goes to: the list in use, then affinity, then the hash.

use crate::abi::affinity::{Affinity, AffinityKey};
use crate::abi::backend::{self, Backend};
use crate::abi::counter::Counter;
use crate::abi::flow::FlowKey;
use crate::abi::service::{self, Service, SlotRange};
use crate::clock::Ticks;
use crate::net::Address;
use crate::tables::Tables;

/// Which of a service's lists a flow is balanced over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// For traffic policy `Cluster`.
    Cluster,
    /// For traffic policy `Local`.
    Local,
}

impl List {
    /// Its slots.
    #[inline(always)]
    #[must_use]
    pub const fn range(self, service: &Service) -> SlotRange {
        match self {
            Self::Cluster => service.cluster,
            Self::Local => service.local,
        }
    }

    /// The flag of backends that are in this list.
    #[inline(always)]
    const fn flag(self) -> u16 {
        match self {
            Self::Cluster => backend::flags::IN_CLUSTER_LIST,
            Self::Local => backend::flags::IN_LOCAL_LIST,
        }
    }
}

/// A chosen backend and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen<A> {
    pub(super) id: u32,
    pub(super) backend: Backend<A>,
}

/// The backend for a new flow with `key` to the service `id`: the one that a client with affinity was
/// given last, else the one that its hash falls on.
#[inline(always)]
pub(super) fn select<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    id: u32,
    service: &Service,
    list: List,
) -> Result<Chosen<A>, Counter> {
    let range = list.range(service);
    if range.count() == 0 {
        return Err(if service.flags & service::flags::USABLE != 0 {
            Counter::DropNoLocalEndpoint
        } else {
            Counter::RejectNoEndpoint
        });
    }
    if service.affinity_s == 0 {
        return by_hash(tables, range, key.hash());
    }
    let now = tables.now();
    let client = AffinityKey { client: key.src, service: id };
    let chosen = match sticky(tables, &client, service.affinity_s, list, now) {
        Some(chosen) => chosen,
        None => by_hash(tables, range, key.hash())?,
    };
    let generation = chosen.backend.generation;
    tables.remember(&client, &Affinity { backend: chosen.id, generation, used: now });
    Ok(chosen)
}

/// The backend that the client was given last, if that was not too long ago and it is still in the
/// list in use (kube-proxy-behaviour §4.8).
#[inline(always)]
fn sticky<A: Address, T: Tables<A>>(
    tables: &T,
    client: &AffinityKey<A>,
    timeout_s: u32,
    list: List,
    now: Ticks,
) -> Option<Chosen<A>> {
    let before = tables.affinity(client)?;
    if u64::from(now.since(before.used)) << 30 > u64::from(timeout_s) * 1_000_000_000 {
        return None;
    }
    let backend = tables.backend(before.backend)?;
    let stays = backend.exists(before.generation) && backend.flags & list.flag() != 0;
    stays.then_some(Chosen { id: before.backend, backend })
}

/// The backend in the slot of `range` that `hash` falls on.
///
/// The same hash falls on the same slot on every node and after every restart, so that a lost
/// flow entry is made again as it was.
#[inline(always)]
fn by_hash<A: Address, T: Tables<A>>(
    tables: &T,
    range: SlotRange,
    hash: u32,
) -> Result<Chosen<A>, Counter> {
    let slot = ((u64::from(hash) * u64::from(range.count())) >> 32) as u32;
    let id = tables.slot(range.offset() + slot).ok_or(Counter::DropDanglingSlot)?;
    match tables.backend(id) {
        Some(backend) if backend.exists(backend.generation) => Ok(Chosen { id, backend }),
        _ => Err(Counter::DropDanglingSlot),
    }
}
