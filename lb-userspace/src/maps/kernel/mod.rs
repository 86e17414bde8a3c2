//! The maps in the kernel.
//!
//! Hash maps are written by system calls, arrays through shared memory ([`mmap`](super::mmap)). In
//! memory, what makes an entry visible is stored last: the flags of a backend, the ranges of a
//! service after its slots.

mod counters;
#[cfg(test)]
mod tests;

pub use counters::Counters;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::frontend::{self, Frontend, FrontendKey};
use lb_common::abi::map;
use lb_common::abi::name::ServiceName;
use lb_common::abi::service::{self, Service, Slot};
use lb_common::net::{Addr4, Addr6, Address, Family, Port};
use nix::libc;

use super::dump::{CounterRow, FlowRow};
use super::mmap::MappedArray;
use super::{
    BackendEntry, BackendId, Capacities, FrontendEntry, MapError, Maps, ReadBack, ServiceEntry,
    ServiceId, ServiceState, Snapshot, Write, backends_map, flows_map, frontends_map,
};
use crate::model::Protocol;
use crate::plan::FrontendAddress;

/// The maps of one datapath.
pub struct KernelMaps {
    v4: FamilyMaps<Addr4>,
    v6: FamilyMaps<Addr6>,
    services: MappedArray<Service>,
    slots: MappedArray<Slot>,
    names: HashMap<MapData, u32, ServiceName>,
    counters: Counters,
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
        Ok(Self {
            v4: FamilyMaps::open(open)?,
            v6: FamilyMaps::open(open)?,
            services: mapped(open, map::SERVICES)?,
            slots: mapped(open, map::SLOTS)?,
            names: typed(open, map::SERVICE_NAMES)?,
            counters: Counters::open(open)?,
        })
    }

    /// Every counter, summed over the CPUs.
    pub fn counters(&self) -> Result<Vec<CounterRow>, MapError> {
        self.counters.read()
    }

    /// The flows of both families, sorted by key. They change while they are read.
    pub fn flows(&self) -> Result<Vec<FlowRow>, MapError> {
        let mut rows = self.v4.flows()?;
        rows.extend(self.v6.flows()?);
        Ok(rows)
    }

    fn put_slots(&self, offset: u32, backends: &[BackendId]) -> Option<()> {
        (offset..).zip(backends).try_for_each(|(slot, id)| self.slots.store(slot, id, 0))
    }

    fn put_name(&mut self, id: ServiceId, name: &str, family: Family) -> Result<(), MapError> {
        let name = ServiceName::new(name, family)
            .ok_or_else(|| invalid(map::SERVICE_NAMES, "the name of a service is too long"))?;
        let inserted = self.names.insert(id, name, 0);
        inserted.map_err(refused_at(map::SERVICE_NAMES, self.services.capacity()))
    }
}

impl Maps for KernelMaps {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        match write {
            Write::PutBackend(Family::V4, id, entry) => self.v4.put_backend(*id, entry),
            Write::PutBackend(Family::V6, id, entry) => self.v6.put_backend(*id, entry),
            Write::FreeBackend(Family::V4, id) => self.v4.free_backend(*id),
            Write::FreeBackend(Family::V6, id) => self.v6.free_backend(*id),
            Write::PutSlots { offset, backends } => self
                .put_slots(*offset, backends)
                .ok_or_else(|| MapError::full(map::SLOTS, self.slots.capacity())),
            Write::PutService(id, entry) => put_service(&self.services, *id, &to_service(entry)),
            Write::FreeService(id) => put_service(&self.services, *id, &Service::default()),
            Write::PutServiceName(id, name, family) => self.put_name(*id, name, *family),
            Write::DeleteServiceName(id) => {
                absent_is_fine(map::SERVICE_NAMES, self.names.remove(id))
            }
            Write::PutFrontend(address, entry) => match Family::of(&address.ip) {
                Family::V4 => self.v4.put_frontend(address, *entry),
                Family::V6 => self.v6.put_frontend(address, *entry),
            },
            Write::DeleteFrontend(address) => match Family::of(&address.ip) {
                Family::V4 => self.v4.delete_frontend(address),
                Family::V6 => self.v6.delete_frontend(address),
            },
            Write::PutAddress(..)
            | Write::DeleteAddress(_)
            | Write::PutSourceRange(..)
            | Write::DeleteSourceRange(..)
            | Write::PutClient(..)
            | Write::DeleteClient(_)
            | Write::PutServiceCidrs(..)
            | Write::PutWorkloadInterface(_)
            | Write::DeleteInterface(_) => Ok(()),
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
            ..Capacities::default()
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
        for item in &self.names {
            let (id, value) = item.map_err(refused(map::SERVICE_NAMES))?;
            if let Some((name, family)) = value.parse() {
                snapshot.names.insert(id, (name.to_owned(), family));
            }
        }
        Ok(snapshot)
    }
}

