//! The maps of one family: `FRONTENDS_*`, `BACKENDS_*`, `FLOWS_*`, `SOCKETS_*`, and those of
//! [`prefixes`].
//!
//! What makes a backend visible, its flags, is stored last.
//!
//! [`prefixes`]: super::prefixes

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aya::Pod;
use aya::maps::{HashMap, MapData};
use lb_common::abi::address::ServiceCidr;
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::frontend::{self, Frontend, FrontendKey};
use lb_common::abi::prefix::Ranged;
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::net::{Address, Port};

use super::super::dump::{FlowRow, SocketRow};
use super::super::mmap::MappedArray;
use super::access::{Open, absent_is_fine, each, invalid, mapped, refused_at, sized};
use super::prefixes::PrefixMaps;
use crate::maps::{
    BackendEntry, BackendId, FrontendEntry, MapError, Snapshot, backends_map, flows_map,
    frontends_map, sockets_map,
};
use crate::model::Protocol;
use crate::plan::FrontendAddress;

/// The maps that exist once per family.
#[derive(Debug)]
pub(super) struct FamilyMaps<A> {
    frontends: HashMap<MapData, FrontendKey<A>, Frontend>,
    pub(super) frontend_capacity: u32,
    pub(super) backends: MappedArray<Backend<A>>,
    pub(super) flows: HashMap<MapData, FlowKey<A>, Flow<A>>,
    pub(super) flow_capacity: u32,
    sockets: HashMap<MapData, SocketKey<A>, Socket<A>>,
    pub(super) socket_capacity: u32,
    pub(super) prefixes: PrefixMaps<A>,
}

impl<A: Address + Ord + Pod + Default> FamilyMaps<A>
where
    Ranged<A>: Pod,
    ServiceCidr<A>: Pod,
    FrontendKey<A>: Pod,
    Backend<A>: Pod,
    FlowKey<A>: Pod,
    Flow<A>: Pod,
    SocketKey<A>: Pod,
    Socket<A>: Pod,
{
    /// The word of a [`Backend`] that holds its flags: right behind the address, which the port
    /// shares.
    const FLAGS_WORD: usize = std::mem::offset_of!(Backend<A>, flags) / size_of::<u64>();

    pub(super) fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        let (frontends, frontend_capacity) = sized(open, frontends_map(A::FAMILY))?;
        let (flows, flow_capacity) = sized(open, flows_map(A::FAMILY))?;
        let (sockets, socket_capacity) = sized(open, sockets_map(A::FAMILY))?;
        Ok(Self {
            frontends,
            frontend_capacity,
            backends: mapped(open, backends_map(A::FAMILY))?,
            flows,
            flow_capacity,
            sockets,
            socket_capacity,
            prefixes: PrefixMaps::open(open)?,
        })
    }

    pub(super) fn put_backend(&self, id: BackendId, entry: &BackendEntry) -> Result<(), MapError> {
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
    pub(super) fn free_backend(&self, id: BackendId) -> Result<(), MapError> {
        let entry = self.backends.load(id).ok_or_else(|| self.no_such_backend())?;
        let value = Backend { flags: 0, ..entry };
        self.backends.store_word(id, &value, Self::FLAGS_WORD).ok_or_else(|| self.no_such_backend())
    }

    fn no_such_backend(&self) -> MapError {
        MapError::full(backends_map(A::FAMILY), self.backends.capacity())
    }

    pub(super) fn put_frontend(
        &mut self,
        address: &FrontendAddress,
        entry: FrontendEntry,
    ) -> Result<(), MapError> {
        let set = |is_set, flag| if is_set { flag } else { 0 };
        let flags = set(entry.local, frontend::flags::LOCAL)
            | set(entry.external, frontend::flags::EXTERNAL)
            | set(entry.guarded, frontend::flags::SOURCE_RANGES)
            | set(entry.closed, frontend::flags::CLOSED)
            | set(entry.node_port, frontend::flags::NODE_PORT);
        let value = Frontend { service: entry.service, flags };
        self.frontends
            .insert(frontend_key::<A>(address)?, value, 0)
            .map_err(refused_at(frontends_map(A::FAMILY), self.frontend_capacity))
    }

    pub(super) fn delete_frontend(&mut self, address: &FrontendAddress) -> Result<(), MapError> {
        let removed = self.frontends.remove(&frontend_key::<A>(address)?);
        absent_is_fine(frontends_map(A::FAMILY), removed)
    }

    pub(super) fn read_into(&self, snapshot: &mut Snapshot) -> Result<(), MapError> {
        each(&self.frontends, frontends_map(A::FAMILY), |key, value| {
            let address = frontend_address(&key);
            snapshot.frontends.extend(address.map(|address| (address, from_frontend(value))));
        })?;
        for id in 1..self.backends.capacity() {
            let Some(value) = self.backends.load(id) else { break };
            if value.flags & backend::flags::IN_USE != 0 {
                snapshot.backends.insert((A::FAMILY, id), from_backend(&value));
            } else if value.generation != 0 {
                snapshot.free_backends.insert((A::FAMILY, id), value.generation);
            }
        }
        self.prefixes.read_into(snapshot)
    }

    pub(super) fn flows(&self) -> Result<Vec<FlowRow>, MapError> {
        let mut flows = BTreeMap::new();
        each(&self.flows, flows_map(A::FAMILY), |key, flow| flows.extend([(key, flow)]))?;
        Ok(flows.iter().map(|(key, flow)| FlowRow::new(key, flow)).collect())
    }

    pub(super) fn sockets(&self) -> Result<Vec<SocketRow>, MapError> {
        let mut sockets = BTreeMap::new();
        let take = |key, socket| sockets.extend([(key, socket)]);
        each(&self.sockets, sockets_map(A::FAMILY), take)?;
        Ok(sockets.iter().map(|(key, socket)| SocketRow::new(key, socket)).collect())
    }
}

fn from_frontend(value: Frontend) -> FrontendEntry {
    FrontendEntry {
        service: value.service,
        local: value.flags & frontend::flags::LOCAL != 0,
        external: value.flags & frontend::flags::EXTERNAL != 0,
        guarded: value.flags & frontend::flags::SOURCE_RANGES != 0,
        closed: value.flags & frontend::flags::CLOSED != 0,
        node_port: value.flags & frontend::flags::NODE_PORT != 0,
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
