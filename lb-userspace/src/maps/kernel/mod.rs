//! The maps in the kernel.
//!
//! Hash maps are written by system calls, arrays through shared memory ([`mmap`](super::mmap)). In
//! memory, what makes an entry visible is stored last: the flags of a backend, the ranges of a
//! service after its slots.

pub(crate) mod access;
mod binds;
mod carried;
mod counters;
mod events;
mod exempt;
mod family;
mod flows;
mod lru;
mod names;
mod prefixes;
mod ring;
mod sockets;
#[cfg(test)]
mod tests;

pub use binds::Binds;
pub use carried::Sums;
pub use counters::Counters;
pub use events::{Events, ListenError};
pub use exempt::Exempt;
pub use flows::KernelFlows;
pub use lru::LruMaps;
pub use names::Names;
pub use sockets::{Holder, KernelSockets};

use std::fmt;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use lb_common::abi::interface::{self, Interface};
use lb_common::abi::map;
use lb_common::abi::name::ServiceName;
use lb_common::abi::service::{self, Service, Slot};
use lb_common::net::{Addr4, Addr6, Family};

use self::access::{IF_ABSENT, absent_is_fine, each, invalid, mapped, refused_at, sized, typed};
use self::family::FamilyMaps;
use super::dump::{CarriedRow, CounterRow, FlowRow, SocketRow};
use super::mmap::MappedArray;
use super::{
    BackendId, Capacities, MapError, Maps, ReadBack, ServiceEntry, ServiceId, ServiceState,
    Snapshot, Write,
};
use crate::plan::InterfaceEntry;

/// The maps of one datapath.
pub struct KernelMaps {
    v4: FamilyMaps<Addr4>,
    v6: FamilyMaps<Addr6>,
    services: MappedArray<Service>,
    slots: MappedArray<Slot>,
    names: HashMap<MapData, u32, ServiceName>,
    interfaces: HashMap<MapData, u32, Interface>,
    interface_capacity: u32,
    counters: Counters,
    sums: Sums,
}

impl fmt::Debug for KernelMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelMaps").field("capacities", &self.capacities()).finish_non_exhaustive()
    }
}

impl KernelMaps {
    /// The maps that are pinned in `directory` under their names.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        Self::from_maps(|name| MapData::from_pin(directory.join(name)))
    }

    /// The maps that `open` finds by their names.
    pub fn from_maps(
        mut open: impl FnMut(&'static str) -> Result<MapData, aya::maps::MapError>,
    ) -> Result<Self, MapError> {
        let open = &mut open;
        let (interfaces, interface_capacity) = sized(open, map::INTERFACES)?;
        Ok(Self {
            v4: FamilyMaps::open(open)?,
            v6: FamilyMaps::open(open)?,
            services: mapped(open, map::SERVICES)?,
            slots: mapped(open, map::SLOTS)?,
            names: typed(open, map::SERVICE_NAMES)?,
            interfaces,
            interface_capacity,
            counters: Counters::open(open)?,
            sums: Sums::open(open)?,
        })
    }

    /// Every counter, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<CounterRow>, MapError> {
        self.counters.read()
    }

    /// What each service has carried, but for its live flows, by id; those that have carried nothing
    /// are left out.
    #[must_use]
    pub fn carried(&self) -> Vec<CarriedRow> {
        self.sums.all().into_iter().map(|(id, sum)| CarriedRow::new(id, &sum)).collect()
    }

    /// The flows of both families, sorted by key. They change while they are read.
    pub fn flows(&self) -> Result<Vec<FlowRow>, MapError> {
        let mut rows = self.v4.flows()?;
        rows.extend(self.v6.flows()?);
        Ok(rows)
    }

    /// What is kept of sockets of both families, sorted by key. They change while they are read.
    pub fn sockets(&self) -> Result<Vec<SocketRow>, MapError> {
        let mut rows = self.v4.sockets()?;
        rows.extend(self.v6.sockets()?);
        Ok(rows)
    }

    fn put_slots(&self, offset: u32, backends: &[BackendId]) -> Option<()> {
        (offset..).zip(backends).try_for_each(|(slot, id)| self.slots.store(slot, id, 0))
    }

    fn put_name(&mut self, id: ServiceId, name: &str, family: Family) -> Result<(), MapError> {
        let name = ServiceName::new(name, family)
            .ok_or_else(|| invalid(map::SERVICE_NAMES, "the name of a service is too long"))?;
        if self.names.insert(id, name, IF_ABSENT).is_ok() {
            self.sums.clear(id);
            return Ok(());
        }
        let inserted = self.names.insert(id, name, 0);
        inserted.map_err(refused_at(map::SERVICE_NAMES, self.services.capacity()))
    }
}

/// `$call` on the twin of `$family`.
macro_rules! of {
    ($self:ident, $family:expr, $twin:ident => $call:expr) => {
        match $family {
            Family::V4 => {
                let $twin = &mut $self.v4;
                $call
            }
            Family::V6 => {
                let $twin = &mut $self.v6;
                $call
            }
        }
    };
}

