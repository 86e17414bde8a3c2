//! What maps look like, and what becomes of a pinned one that looks so or otherwise. Pure.

use aya::maps::MapType;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::carried::Carried;
use lb_common::abi::event::Listener;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::hint::Hints;
use lb_common::abi::interface::Interface;
use lb_common::abi::name::ServiceName;
use lb_common::abi::prefix::{ClientPrefix, SourceRange};
use lb_common::abi::probation::{places, turn};
use lb_common::abi::service::{Service, Slot};
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::abi::{capacity, counter, map};
use lb_common::clock::Ticks;
use lb_common::net::{Addr4, Addr6};

use crate::maps::Capacities;

/// A map as the agent wants it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name.
    pub name: &'static str,
    /// Its type and sizes.
    pub shape: Shape,
}

/// The type and sizes of a map, as wanted or as found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its type.
    pub kind: MapType,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Entries.
    pub capacity: u32,
}

/// What becomes of a pinned map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is what is wanted.
    Kept,
    /// A new one takes over what it holds: it has another size, or its values are another version's.
    Copied,
    /// A new one begins empty: what it holds is counts or news, whose beginning readers notice.
    Anew,
}

/// A pinned map is another kind of map altogether.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "map {map} is pinned as {found} but {wanted} is wanted: it is not of a version of waggle that this \
     one can follow; run `waggle cleanup` to start anew (this interrupts traffic)"
)]
pub struct Mismatch {
    map: &'static str,
    found: String,
    wanted: String,
}

impl Layout {
    /// What becomes of a map that looks like `found`, found under this name.
    pub fn fate(&self, found: Shape) -> Result<Fate, Mismatch> {
        let wanted = self.shape;
        let is_like = (found.kind, found.key) == (wanted.kind, wanted.key);
        match wanted.kind {
            _ if found == wanted => Ok(Fate::Kept),
            MapType::PerCpuArray | MapType::RingBuf | MapType::SkStorage if is_like => {
                Ok(Fate::Anew)
            }
            _ if is_like => Ok(Fate::Copied),
            _ => Err(Mismatch {
                map: self.name,
                found: found.to_string(),
                wanted: wanted.to_string(),
            }),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, key, value, capacity } = self;
        write!(f, "{kind:?} of {capacity} entries ({key} byte keys, {value} byte values)")
    }
}

