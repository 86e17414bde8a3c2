//! Makes the kernel's maps hold what tables in memory hold.

use std::collections::{BTreeMap, BTreeSet};

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap};
use lb_common::abi::address::ServiceCidr;
use lb_common::abi::backend::Backend;
use lb_common::abi::frontend::FrontendKey;
use lb_common::abi::prefix::Ranged;
use lb_common::abi::{capacity, map};
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::Address;

use super::Kernel;

/// The names of one family's maps that a test fills.
struct Names {
    frontends: &'static str,
    backends: &'static str,
    addresses: &'static str,
    service_cidrs: &'static str,
    clients: &'static str,
    source_ranges: &'static str,
}

const NAMES_V4: Names = Names {
    frontends: map::FRONTENDS_V4,
    backends: map::BACKENDS_V4,
    addresses: map::ADDRESSES_V4,
    service_cidrs: map::SERVICE_CIDRS_V4,
    clients: map::CLIENTS_V4,
    source_ranges: map::SOURCE_RANGES_V4,
};

const NAMES_V6: Names = Names {
    frontends: map::FRONTENDS_V6,
    backends: map::BACKENDS_V6,
    addresses: map::ADDRESSES_V6,
    service_cidrs: map::SERVICE_CIDRS_V6,
    clients: map::CLIENTS_V6,
    source_ranges: map::SOURCE_RANGES_V6,
};

impl Kernel {
    /// Makes the maps hold what `tables` holds.
    ///
    /// Elements of `SERVICES`, `SLOTS` and `BACKENDS_*` that `tables` has not stay as they are: an
    /// array has no holes.
    pub fn fill(&mut self, tables: &MemoryTables) {
        self.fill_family(&tables.v4, &NAMES_V4);
        self.fill_family(&tables.v6, &NAMES_V6);
        self.fill_array(map::SERVICES, &tables.services);
        self.fill_array(map::SLOTS, &tables.slots);
        self.fill_hash(map::INTERFACES, &tables.interfaces);
        self.fill_array(map::LISTENER, &[(0, tables.listener)].into());
    }

    fn fill_family<A>(&mut self, maps: &FamilyMaps<A>, names: &Names)
    where
        A: Address + Default + Ord + Pod,
        FrontendKey<A>: Pod,
        Backend<A>: Pod,
        Ranged<A>: Pod,
        ServiceCidr<A>: Pod,
    {
        self.fill_hash(names.frontends, &maps.frontends);
        self.fill_hash(names.addresses, &maps.addresses);
        self.fill_array(names.backends, &maps.backends);
        let cidrs = maps.service_cidrs.iter().copied();
        let cidrs = cidrs.chain(std::iter::repeat(ServiceCidr::default()));
        self.fill_array(names.service_cidrs, &(0..capacity::SERVICE_CIDRS).zip(cidrs).collect());
        let clients = maps.clients.iter();
        let clients = clients.map(|(prefix, what)| ((prefix.length, prefix.addr), *what));
        self.fill_trie(names.clients, &clients.collect());
        let ranges = maps.source_ranges.iter().map(|key| ((key.length, key.range), 1));
        self.fill_trie(names.source_ranges, &ranges.collect());
    }

    fn fill_hash<K: Pod + Ord, V: Pod>(&mut self, name: &str, wanted: &BTreeMap<K, V>) {
        let mut map: HashMap<_, K, V> = self.map(name).try_into().expect("a hash");
        let there: BTreeSet<K> = map.keys().map(|key| key.expect("read a key")).collect();
        for key in there.iter().filter(|key| !wanted.contains_key(key)) {
            map.remove(key).expect("remove an entry");
        }
        for (key, value) in wanted {
            map.insert(*key, *value, 0).expect("insert an entry");
        }
    }

    /// Fills a trie with values by length and prefix.
    fn fill_trie<K: Pod + Ord>(&mut self, name: &str, wanted: &BTreeMap<(u32, K), u32>) {
        let mut map: LpmTrie<_, K, u32> = self.map(name).try_into().expect("a trie");
        let there: Vec<Key<K>> = map.keys().map(|key| key.expect("read a prefix")).collect();
        for key in there.iter().filter(|key| !wanted.contains_key(&(key.prefix_len(), key.data())))
        {
            map.remove(key).expect("remove a prefix");
        }
        for ((length, prefix), value) in wanted {
            map.insert(&Key::new(*length, *prefix), *value, 0).expect("insert a prefix");
        }
    }

    fn fill_array<V: Pod>(&mut self, name: &str, wanted: &BTreeMap<u32, V>) {
        let mut map: Array<_, V> = self.map(name).try_into().expect("an array");
        for (index, value) in wanted {
            map.set(*index, *value, 0).expect("set an element");
        }
    }
}