/// The maps that exist once per family.
#[derive(Debug)]
struct FamilyMaps<A> {
    frontends: HashMap<MapData, FrontendKey<A>, Frontend>,
    frontend_capacity: u32,
    backends: MappedArray<Backend<A>>,
    flows: HashMap<MapData, FlowKey<A>, Flow<A>>,
    flow_capacity: u32,
}

impl<A: Address + Ord> FamilyMaps<A>
where
    FrontendKey<A>: Pod,
    Backend<A>: Pod,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    /// The word of a [`Backend`] that holds its flags: right behind the address, which the port
    /// shares.
    const FLAGS_WORD: usize = std::mem::offset_of!(Backend<A>, flags) / size_of::<u64>();

    fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        let (frontends, frontend_capacity) = sized(open, frontends_map(A::FAMILY))?;
        let (flows, flow_capacity) = sized(open, flows_map(A::FAMILY))?;
        let backends = mapped(open, backends_map(A::FAMILY))?;
        Ok(Self { frontends, frontend_capacity, backends, flows, flow_capacity })
    }

    fn put_backend(&self, id: BackendId, entry: &BackendEntry) -> Result<(), MapError> {
        let map = backends_map(A::FAMILY);
        let addr = A::from_ip(entry.address.ip())
            .ok_or_else(|| invalid(map, "a backend has an address of the other family"))?;
        let set = |is_set, flag| if is_set { flag } else { 0 };
        let value = Backend {
            addr,
            port: Port::from_host(entry.address.port()),
            flags: backend::flags::IN_USE
                | set(entry.serving, backend::flags::SERVING)
                | set(entry.local, backend::flags::LOCAL)
                | set(entry.in_cluster_list, backend::flags::IN_CLUSTER_LIST)
                | set(entry.in_local_list, backend::flags::IN_LOCAL_LIST),
            generation: entry.generation,
            service: entry.service,
        };
        self.backends.store(id, &value, Self::FLAGS_WORD).ok_or_else(|| self.no_such_backend())
    }

    /// Clears the flags alone: whoever read the entry a moment ago still finds its address.
    fn free_backend(&self, id: BackendId) -> Result<(), MapError> {
        let entry = self.backends.load(id).ok_or_else(|| self.no_such_backend())?;
        let value = Backend { flags: 0, ..entry };
        self.backends.store_word(id, &value, Self::FLAGS_WORD).ok_or_else(|| self.no_such_backend())
    }

    fn no_such_backend(&self) -> MapError {
        MapError::full(backends_map(A::FAMILY), self.backends.capacity())
    }

    fn put_frontend(
        &mut self,
        address: &FrontendAddress,
        entry: FrontendEntry,
    ) -> Result<(), MapError> {
        let set = |is_set, flag| if is_set { flag } else { 0 };
        let flags = set(entry.local, frontend::flags::LOCAL)
            | set(entry.external, frontend::flags::EXTERNAL)
            | set(entry.guarded, frontend::flags::SOURCE_RANGES)
            | set(entry.closed, frontend::flags::CLOSED);
        let value = Frontend { service: entry.service, flags };
        self.frontends
            .insert(frontend_key::<A>(address)?, value, 0)
            .map_err(refused_at(frontends_map(A::FAMILY), self.frontend_capacity))
    }

    fn delete_frontend(&mut self, address: &FrontendAddress) -> Result<(), MapError> {
        let removed = self.frontends.remove(&frontend_key::<A>(address)?);
        absent_is_fine(frontends_map(A::FAMILY), removed)
    }

    fn read_into(&self, snapshot: &mut Snapshot) -> Result<(), MapError> {
        for item in &self.frontends {
            let (key, value) = item.map_err(refused(frontends_map(A::FAMILY)))?;
            if let Some(address) = frontend_address(&key) {
                snapshot.frontends.insert(address, from_frontend(value));
            }
        }
        for id in 1..self.backends.capacity() {
            let Some(value) = self.backends.load(id) else { break };
            if value.flags & backend::flags::IN_USE != 0 {
                snapshot.backends.insert((A::FAMILY, id), from_backend(&value));
            } else if value.generation != 0 {
                snapshot.free_backends.insert((A::FAMILY, id), value.generation);
            }
        }
        Ok(())
    }

    /// A key that is evicted while it is the last one read sends the reading back to the start:
    /// hence the set, and the end after two rounds.
    fn flows(&self) -> Result<Vec<FlowRow>, MapError> {
        let mut flows = BTreeMap::new();
        for item in self.flows.iter().take(2 * self.flow_capacity as usize) {
            let (key, flow) = item.map_err(refused(flows_map(A::FAMILY)))?;
            flows.insert(key, flow);
        }
        Ok(flows.iter().map(|(key, flow)| FlowRow::new(key, flow)).collect())
    }
}

