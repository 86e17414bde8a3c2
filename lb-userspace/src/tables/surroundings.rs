//! What is in the maps besides services: clients, service CIDRs, interfaces.
//!
//! The whole is wanted at a time, and differences are written. What comes is put before what goes
//! is deleted, so that an address that moves from one prefix to another is always in one.
//!
//! Service CIDRs are written apart from the rest: packets to their addresses are dropped unless a
//! frontend is there, so services come first.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lb_common::abi::map;
use lb_common::net::Family;

use super::Tables;
use super::drift::{Drift, note};
use super::state::State;
use crate::maps::{
    MapError, Maps, PerFamily, Snapshot, Write, clients_map, is_of, service_cidrs_map,
};
use crate::plan::{Client, InterfaceEntry, Surroundings};

impl Tables {
    /// Makes the maps hold what `want` says of clients and interfaces, and nothing else about them.
    /// To be called before services are written that those may ask.
    ///
    /// An error does not stop the others; the first is returned, and the call is to be repeated.
    pub fn apply_surroundings<M: Maps>(
        &mut self,
        maps: &mut M,
        want: &Surroundings,
    ) -> Result<(), MapError> {
        self.around.apply(maps, want)
    }

    /// The same for service CIDRs, after services: packets there to no frontend are dropped.
    pub fn apply_service_cidrs<M: Maps>(
        &mut self,
        maps: &mut M,
        want: &Surroundings,
    ) -> Result<(), MapError> {
        self.around.apply_cidrs(maps, want)
    }
}

/// The entries that are, or may be, in the maps.
#[derive(Debug)]
pub(super) struct Around {
    clients: BTreeMap<IpNet, State<Client>>,
    /// All of a family at once, as they are written.
    cidrs: PerFamily<State<Vec<IpNet>>>,
    interfaces: BTreeMap<u32, State<InterfaceEntry>>,
}

impl Default for Around {
    fn default() -> Self {
        let cidrs = PerFamily::new(|_| State::Is(Vec::new()));
        Self { clients: BTreeMap::new(), cidrs, interfaces: BTreeMap::new() }
    }
}

impl Around {
    /// What an earlier run has left.
    pub(super) fn restore(snapshot: &Snapshot) -> Self {
        let clients = snapshot.clients.iter().map(|(net, client)| (*net, State::Is(*client)));
        let interfaces = snapshot.interfaces.iter();
        Self {
            clients: clients.collect(),
            cidrs: PerFamily::new(|family| State::Is(of(family, &snapshot.service_cidrs))),
            interfaces: interfaces.map(|(index, entry)| (*index, State::Is(*entry))).collect(),
        }
    }

    /// Compares with what was found; what is too much goes with the next surroundings.
    pub(super) fn compare(&mut self, found: &Snapshot, drift: &mut Drift) {
        let of_client = |net: &IpNet| clients_map(Family::of(&net.addr()));
        compare(&mut self.clients, &found.clients, of_client, drift);
        compare(&mut self.interfaces, &found.interfaces, |_| map::INTERFACES, drift);
        for family in [Family::V4, Family::V6] {
            let differs = self.cidrs[family].confront(Some(&of(family, &found.service_cidrs)));
            note(drift, service_cidrs_map(family), usize::from(differs));
        }
    }

    /// How many prefixes of clients there are.
    pub(super) fn clients(&self, family: Family) -> usize {
        self.clients.keys().filter(|net| is_of(family, &net.addr())).count()
    }

    /// Whether `net` is, or may be, among the clients.
    pub(super) fn knows(&self, net: &IpNet) -> bool {
        self.clients.contains_key(net)
    }

    /// How many prefixes of ClusterIPs there are, as far as is known.
    pub(super) fn cidrs(&self, family: Family) -> usize {
        match &self.cidrs[family] {
            State::Is(nets) => nets.len(),
            State::Absent | State::Unknown => 0,
        }
    }

    /// How many interfaces there are.
    pub(super) fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    /// Makes the maps hold the clients and interfaces of `want`; the first error comes back, and stops
    /// nothing else.
    pub(super) fn apply<M: Maps>(
        &mut self,
        maps: &mut M,
        want: &Surroundings,
    ) -> Result<(), MapError> {
        let clients = want.clients.iter().map(|(net, client)| (net.trunc(), *client)).collect();
        let put_client = |net: &IpNet, client: &Client| Write::PutClient(*net, *client);
        let put_interface =
            |index: &u32, entry: &InterfaceEntry| Write::PutInterface(*index, *entry);
        sync(maps, &mut self.clients, &clients, put_client, |net| Write::DeleteClient(*net)).and(
            sync(maps, &mut self.interfaces, &want.interfaces, put_interface, |index| {
                Write::DeleteInterface(*index)
            }),
        )
    }

    /// The same for the service CIDRs.
    pub(super) fn apply_cidrs<M: Maps>(
        &mut self,
        maps: &mut M,
        want: &Surroundings,
    ) -> Result<(), MapError> {
        let v4 = self.put_cidrs(maps, want, Family::V4);
        v4.and(self.put_cidrs(maps, want, Family::V6))
    }

    fn put_cidrs<M: Maps>(
        &mut self,
        maps: &mut M,
        want: &Surroundings,
        family: Family,
    ) -> Result<(), MapError> {
        let nets = of(family, &want.service_cidrs.iter().map(IpNet::trunc).collect());
        let write = Write::PutServiceCidrs(family, nets.clone());
        self.cidrs[family].put(maps, nets, || write)
    }
}

/// Makes a map with one entry a key hold `want`.
fn sync<M: Maps, K: Copy + Ord, V: Copy + PartialEq>(
    maps: &mut M,
    known: &mut BTreeMap<K, State<V>>,
    want: &BTreeMap<K, V>,
    put: impl Fn(&K, &V) -> Write,
    delete: impl Fn(&K) -> Write,
) -> Result<(), MapError> {
    let mut outcome = Ok(());
    for (key, value) in want {
        let state = known.entry(*key).or_default();
        outcome = outcome.and(state.put(maps, *value, || put(key, value)));
    }
    known.retain(|key, state| {
        let cleared = if want.contains_key(key) { Ok(()) } else { state.clear(maps, &delete(key)) };
        let stays = want.contains_key(key) || cleared.is_err();
        outcome = std::mem::replace(&mut outcome, Ok(())).and(cleared);
        stays
    });
    outcome
}

fn compare<K: Copy + Ord, V: Copy + PartialEq>(
    known: &mut BTreeMap<K, State<V>>,
    found: &BTreeMap<K, V>,
    name: impl Fn(&K) -> &'static str,
    drift: &mut Drift,
) {
    for key in found.keys() {
        known.entry(*key).or_default();
    }
    for (key, state) in known {
        note(drift, name(key), usize::from(state.confront(found.get(key))));
    }
}

/// Those of `family`, sorted.
fn of(family: Family, nets: &BTreeSet<IpNet>) -> Vec<IpNet> {
    nets.iter().filter(|net| is_of(family, &net.addr())).copied().collect()
}
