//! Tables for datapath tests, said in a few words.

use std::net::SocketAddr;

use lb_common::abi::backend::{self, Backend};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::prefix::{ClientPrefix, Ranged, SourceRange};
use lb_common::abi::service::{self, Service, SlotRange};
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::{Addr4, Addr6, Address, Port};

/// Builds [`MemoryTables`]; ids are given out in the order of the calls, from 1 on.
#[derive(Debug, Default)]
pub struct World {
    tables: MemoryTables,
}

impl World {
    /// Adds a service behind `frontends` (all of one protocol and family), balanced over
    /// `backends`, of which the local list holds none. All are `address:port`.
    #[must_use]
    pub fn service(mut self, protocol: u8, frontends: &[&str], backends: &[&str]) -> Self {
        let id = count(self.tables.services.len()) + 1;
        let offset = count(self.tables.slots.len());
        for (slot, backend) in (offset..).zip(backends) {
            let backend = self.backend(id, parse(backend));
            self.tables.slots.insert(slot, backend);
        }
        let cluster = SlotRange::new(offset, count(backends.len()));
        let usable = if backends.is_empty() { 0 } else { service::flags::USABLE };
        let flags = service::flags::IN_USE | usable;
        let service = Service { cluster, flags, ..Service::default() };
        self.tables.services.insert(id, service);
        for frontend in frontends {
            self.frontend(protocol, parse(frontend), id);
        }
        self
    }

    /// Puts the first `local` backends of the last service on this node; `flags` become those of its
    /// IPv4 frontends ([`frontend::flags`](lb_common::abi::frontend::flags)).
    #[must_use]
    pub fn policy(mut self, flags: u32, local: u32) -> Self {
        let id = count(self.tables.services.len());
        let service = self.tables.services.get_mut(&id).expect("a service was added");
        service.local = SlotRange::new(service.cluster.offset(), local);
        let frontends = self.tables.v4.frontends.values_mut();
        frontends.filter(|it| it.service == id).for_each(|it| it.flags = flags);
        self
    }

    /// Gives the last service session affinity by client address.
    #[must_use]
    pub fn affinity(mut self, seconds: u32) -> Self {
        let id = count(self.tables.services.len());
        self.tables.services.get_mut(&id).expect("a service was added").affinity_s = seconds;
        self
    }

    /// Says what the IPv4 addresses of a prefix are: a value of
    /// [`client`](lb_common::abi::prefix::client).
    #[must_use]
    pub fn clients(mut self, addr: [u8; 4], length: u32, class: u32) -> Self {
        let addr = Addr4::from_octets(addr);
        self.tables.v4.clients.insert(ClientPrefix { length, addr }, class);
        self
    }

    /// Lets an IPv4 prefix use the last service's guarded frontends.
    #[must_use]
    pub fn source_range(mut self, addr: [u8; 4], length: u32) -> Self {
        let service = count(self.tables.services.len());
        let range = Ranged { service, addr: Addr4::from_octets(addr) };
        self.tables.v4.source_ranges.insert(SourceRange { length: 32 + length, range });
        self
    }

    /// Limits each flow table to `entries`.
    #[must_use]
    pub fn flow_capacity(mut self, entries: usize) -> Self {
        self.tables.flow_capacity = Some(entries);
        self
    }

    /// The tables.
    #[must_use]
    pub fn tables(self) -> MemoryTables {
        self.tables
    }

    fn backend(&mut self, service: u32, address: SocketAddr) -> u32 {
        match address {
            SocketAddr::V4(_) => add_backend(&mut self.tables.v4, service, address),
            SocketAddr::V6(_) => add_backend(&mut self.tables.v6, service, address),
        }
    }

    fn frontend(&mut self, protocol: u8, address: SocketAddr, service: u32) {
        match address {
            SocketAddr::V4(_) => add_frontend(&mut self.tables.v4, protocol, address, service),
            SocketAddr::V6(_) => add_frontend(&mut self.tables.v6, protocol, address, service),
        }
    }
}

/// A family's address, as the maps' generics want it.
trait Known: Address + Ord {}
impl Known for Addr4 {}
impl Known for Addr6 {}

fn add_backend<A: Known>(maps: &mut FamilyMaps<A>, service: u32, address: SocketAddr) -> u32 {
    let id = count(maps.backends.len()) + 1;
    let backend = Backend {
        addr: A::from_ip(address.ip()).expect("of this family"),
        port: Port::from_host(address.port()),
        flags: backend::flags::IN_USE | backend::flags::SERVING | backend::flags::IN_CLUSTER_LIST,
        generation: 1,
        service,
    };
    maps.backends.insert(id, backend);
    id
}

fn add_frontend<A: Known>(
    maps: &mut FamilyMaps<A>,
    protocol: u8,
    address: SocketAddr,
    service: u32,
) {
    let addr = A::from_ip(address.ip()).expect("of this family");
    let key = FrontendKey::new(addr, Port::from_host(address.port()), protocol);
    maps.frontends.insert(key, Frontend { service, flags: 0 });
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("address:port")
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a small world")
}