impl Maps for KernelMaps {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        match write {
            Write::PutBackend(family, id, entry) => {
                of!(self, family, it => it.put_backend(*id, entry))
            }
            Write::FreeBackend(family, id) => of!(self, family, it => it.free_backend(*id)),
            Write::PutSlots { offset, backends } => self
                .put_slots(*offset, backends)
                .ok_or_else(|| MapError::full(map::SLOTS, self.slots.capacity())),
            Write::PutService(id, entry) => put_service(&self.services, *id, &to_service(entry)),
            Write::FreeService(id) => put_service(&self.services, *id, &Service::default()),
            Write::PutServiceName(id, name, family) => self.put_name(*id, name, *family),
            Write::DeleteServiceName(id) => {
                absent_is_fine(map::SERVICE_NAMES, self.names.remove(id))
            }
            Write::PutFrontend(address, entry) => {
                of!(self, Family::of(&address.ip), it => it.put_frontend(address, *entry))
            }
            Write::DeleteFrontend(address) => {
                of!(self, Family::of(&address.ip), it => it.delete_frontend(address))
            }
            Write::PutAddress(ip, entry) => {
                of!(self, Family::of(ip), it => it.prefixes.put_address(*ip, *entry))
            }
            Write::DeleteAddress(ip) => {
                of!(self, Family::of(ip), it => it.prefixes.delete_address(*ip))
            }
            Write::PutSourceRange(id, net) => {
                of!(self, Family::of(&net.addr()), it => it.prefixes.put_range(*id, *net))
            }
            Write::DeleteSourceRange(id, net) => {
                of!(self, Family::of(&net.addr()), it => it.prefixes.delete_range(*id, *net))
            }
            Write::PutClient(net, client) => {
                of!(self, Family::of(&net.addr()), it => it.prefixes.put_client(*net, *client))
            }
            Write::DeleteClient(net) => {
                of!(self, Family::of(&net.addr()), it => it.prefixes.delete_client(*net))
            }
            Write::PutServiceCidrs(family, nets) => {
                of!(self, family, it => it.prefixes.put_cidrs(nets))
            }
            Write::PutInterface(index, entry) => {
                let inserted = self.interfaces.insert(index, to_interface(entry), 0);
                inserted.map_err(refused_at(map::INTERFACES, self.interface_capacity))
            }
            Write::DeleteInterface(index) => {
                absent_is_fine(map::INTERFACES, self.interfaces.remove(index))
            }
        }
    }
}

impl ReadBack for KernelMaps {
    fn capacities(&self) -> Capacities {
        Capacities {
            frontends: self.v4.frontend_capacity,
            services: self.services.capacity(),
            slots: self.slots.capacity(),
            backends: self.v4.backends.capacity(),
            flows: self.v4.flow_capacity,
            clients: self.v4.prefixes.client_capacity,
            source_ranges: self.v4.prefixes.range_capacity,
            sockets: self.v4.socket_capacity,
        }
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        let mut snapshot = Snapshot::default();
        self.v4.read_into(&mut snapshot)?;
        self.v6.read_into(&mut snapshot)?;
        let slot = |slot| self.slots.load(slot).unwrap_or_default();
        for id in 1..self.services.capacity() {
            if let Some(entry) = self.services.load(id).and_then(|value| from_service(&value)) {
                snapshot.services.insert(id, ServiceState::read(entry, slot));
            }
        }
        each(&self.names, map::SERVICE_NAMES, |id, value| {
            let name = value.parse();
            snapshot.names.extend(name.map(|(name, family)| (id, (name.to_owned(), family))));
        })?;
        each(&self.interfaces, map::INTERFACES, |index, value| {
            snapshot.interfaces.insert(index, from_interface(&value));
        })?;
        Ok(snapshot)
    }
}

/// One store a word; the lists first, so that a service is in use only once they are right.
fn put_service(
    services: &MappedArray<Service>,
    id: ServiceId,
    value: &Service,
) -> Result<(), MapError> {
    const FLAGS_WORD: usize = std::mem::offset_of!(Service, flags) / size_of::<u64>();
    let stored = services.store(id, value, FLAGS_WORD);
    stored.ok_or_else(|| MapError::full(map::SERVICES, services.capacity()))
}

fn to_service(entry: &ServiceEntry) -> Service {
    let ServiceEntry { cluster, local, usable, affinity_s } = *entry;
    let usable = if usable { service::flags::USABLE } else { 0 };
    Service { cluster, local, flags: service::flags::IN_USE | usable, affinity_s }
}

fn from_service(value: &Service) -> Option<ServiceEntry> {
    let Service { cluster, local, flags, affinity_s } = *value;
    let usable = flags & service::flags::USABLE != 0;
    let entry = ServiceEntry { cluster, local, usable, affinity_s };
    (flags & service::flags::IN_USE != 0).then_some(entry)
}

fn to_interface(entry: &InterfaceEntry) -> Interface {
    Interface {
        flags: if entry.workload { interface::flags::WORKLOAD } else { 0 },
        v4: entry.v4.map(|ip| Addr4::from_octets(ip.octets())).unwrap_or_default(),
        v6: entry.v6.map(|ip| Addr6::from_octets(ip.octets())).unwrap_or_default(),
    }
}

fn from_interface(value: &Interface) -> InterfaceEntry {
    let Interface { flags, v4, v6 } = *value;
    InterfaceEntry {
        workload: flags & interface::flags::WORKLOAD != 0,
        v4: (v4 != Addr4::default()).then(|| v4.octets().into()),
        v6: (v6 != Addr6::default()).then(|| v6.octets().into()),
    }
}
