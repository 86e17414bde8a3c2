//! The maps in memory, for tests: strict about the order of writes, or failing on purpose.

mod doomed;
mod prefixes;

pub use doomed::{Doomed, Failure};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use lb_common::abi::map;
use lb_common::abi::service::SlotRange;
use lb_common::net::Family;

use self::prefixes::Prefixes;
use super::{
    AddressEntry, BackendEntry, BackendId, Capacities, FrontendEntry, MapError, Maps, PerFamily,
    ReadBack, ServiceEntry, ServiceId, ServiceState, Snapshot, Write, backends_map, frontends_map,
};
use crate::plan::FrontendAddress;

/// Maps that panic as soon as a write breaks I4.
#[derive(Clone, Debug)]
pub struct Fake {
    capacities: Capacities,
    frontends: PerFamily<BTreeMap<FrontendAddress, FrontendEntry>>,
    services: BTreeMap<ServiceId, ServiceEntry>,
    slots: BTreeMap<u32, BackendId>,
    backends: PerFamily<BTreeMap<BackendId, (BackendEntry, InUse)>>,
    names: BTreeMap<ServiceId, (String, Family)>,
    prefixes: Prefixes,
    log: Vec<Write>,
    /// Backends that are not what their writer has made them.
    damaged: BTreeSet<(Family, BackendId)>,
    /// False from [`Fake::vandalize`] until the damage is repaired.
    is_sound: bool,
}

/// Whether a backend's entry is in use; a free one keeps its last content.
type InUse = bool;

impl Default for Fake {
    fn default() -> Self {
        Self::new(Capacities::default())
    }
}

