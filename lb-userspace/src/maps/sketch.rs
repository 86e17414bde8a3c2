//! Maps on paper: what the maps would hold after writes that nobody made.
//!
//! It neither checks the order of writes, as [`super::fake::Fake`] does, nor touches the kernel.

use std::collections::BTreeMap;

use super::{
    BackendId, Capacities, MapError, Maps, ReadBack, ServiceState, Snapshot, Write, is_of,
};

/// A snapshot that can be written.
#[derive(Clone, Debug)]
pub struct Sketch {
    capacities: Capacities,
    content: Snapshot,
    slots: BTreeMap<u32, BackendId>,
}

impl Sketch {
    /// Begins with what maps of these `capacities` hold.
    #[must_use]
    pub fn new(capacities: Capacities, content: Snapshot) -> Self {
        let mut sketch = Self { capacities, content: Snapshot::default(), slots: BTreeMap::new() };
        for ServiceState { entry, cluster, local } in content.services.values() {
            sketch.put_slots(entry.cluster.offset(), cluster);
            sketch.put_slots(entry.local.offset(), local);
        }
        sketch.content = content;
        sketch
    }

    fn put_slots(&mut self, offset: u32, backends: &[BackendId]) {
        self.slots.extend((offset..).zip(backends.iter().copied()));
    }
}

impl Maps for Sketch {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        let it = &mut self.content;
        match write {
            Write::PutBackend(family, id, entry) => {
                it.free_backends.remove(&(*family, *id));
                it.backends.insert((*family, *id), *entry);
            }
            Write::FreeBackend(family, id) => {
                let freed = it.backends.remove(&(*family, *id));
                it.free_backends.extend(freed.map(|entry| ((*family, *id), entry.generation)));
            }
            Write::PutSlots { offset, backends } => self.put_slots(*offset, backends),
            Write::PutService(id, entry) => {
                let slot = |slot| self.slots.get(&slot).copied().unwrap_or_default();
                it.services.insert(*id, ServiceState::read(*entry, slot));
            }
            Write::FreeService(id) => drop(it.services.remove(id)),
            Write::PutServiceName(id, name, family) => {
                it.names.insert(*id, (name.clone(), *family));
            }
            Write::DeleteServiceName(id) => drop(it.names.remove(id)),
            Write::PutFrontend(address, entry) => drop(it.frontends.insert(*address, *entry)),
            Write::DeleteFrontend(address) => drop(it.frontends.remove(address)),
            Write::PutAddress(address, entry) => drop(it.addresses.insert(*address, *entry)),
            Write::DeleteAddress(address) => drop(it.addresses.remove(address)),
            Write::PutSourceRange(id, range) => drop(it.source_ranges.insert((*id, *range))),
            Write::DeleteSourceRange(id, range) => drop(it.source_ranges.remove(&(*id, *range))),
            Write::PutClient(prefix, client) => drop(it.clients.insert(*prefix, *client)),
            Write::DeleteClient(prefix) => drop(it.clients.remove(prefix)),
            Write::PutServiceCidrs(family, cidrs) => {
                it.service_cidrs.retain(|cidr| !is_of(*family, &cidr.addr()));
                it.service_cidrs.extend(cidrs);
            }
            Write::PutInterface(index, entry) => drop(it.interfaces.insert(*index, *entry)),
            Write::DeleteInterface(index) => drop(it.interfaces.remove(index)),
        }
        Ok(())
    }
}

impl ReadBack for Sketch {
    fn capacities(&self) -> Capacities {
        self.capacities
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        Ok(self.content.clone())
    }
}
