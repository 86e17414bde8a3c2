//! What a pinned map must look like to be used again. Pure.

use aya::maps::MapType;
use lb_common::abi::address::{At, ServiceCidr};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::event::Listener;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::{Frontend, FrontendKey};
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
    /// The flag that sets its capacity; none if it is fixed.
    pub setting: Option<&'static str>,
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

/// Why a pinned map cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It was made with another capacity.
    #[error(
        "map {map} is pinned with {found} entries but {wanted} are wanted; \
         give --{setting} {found}, or run `waggle cleanup` to start anew (this interrupts traffic)"
    )]
    Capacity {
        /// The map.
        map: &'static str,
        /// The flag.
        setting: &'static str,
        /// Entries it has.
        found: u32,
        /// Entries it should have.
        wanted: u32,
    },
    /// It is another kind of map altogether.
    #[error(
        "map {map} is pinned as {found} but {wanted} is wanted: it is not of this version of \
         waggle; run `waggle cleanup` to start anew (this interrupts traffic)"
    )]
    Shape {
        /// The map.
        map: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
}

impl Layout {
    /// Whether a map that looks like `found` is this map.
    pub fn check(&self, found: Shape) -> Result<(), Mismatch> {
        let wanted = self.shape;
        if found == wanted {
            return Ok(());
        }
        match self.setting {
            Some(setting) if (Shape { capacity: wanted.capacity, ..found }) == wanted => {
                Err(Mismatch::Capacity {
                    map: self.name,
                    setting,
                    found: found.capacity,
                    wanted: wanted.capacity,
                })
            }
            _ => Err(Mismatch::Shape {
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
    use MapType::{Array, Hash, LpmTrie, LruHash, PerCpuArray, RingBuf};
    let Capacities { frontends, services, slots, backends, flows, clients, source_ranges, sockets } =
        *capacities;
    [
        layout::<FrontendKey<Addr4>, Frontend>(map::FRONTENDS_V4, Hash, frontends, "max-frontends"),
        layout::<FrontendKey<Addr6>, Frontend>(map::FRONTENDS_V6, Hash, frontends, "max-frontends"),
        layout::<u32, Service>(map::SERVICES, Array, services, "max-services"),
        layout::<u32, Slot>(map::SLOTS, Array, slots, "max-slots"),
        layout::<u32, Backend<Addr4>>(map::BACKENDS_V4, Array, backends, "max-backends"),
        layout::<u32, Backend<Addr6>>(map::BACKENDS_V6, Array, backends, "max-backends"),
        layout::<FlowKey<Addr4>, Flow<Addr4>>(map::FLOWS_V4, LruHash, flows, "max-flows"),
        layout::<FlowKey<Addr6>, Flow<Addr6>>(map::FLOWS_V6, LruHash, flows, "max-flows"),
        fixed::<u32, u64>(map::COUNTERS, PerCpuArray, counter::CAPACITY),
        layout::<u32, ServiceName>(map::SERVICE_NAMES, Hash, services, "max-services"),
        fixed::<AffinityKey<Addr4>, Affinity>(map::AFFINITY_V4, LruHash, capacity::AFFINITY),
        fixed::<AffinityKey<Addr6>, Affinity>(map::AFFINITY_V6, LruHash, capacity::AFFINITY),
        layout::<ClientPrefix<Addr4>, u32>(map::CLIENTS_V4, LpmTrie, clients, "max-clients"),
        layout::<ClientPrefix<Addr6>, u32>(map::CLIENTS_V6, LpmTrie, clients, "max-clients"),
        layout::<SourceRange<Addr4>, u32>(
            map::SOURCE_RANGES_V4,
            LpmTrie,
            source_ranges,
            "max-source-ranges",
        ),
        layout::<SourceRange<Addr6>, u32>(
            map::SOURCE_RANGES_V6,
            LpmTrie,
            source_ranges,
            "max-source-ranges",
        ),
        layout::<Addr4, At>(map::ADDRESSES_V4, Hash, frontends, "max-frontends"),
        layout::<Addr6, At>(map::ADDRESSES_V6, Hash, frontends, "max-frontends"),
        fixed::<u32, ServiceCidr<Addr4>>(map::SERVICE_CIDRS_V4, Array, capacity::SERVICE_CIDRS),
        fixed::<u32, ServiceCidr<Addr6>>(map::SERVICE_CIDRS_V6, Array, capacity::SERVICE_CIDRS),
        fixed::<u32, Interface>(map::INTERFACES, Hash, capacity::INTERFACES),
        fixed::<FragmentKey<Addr4>, FragmentPorts>(map::FRAGMENTS_V4, LruHash, capacity::FRAGMENTS),
        fixed::<FragmentKey<Addr6>, FragmentPorts>(map::FRAGMENTS_V6, LruHash, capacity::FRAGMENTS),
        fixed::<FrontendKey<Addr4>, FrontendKey<Addr4>>(
            map::SERVERS_V4,
            LruHash,
            capacity::SERVERS,
        ),
        fixed::<FrontendKey<Addr6>, FrontendKey<Addr6>>(
            map::SERVERS_V6,
            LruHash,
            capacity::SERVERS,
        ),
        fixed::<FlowKey<Addr4>, Ticks>(map::RESETS_V4, LruHash, capacity::RESETS),
        fixed::<FlowKey<Addr6>, Ticks>(map::RESETS_V6, LruHash, capacity::RESETS),
        fixed::<u32, FlowKey<Addr4>>(map::PROBATION_V4, Array, places(flows)),
        fixed::<u32, FlowKey<Addr6>>(map::PROBATION_V6, Array, places(flows)),
        fixed::<u32, u64>(map::PROBATION_TURN, Array, turn::COUNT),
        // Of a ring buffer the kernel knows the bytes, and not what they are.
        fixed::<(), ()>(map::EVENTS, RingBuf, capacity::EVENTS),
        fixed::<u32, Listener>(map::LISTENER, Array, 1),
        layout::<SocketKey<Addr4>, Socket<Addr4>>(map::SOCKETS_V4, LruHash, sockets, "max-sockets"),
        layout::<SocketKey<Addr6>, Socket<Addr6>>(map::SOCKETS_V6, LruHash, sockets, "max-sockets"),
        fixed::<u64, u32>(map::EXEMPT, Hash, capacity::EXEMPT),
        fixed::<(), ()>(map::BINDS, RingBuf, capacity::BINDS),
    ]
}

/// A map whose capacity nobody sets, or not by itself.
fn fixed<K, V>(name: &'static str, kind: MapType, capacity: u32) -> Layout {
    Layout { setting: None, ..layout::<K, V>(name, kind, capacity, "") }
}

#[expect(clippy::cast_possible_truncation, reason = "keys and values are a few bytes")]
fn layout<K, V>(name: &'static str, kind: MapType, capacity: u32, setting: &'static str) -> Layout {
    let shape = Shape { kind, key: size_of::<K>() as u32, value: size_of::<V>() as u32, capacity };
    Layout { name, setting: Some(setting), shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, change: impl FnOnce(&mut Shape), expected: Result<(), &str>) {
        let layout = *layouts(&Capacities::default()).iter().find(|l| l.name == name).unwrap();
        let mut found = layout.shape;
        change(&mut found);
        let result = layout.check(found).map_err(|e| e.to_string());
        match (result, expected) {
            (Ok(()), Ok(())) => {}
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
        check("SLOTS", |_| {}, Ok(()));
    }

    #[test]
    fn another_capacity_names_the_map_both_values_and_the_flag() {
        check(
            "FLOWS_V4",
            |found| found.capacity = 99,
            Err("FLOWS_V4 is pinned with 99 entries but 262144 are wanted; give --max-flows 99"),
        );
    }

    #[test]
    fn another_layout_asks_for_a_cleanup() {
        check("SERVICES", |found| found.value = 32, Err("32 byte values"));
        check("SERVICES", |found| found.kind = MapType::Hash, Err("run `waggle cleanup`"));
        check("COUNTERS", |found| found.capacity = 1, Err("PerCpuArray of 1 entries"));
    }
}