impl Fake {
    /// Empty maps of these `capacities`.
    #[must_use]
    pub fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            frontends: PerFamily::default(),
            services: BTreeMap::new(),
            slots: BTreeMap::new(),
            backends: PerFamily::default(),
            names: BTreeMap::new(),
            prefixes: Prefixes::default(),
            log: Vec::new(),
            damaged: BTreeSet::new(),
            is_sound: true,
        }
    }

    /// The writes since the last call, in their order.
    pub fn take_log(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.log)
    }

    /// Makes a change without asking whether it is right: to set up what a crash or somebody else
    /// has left.
    ///
    /// # Panics
    /// If a map is full.
    pub fn vandalize(&mut self, write: &Write) {
        self.change(write).expect("a change that fits");
        if let Write::PutBackend(family, id, _) = write {
            self.damaged.insert((*family, *id));
        }
        self.is_sound = self.fault().is_none();
    }

    fn change(&mut self, write: &Write) -> Result<(), MapError> {
        match write {
            Write::PutBackend(family, id, entry) => {
                check_index(backends_map(*family), *id, self.capacities.backends)?;
                self.backends[*family].insert(*id, (*entry, true));
            }
            Write::FreeBackend(family, id) => {
                if let Some((_, in_use)) = self.backends[*family].get_mut(id) {
                    *in_use = false;
                }
            }
            Write::PutSlots { offset, backends } => self.put_slots(*offset, backends)?,
            Write::PutService(id, entry) => {
                check_index(map::SERVICES, *id, self.capacities.services)?;
                self.services.insert(*id, *entry);
            }
            Write::FreeService(id) => drop(self.services.remove(id)),
            Write::PutServiceName(id, name, family) => {
                self.names.insert(*id, (name.clone(), *family));
            }
            Write::DeleteServiceName(id) => drop(self.names.remove(id)),
            Write::PutFrontend(address, entry) => self.put_frontend(*address, *entry)?,
            Write::DeleteFrontend(address) => {
                self.frontends[Family::of(&address.ip)].remove(address);
            }
            Write::PutAddress(..)
            | Write::DeleteAddress(_)
            | Write::PutSourceRange(..)
            | Write::DeleteSourceRange(..)
            | Write::PutClient(..)
            | Write::DeleteClient(_)
            | Write::PutServiceCidrs(..)
            | Write::PutInterface(..)
            | Write::DeleteInterface(_) => self.prefixes.change(write, &self.capacities)?,
        }
        Ok(())
    }

    fn put_slots(&mut self, offset: u32, backends: &[BackendId]) -> Result<(), MapError> {
        let end = offset as usize + backends.len();
        if end > self.capacities.slots as usize {
            return Err(MapError::full(map::SLOTS, self.capacities.slots));
        }
        self.slots.extend((offset..).zip(backends.iter().copied()));
        Ok(())
    }

    fn put_frontend(
        &mut self,
        address: FrontendAddress,
        entry: FrontendEntry,
    ) -> Result<(), MapError> {
        let family = Family::of(&address.ip);
        let frontends = &mut self.frontends[family];
        let is_new = !frontends.contains_key(&address);
        if is_new && frontends.len() >= self.capacities.frontends as usize {
            return Err(MapError::full(frontends_map(family), self.capacities.frontends));
        }
        frontends.insert(address, entry);
        Ok(())
    }

    fn slot(&self, slot: u32) -> BackendId {
        self.slots.get(&slot).copied().unwrap_or_default()
    }

    /// The frontends at an address.
    fn at(&self, ip: &IpAddr) -> impl Iterator<Item = &FrontendEntry> {
        let frontends = self.frontends[Family::of(ip)].iter();
        frontends.filter(move |(address, _)| address.ip == *ip).map(|(_, entry)| entry)
    }

    /// Panics if `write` would change what a reader may be looking at, or tell it of an address
    /// what is not so.
    fn assert_invisible(&self, write: &Write) {
        match write {
            Write::PutSlots { offset, backends } => {
                let read: BTreeSet<_> = self.visible_slots().collect();
                for (slot, id) in (*offset..).zip(backends) {
                    let is_same = self.slot(slot) == *id;
                    assert!(is_same || !read.contains(&slot), "slot {slot} is in use: {write:?}");
                }
            }
            Write::PutBackend(family, id, entry) if !self.damaged.contains(&(*family, *id)) => {
                let Some((old, in_use)) = self.backends[*family].get(id) else { return };
                let is_same = (old.address, old.service, old.generation)
                    == (entry.address, entry.service, entry.generation);
                let is_next = !in_use && old.generation < entry.generation;
                assert!(is_same || is_next, "replaces {old:?}: {write:?}");
            }
            Write::PutAddress(ip, AddressEntry { closed: true }) => {
                assert!(self.at(ip).any(|entry| entry.closed), "nothing is closed: {write:?}");
            }
            Write::DeleteAddress(ip) => {
                assert!(self.at(ip).next().is_none(), "a frontend is there: {write:?}");
            }
            _ => {}
        }
    }

    fn visible_slots(&self) -> impl Iterator<Item = u32> {
        let slots = |range: SlotRange| range.offset()..range.offset() + range.count();
        self.services.values().flat_map(move |it| slots(it.cluster).chain(slots(it.local)))
    }

    /// What breaks I4: a visible slot that names no backend of its service in use, a frontend that
    /// names no service in use of its family, a guarded one that admits nobody, or a source range
    /// that the next user of an id would inherit.
    fn fault(&self) -> Option<String> {
        let dangling =
            |(id, entry): &(&ServiceId, &ServiceEntry)| self.families_of(**id, entry).is_empty();
        if let Some((id, _)) = self.services.iter().find(dangling) {
            return Some(format!("service {id} has a dangling slot"));
        }
        if let Some((id, net)) =
            self.prefixes.ranges().find(|(id, _)| !self.services.contains_key(id))
        {
            return Some(format!("source range {net} is of no service: {id}"));
        }
        let ranged: BTreeSet<_> = self.prefixes.ranges().map(|(id, _)| *id).collect();
        let frontends = || self.frontends.iter().flat_map(|(_, frontends)| frontends);
        if let Some((address, _)) =
            frontends().find(|(_, it)| it.guarded && !ranged.contains(&it.service))
        {
            return Some(format!("{address:?} admits nobody"));
        }
        self.frontends.iter().find_map(|(family, frontends)| {
            let lost =
                frontends.iter().find(|(_, frontend)| !self.serves(frontend.service, family));
            lost.map(|(address, entry)| format!("{address:?} leads nowhere: {entry:?}"))
        })
    }

    fn serves(&self, id: ServiceId, family: Family) -> bool {
        let entry = self.services.get(&id);
        entry.is_some_and(|entry| self.families_of(id, entry).contains(&family))
    }

    /// The families in which every slot of the service `id` resolves.
    fn families_of(&self, id: ServiceId, entry: &ServiceEntry) -> Vec<Family> {
        let state = ServiceState::read(*entry, |slot| self.slot(slot));
        let resolves = |family: &Family| {
            state.cluster.iter().chain(&state.local).all(|backend| {
                let backend = self.backends[*family].get(backend);
                backend.is_some_and(|(entry, in_use)| *in_use && entry.service == id)
            })
        };
        [Family::V4, Family::V6].into_iter().filter(resolves).collect()
    }
}