/// Who finds a map by its name.
type Open<'a> = dyn FnMut(&'static str) -> Result<MapData, aya::maps::MapError> + 'a;

fn mapped<T: Pod>(open: &mut Open<'_>, name: &'static str) -> Result<MappedArray<T>, MapError> {
    let map = open(name).map_err(refused(name))?;
    MappedArray::new(&map).map_err(|source| MapError::Kernel { map: name, source })
}

fn typed<M>(open: &mut Open<'_>, name: &'static str) -> Result<M, MapError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    open(name).and_then(Map::from_map_data).and_then(M::try_from).map_err(refused(name))
}

fn sized<M>(open: &mut Open<'_>, name: &'static str) -> Result<(M, u32), MapError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let data = open(name).map_err(refused(name))?;
    let capacity = data.info().map_err(refused(name))?.max_entries();
    let map = Map::from_map_data(data).and_then(M::try_from).map_err(refused(name))?;
    Ok((map, capacity))
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

fn from_frontend(value: Frontend) -> FrontendEntry {
    FrontendEntry {
        service: value.service,
        local: value.flags & frontend::flags::LOCAL != 0,
        external: value.flags & frontend::flags::EXTERNAL != 0,
        guarded: value.flags & frontend::flags::SOURCE_RANGES != 0,
        closed: value.flags & frontend::flags::CLOSED != 0,
    }
}

fn from_backend<A: Address>(value: &Backend<A>) -> BackendEntry {
    BackendEntry {
        address: SocketAddr::new(value.addr.to_ip(), value.port.to_host()),
        service: value.service,
        generation: value.generation,
        serving: value.flags & backend::flags::SERVING != 0,
        local: value.flags & backend::flags::LOCAL != 0,
        in_cluster_list: value.flags & backend::flags::IN_CLUSTER_LIST != 0,
        in_local_list: value.flags & backend::flags::IN_LOCAL_LIST != 0,
    }
}

fn frontend_key<A: Address>(address: &FrontendAddress) -> Result<FrontendKey<A>, MapError> {
    let addr = A::from_ip(address.ip)
        .ok_or_else(|| invalid(frontends_map(A::FAMILY), "a frontend is of the other family"))?;
    Ok(FrontendKey::new(addr, Port::from_host(address.port), address.protocol.number()))
}

/// `None` for a protocol that we never write.
fn frontend_address<A: Address>(key: &FrontendKey<A>) -> Option<FrontendAddress> {
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.number() == key.protocol)?;
    Some(FrontendAddress { ip: key.addr.to_ip(), port: key.port.to_host(), protocol })
}

fn absent_is_fine(
    map: &'static str,
    removed: Result<(), aya::maps::MapError>,
) -> Result<(), MapError> {
    match removed.map_err(into_io) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|source| MapError::Kernel { map, source }),
    }
}

fn invalid(map: &'static str, message: &str) -> MapError {
    MapError::Kernel { map, source: io::Error::new(io::ErrorKind::InvalidInput, message) }
}

fn refused(map: &'static str) -> impl Fn(aya::maps::MapError) -> MapError {
    move |error| MapError::Kernel { map, source: into_io(error) }
}

/// A refused insertion into a map of `capacity` entries: no room, or something else.
fn refused_at(map: &'static str, capacity: u32) -> impl Fn(aya::maps::MapError) -> MapError {
    move |error| {
        let source = into_io(error);
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => MapError::full(map, capacity),
            _ => MapError::Kernel { map, source },
        }
    }
}

fn into_io(error: aya::maps::MapError) -> io::Error {
    match error {
        aya::maps::MapError::IoError(error) => error,
        aya::maps::MapError::SyscallError(error) => error.io_error,
        aya::maps::MapError::KeyNotFound | aya::maps::MapError::ElementNotFound => {
            io::ErrorKind::NotFound.into()
        }
        error => io::Error::other(error),
    }
}