/// Every map, in the order of [`map::ALL`].
#[must_use]
pub fn layouts(capacities: &Capacities) -> [Layout; map::ALL.len()] {
    use MapType::{Array, Hash, LpmTrie, LruHash, PerCpuArray, RingBuf, SkStorage};
    let Capacities { frontends, services, slots, backends, flows, clients, source_ranges, sockets } =
        *capacities;
    [
        layout::<FrontendKey<Addr4>, Frontend>(map::FRONTENDS_V4, Hash, frontends),
        layout::<FrontendKey<Addr6>, Frontend>(map::FRONTENDS_V6, Hash, frontends),
        layout::<u32, Service>(map::SERVICES, Array, services),
        layout::<u32, Slot>(map::SLOTS, Array, slots),
        layout::<u32, Backend<Addr4>>(map::BACKENDS_V4, Array, backends),
        layout::<u32, Backend<Addr6>>(map::BACKENDS_V6, Array, backends),
        layout::<FlowKey<Addr4>, Flow<Addr4>>(map::FLOWS_V4, LruHash, flows),
        layout::<FlowKey<Addr6>, Flow<Addr6>>(map::FLOWS_V6, LruHash, flows),
        layout::<u32, u64>(map::COUNTERS, PerCpuArray, counter::CAPACITY),
        layout::<u32, ServiceName>(map::SERVICE_NAMES, Hash, services),
        layout::<u32, Carried>(map::SERVICE_CARRIED, Array, services),
        layout::<AffinityKey<Addr4>, Affinity>(map::AFFINITY_V4, LruHash, capacity::AFFINITY),
        layout::<AffinityKey<Addr6>, Affinity>(map::AFFINITY_V6, LruHash, capacity::AFFINITY),
        layout::<ClientPrefix<Addr4>, u32>(map::CLIENTS_V4, LpmTrie, clients),
        layout::<ClientPrefix<Addr6>, u32>(map::CLIENTS_V6, LpmTrie, clients),
        layout::<SourceRange<Addr4>, u32>(map::SOURCE_RANGES_V4, LpmTrie, source_ranges),
        layout::<SourceRange<Addr6>, u32>(map::SOURCE_RANGES_V6, LpmTrie, source_ranges),
        layout::<Addr4, At>(map::ADDRESSES_V4, Hash, frontends),
        layout::<Addr6, At>(map::ADDRESSES_V6, Hash, frontends),
        layout::<u32, ServiceCidr<Addr4>>(map::SERVICE_CIDRS_V4, Array, capacity::SERVICE_CIDRS),
        layout::<u32, ServiceCidr<Addr6>>(map::SERVICE_CIDRS_V6, Array, capacity::SERVICE_CIDRS),
        layout::<u32, Interface>(map::INTERFACES, Hash, capacity::INTERFACES),
        layout::<FragmentKey<Addr4>, FragmentPorts>(
            map::FRAGMENTS_V4,
            LruHash,
            capacity::FRAGMENTS,
        ),
        layout::<FragmentKey<Addr6>, FragmentPorts>(
            map::FRAGMENTS_V6,
            LruHash,
            capacity::FRAGMENTS,
        ),
        layout::<FrontendKey<Addr4>, FrontendKey<Addr4>>(
            map::SERVERS_V4,
            LruHash,
            capacity::SERVERS,
        ),
        layout::<FrontendKey<Addr6>, FrontendKey<Addr6>>(
            map::SERVERS_V6,
            LruHash,
            capacity::SERVERS,
        ),
        layout::<FlowKey<Addr4>, Ticks>(map::RESETS_V4, LruHash, capacity::RESETS),
        layout::<FlowKey<Addr6>, Ticks>(map::RESETS_V6, LruHash, capacity::RESETS),
        layout::<u32, FlowKey<Addr4>>(map::PROBATION_V4, Array, places(flows)),
        layout::<u32, FlowKey<Addr6>>(map::PROBATION_V6, Array, places(flows)),
        layout::<u32, u64>(map::PROBATION_TURN, Array, turn::COUNT),
        layout::<u32, Hints>(map::HINTS, Array, 1),
        // Of a ring buffer the kernel knows the bytes, and not what they are.
        layout::<(), ()>(map::EVENTS, RingBuf, capacity::EVENTS),
        layout::<u32, Listener>(map::LISTENER, Array, 1),
        layout::<SocketKey<Addr4>, Socket<Addr4>>(map::SOCKETS_V4, LruHash, sockets),
        layout::<SocketKey<Addr6>, Socket<Addr6>>(map::SOCKETS_V6, LruHash, sockets),
        layout::<u64, u32>(map::EXEMPT, Hash, capacity::EXEMPT),
        layout::<(), ()>(map::BINDS, RingBuf, capacity::BINDS),
        // The kernel wants a key of 4 bytes, and makes an entry with each socket that has one.
        layout::<u32, u64>(map::CARRIERS, SkStorage, 0),
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "keys and values are a few bytes")]
fn layout<K, V>(name: &'static str, kind: MapType, capacity: u32) -> Layout {
    let shape = Shape { kind, key: size_of::<K>() as u32, value: size_of::<V>() as u32, capacity };
    Layout { name, shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, change: impl FnOnce(&mut Shape), expected: Result<Fate, &str>) {
        let layout = *layouts(&Capacities::default()).iter().find(|l| l.name == name).unwrap();
        let mut found = layout.shape;
        change(&mut found);
        match (layout.fate(found).map_err(|e| e.to_string()), expected) {
            (Ok(fate), Ok(expected)) => assert_eq!(fate, expected, "{name}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (result, expected) => panic!("{result:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_layouts_are_those_of_all_maps_in_their_order() {
        assert_eq!(layouts(&Capacities::default()).map(|l| l.name), map::ALL);
    }

    #[test]
    fn a_map_made_with_the_same_settings_is_used_again() {
        check("SLOTS", |_| {}, Ok(Fate::Kept));
    }

    #[test]
    fn a_map_of_another_size_or_with_other_values_is_copied() {
        check("FLOWS_V4", |found| found.capacity = 99, Ok(Fate::Copied));
        check("SERVICES", |found| found.value = 32, Ok(Fate::Copied));
    }

    #[test]
    fn counters_and_events_of_another_size_begin_anew() {
        check("COUNTERS", |found| found.capacity = 1, Ok(Fate::Anew));
        check("EVENTS", |found| found.capacity = 4096, Ok(Fate::Anew));
    }

    #[test]
    fn another_kind_of_map_or_key_asks_for_a_cleanup() {
        check("SERVICES", |found| found.kind = MapType::Hash, Err("run `waggle cleanup`"));
        check("FLOWS_V6", |found| found.key = 4, Err("4 byte keys"));
    }
}