impl Maps for Fake {
    /// # Panics
    /// If the write breaks I4.
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        self.assert_invisible(write);
        self.change(write)?;
        self.log.push(write.clone());
        let fault = self.fault();
        assert!(!self.is_sound || fault.is_none(), "{} after {write:?}", fault.unwrap_or_default());
        self.is_sound = fault.is_none();
        Ok(())
    }
}

impl ReadBack for Fake {
    fn capacities(&self) -> Capacities {
        self.capacities
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        let mut snapshot = Snapshot { names: self.names.clone(), ..Snapshot::default() };
        for (family, frontends) in self.frontends.iter() {
            snapshot.frontends.extend(frontends);
            for (&id, (entry, in_use)) in &self.backends[family] {
                if *in_use {
                    snapshot.backends.insert((family, id), *entry);
                } else {
                    snapshot.free_backends.insert((family, id), entry.generation);
                }
            }
        }
        let states = self.services.iter();
        let states = states.map(|(id, it)| (*id, ServiceState::read(*it, |slot| self.slot(slot))));
        snapshot.services = states.collect();
        self.prefixes.read_into(&mut snapshot);
        Ok(snapshot)
    }
}

/// Maps of which every nth write fails, in turn before and after it has made its change.
#[derive(Clone, Debug)]
pub struct Flaky<M> {
    inner: M,
    every: usize,
    writes: usize,
}

impl<M> Flaky<M> {
    /// `inner`, each `every`th write of which fails.
    pub const fn new(inner: M, every: usize) -> Self {
        Self { inner, every, writes: 0 }
    }

    /// How many writes were tried so far.
    pub const fn writes(&self) -> usize {
        self.writes
    }

    /// The maps without the faults.
    pub const fn inner(&self) -> &M {
        &self.inner
    }
}

impl<M: Maps> Maps for Flaky<M> {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        self.writes += 1;
        let fails = self.writes.is_multiple_of(self.every);
        let happens = !fails || (self.writes / self.every).is_multiple_of(2);
        if happens {
            self.inner.apply(write)?;
        }
        let fault = || MapError::Kernel { map: "FLAKY", source: io::Error::other("on purpose") };
        if fails { Err(fault()) } else { Ok(()) }
    }
}

impl<M: ReadBack> ReadBack for Flaky<M> {
    fn capacities(&self) -> Capacities {
        self.inner.capacities()
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        self.inner.snapshot()
    }
}

fn check_index(map: &'static str, id: u32, capacity: u32) -> Result<(), MapError> {
    assert_ne!(id, 0, "{map}: ids start at 1");
    if id < capacity { Ok(()) } else { Err(MapError::full(map, capacity)) }
}
