//! The maps of one family over memory.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::Entry;
use crate::abi::address::{At, ServiceCidr};
use crate::abi::affinity::{Affinity, AffinityKey};
use crate::abi::backend::Backend;
use crate::abi::flow::{Flow, FlowKey};
use crate::abi::fragment::{FragmentKey, FragmentPorts};
use crate::abi::frontend::{Frontend, FrontendKey};
use crate::abi::prefix::{ClientPrefix, SourceRange};
use crate::abi::socket::{Socket, SocketKey};
use crate::clock::Ticks;
use crate::net::Address;
use crate::tables::{FlowEntry as _, Insert, InsertError};

/// The maps that have addresses in them, of one family.
#[derive(Debug, Default)]
pub struct FamilyMaps<A: Copy + Ord> {
    /// `FRONTENDS_*`.
    pub frontends: BTreeMap<FrontendKey<A>, Frontend>,
    /// `ADDRESSES_*`.
    pub addresses: BTreeMap<A, At>,
    /// `SVC_CIDRS_*`, the used entries.
    pub service_cidrs: Vec<ServiceCidr<A>>,
    /// `BACKENDS_*`.
    pub backends: BTreeMap<u32, Backend<A>>,
    /// `CLIENTS_*`.
    pub clients: BTreeMap<ClientPrefix<A>, u32>,
    /// `SOURCE_RANGES_*`.
    pub source_ranges: BTreeSet<SourceRange<A>>,
    pub(super) flows: RefCell<BTreeMap<FlowKey<A>, Entry<A>>>,
    pub(super) affinity: RefCell<BTreeMap<AffinityKey<A>, Affinity>>,
    pub(super) fragments: RefCell<BTreeMap<FragmentKey<A>, FragmentPorts>>,
    pub(super) probation: RefCell<VecDeque<FlowKey<A>>>,
    pub(super) servers: RefCell<BTreeMap<FrontendKey<A>, FrontendKey<A>>>,
    pub(super) resets: RefCell<BTreeMap<FlowKey<A>, Ticks>>,
    pub(super) sockets: RefCell<BTreeMap<SocketKey<A>, Socket<A>>>,
}

impl<A: Address + Default + Ord> FamilyMaps<A> {
    pub(super) fn place(&self, capacity: usize) -> Option<RefMut<'_, FlowKey<A>>> {
        let mut places = self.probation.borrow_mut();
        if places.len() < capacity {
            places.push_front(FlowKey::default());
        }
        places.rotate_left(1);
        RefMut::filter_map(places, VecDeque::back_mut).ok()
    }
}

impl<A: Address + Ord> FamilyMaps<A> {
    /// All flow entries, in the order of their keys.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowKey<A>, Flow<A>)> {
        self.flows.borrow().iter().map(|(key, entry)| (*key, entry.load())).collect()
    }

    /// All remembered clients, in the order of their keys.
    #[must_use]
    pub fn affinities(&self) -> Vec<(AffinityKey<A>, Affinity)> {
        self.affinity.borrow().iter().map(|(key, affinity)| (*key, *affinity)).collect()
    }

    pub(super) fn client(&self, addr: A) -> Option<u32> {
        let has = self.clients.iter().filter(|(key, _)| has_prefix(addr, key.addr, key.length));
        has.max_by_key(|(key, _)| key.length).map(|(_, class)| *class)
    }

    pub(super) fn in_source_ranges(&self, service: u32, addr: A) -> bool {
        let mut ranges = self.source_ranges.iter().filter(|key| key.range.service == service);
        ranges.any(|key| has_prefix(addr, key.range.addr, key.length - 32))
    }

    pub(super) fn insert(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        mode: Insert,
        capacity: Option<usize>,
    ) -> Result<(), InsertError> {
        let mut flows = self.flows.borrow_mut();
        let exists = flows.contains_key(key);
        if exists && mode == Insert::IfAbsent {
            return Err(InsertError::Exists);
        }
        if !exists && capacity.is_some_and(|capacity| flows.len() >= capacity) {
            return Err(InsertError::Refused);
        }
        flows.insert(*key, Entry(Rc::new(Cell::new(*flow))));
        Ok(())
    }
}

/// Whether the first `length` bits of two addresses are the same.
fn has_prefix<A: Address>(addr: A, prefix: A, length: u32) -> bool {
    (0..length).all(|bit| {
        let word = usize::try_from(bit / 32).unwrap_or(usize::MAX);
        let mask = 1 << (31 - bit % 32);
        u32::from_be(addr.words()[word]) & mask == u32::from_be(prefix.words()[word]) & mask
    })
}
