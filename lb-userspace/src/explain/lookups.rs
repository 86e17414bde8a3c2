//! The maps of one family, as [`Live`](super::Live) reads them.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData};
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::map;
use lb_common::abi::prefix::{ClientPrefix, Ranged, SourceRange};
use lb_common::abi::probation::turn;
use lb_common::net::{Address, Family};

use super::overlay::{Overlay, found};
use crate::maps::kernel::access::{Open, typed};
use crate::maps::{
    MapError, addresses_map, backends_map, clients_map, flows_map, frontends_map,
    service_cidrs_map, source_ranges_map,
};

type Found<V> = Result<Option<V>, aya::maps::MapError>;

pub(super) struct Lookups<A>
where
    ServiceCidr<A>: Pod,
    Backend<A>: Pod,
    FlowKey<A>: Pod,
{
    pub(super) frontends: HashMap<MapData, FrontendKey<A>, Frontend>,
    pub(super) addresses: HashMap<MapData, A, At>,
    pub(super) cidrs: Array<MapData, ServiceCidr<A>>,
    pub(super) backends: Array<MapData, Backend<A>>,
    clients: LpmTrie<MapData, A, u32>,
    ranges: LpmTrie<MapData, Ranged<A>, u32>,
    pub(super) flows: Overlay<FlowKey<A>, Flow<A>>,
    pub(super) affinity: Overlay<AffinityKey<A>, Affinity>,
    pub(super) fragments: Overlay<FragmentKey<A>, FragmentPorts>,
    pub(super) servers: Overlay<FrontendKey<A>, FrontendKey<A>>,
    /// The values are [`Ticks`](lb_common::clock::Ticks).
    pub(super) resets: Overlay<FlowKey<A>, u32>,
    probation: Array<MapData, FlowKey<A>>,
    turns: Array<MapData, u64>,
    turn: Cell<Option<u64>>,
    places: RefCell<BTreeMap<u32, FlowKey<A>>>,
}

impl<A: Address + Ord + Pod> Lookups<A>
where
    FrontendKey<A>: Pod,
    ServiceCidr<A>: Pod,
    Backend<A>: Pod,
    Ranged<A>: Pod,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    AffinityKey<A>: Pod,
    FragmentKey<A>: Pod,
{
    pub(super) fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        let family = A::FAMILY;
        let twin = |v4, v6| if family == Family::V4 { v4 } else { v6 };
        Ok(Self {
            frontends: typed(open, frontends_map(family))?,
            addresses: typed(open, addresses_map(family))?,
            cidrs: typed(open, service_cidrs_map(family))?,
            backends: typed(open, backends_map(family))?,
            clients: typed(open, clients_map(family))?,
            ranges: typed(open, source_ranges_map(family))?,
            flows: Overlay::new(typed(open, flows_map(family))?),
            affinity: Overlay::new(typed(open, twin(map::AFFINITY_V4, map::AFFINITY_V6))?),
            fragments: Overlay::new(typed(open, twin(map::FRAGMENTS_V4, map::FRAGMENTS_V6))?),
            servers: Overlay::new(typed(open, twin(map::SERVERS_V4, map::SERVERS_V6))?),
            resets: Overlay::new(typed(open, twin(map::RESETS_V4, map::RESETS_V6))?),
            probation: typed(open, twin(map::PROBATION_V4, map::PROBATION_V6))?,
            turns: typed(open, map::PROBATION_TURN)?,
            turn: Cell::default(),
            places: RefCell::default(),
        })
    }

    pub(super) fn client(&self, addr: A) -> Found<u32> {
        let key = ClientPrefix::of(addr);
        found(self.clients.get(&Key::new(key.length, key.addr), 0))
    }

    pub(super) fn range(&self, service: u32, addr: A) -> Found<u32> {
        let key = SourceRange::of(service, addr);
        found(self.ranges.get(&Key::new(key.length, key.range), 0))
    }

    /// The next place on probation. The turn goes round as the programs let it.
    pub(super) fn place(&self) -> Found<RefMut<'_, FlowKey<A>>> {
        let of = if A::FAMILY == Family::V4 { turn::V4 } else { turn::V6 };
        let next = match self.turn.get() {
            Some(next) => Some(next),
            None => found(self.turns.get(&of, 0))?,
        };
        let Some(next) = next else { return Ok(None) };
        let at = u32::try_from(next).ok().filter(|at| *at < self.probation.len()).unwrap_or(0);
        self.turn.set(Some(u64::from(at) + 1));
        if !self.places.borrow().contains_key(&at) {
            let Some(key) = found(self.probation.get(&at, 0))? else { return Ok(None) };
            self.places.borrow_mut().insert(at, key);
        }
        Ok(RefMut::filter_map(self.places.borrow_mut(), |places| places.get_mut(&at)).ok())
    }
}
