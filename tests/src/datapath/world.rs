//! Tables for datapath tests, said in a few words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::abi::address::{self, ServiceCidr};
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::frontend::{Frontend, FrontendKey};
use lb_common::abi::prefix::{ClientPrefix, Ranged, SourceRange};
use lb_common::abi::service::{self, Service, SlotRange};
use lb_common::abi::settings::packed_ports;
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::{Address, Port};

/// Builds [`MemoryTables`]; ids are given out in the order of the calls, from 1 on.
///
/// Addresses are written as people write them: `address:port`, `address/length`. Unless a test says
/// otherwise, no client is known, all addresses are open, and masquerading is as the agent does it
/// by default, without any bit of [`masquerade`](lb_common::abi::settings::masquerade).
#[derive(Debug, Default)]
pub struct World {
    tables: MemoryTables,
}

/// Calls a function with the maps of the family of `$ip`.
macro_rules! with_maps {
    ($world:expr, $ip:expr, $function:ident($($argument:expr),*)) => {
        match $ip {
            IpAddr::V4(_) => $function(&mut $world.tables.v4, $($argument),*),
            IpAddr::V6(_) => $function(&mut $world.tables.v6, $($argument),*),
        }
    };
}

impl World {
    /// Adds a service behind `frontends` (all of one protocol and family), balanced over
    /// `backends`, of which the local list holds none. All are `address:port`.
    #[must_use]
    pub fn service(mut self, protocol: u8, frontends: &[&str], backends: &[&str]) -> Self {
        let id = self.last() + 1;
        let offset = count(self.tables.slots.len());
        for (slot, backend) in (offset..).zip(backends) {
            let backend = socket(backend);
            let backend = with_maps!(self, backend.ip(), add_backend(id, backend));
            self.tables.slots.insert(slot, backend);
        }
        let cluster = SlotRange::new(offset, count(backends.len()));
        let usable = if backends.is_empty() { 0 } else { service::flags::USABLE };
        let flags = service::flags::IN_USE | usable;
        let service = Service { cluster, flags, ..Service::default() };
        self.tables.services.insert(id, service);
        frontends.iter().fold(self, |world, frontend| world.frontend(protocol, frontend, 0))
    }

    /// Adds another frontend to the last service, with `flags`
    /// ([`frontend::flags`](lb_common::abi::frontend::flags)).
    #[must_use]
    pub fn frontend(mut self, protocol: u8, frontend: &str, flags: u32) -> Self {
        let (address, frontend) = (socket(frontend), Frontend { service: self.last(), flags });
        with_maps!(self, address.ip(), add_frontend(protocol, address, frontend));
        self
    }

    /// Puts the first `local` backends of the last service on this node; `flags` become those of its
    /// frontends.
    #[must_use]
    pub fn policy(mut self, flags: u32, local: u32) -> Self {
        let id = self.last();
        let service = self.tables.services.get_mut(&id).expect("a service was added");
        service.local = SlotRange::new(service.cluster.offset(), local);
        let slots = service.cluster.offset()..service.cluster.offset() + local;
        let backends: Vec<_> = slots.map(|slot| self.tables.slots[&slot]).collect();
        put_here(&mut self.tables.v4, id, flags, &backends);
        put_here(&mut self.tables.v6, id, flags, &backends);
        self
    }

    /// Gives the last service session affinity by client address.
    #[must_use]
    pub fn affinity(mut self, seconds: u32) -> Self {
        let id = self.last();
        self.tables.services.get_mut(&id).expect("a service was added").affinity_s = seconds;
        self
    }

    /// Lets an address exist for services alone: packets to it that are no frontend's are rejected.
    #[must_use]
    pub fn closed(mut self, address: &str) -> Self {
        let ip = address.parse().expect("an address");
        with_maps!(self, ip, close(ip));
        self
    }

    /// Adds a prefix that ClusterIPs are allocated from.
    #[must_use]
    pub fn service_cidr(mut self, prefix: &str) -> Self {
        let (ip, length) = split(prefix);
        with_maps!(self, ip, add_service_cidr(ip, length));
        self
    }

    /// Says what the addresses of a prefix are: bits of
    /// [`client`](lb_common::abi::prefix::client).
    #[must_use]
    pub fn clients(mut self, prefix: &str, what: u32) -> Self {
        let (ip, length) = split(prefix);
        with_maps!(self, ip, add_clients(ip, length, what));
        self
    }

    /// Says what an interface is: bits of [`interface::flags`](lb_common::abi::interface::flags).
    /// All packets of a test come by the one with ifindex 1.
    #[must_use]
    pub fn interface(mut self, ifindex: u32, flags: u32) -> Self {
        self.tables.interfaces.entry(ifindex).or_default().flags = flags;
        self
    }

    /// Gives an interface, or the node if 0, an address that packets are masqueraded with.
    #[must_use]
    pub fn source(mut self, ifindex: u32, address: &str) -> Self {
        let interface = self.tables.interfaces.entry(ifindex).or_default();
        match address.parse().expect("an address") {
            IpAddr::V4(ip) => interface.v4 = addr(ip.into()),
            IpAddr::V6(ip) => interface.v6 = addr(ip.into()),
        }
        self
    }

    /// Lets a prefix use the last service's guarded frontends.
    #[must_use]
    pub fn source_range(mut self, prefix: &str) -> Self {
        let (service, (ip, length)) = (self.last(), split(prefix));
        with_maps!(self, ip, add_source_range(service, ip, length));
        self
    }

    /// Masquerades otherwise: bits of [`masquerade`](lb_common::abi::settings::masquerade).
    #[must_use]
    pub fn masquerade(mut self, bits: u32) -> Self {
        self.tables.masquerade = bits;
        self
    }

    /// Takes source ports from `lowest` to `highest` only.
    #[must_use]
    pub fn masquerade_ports(mut self, lowest: u16, highest: u16) -> Self {
        self.tables.masquerade_ports = packed_ports((lowest, highest));
        self
    }

    /// Treats echo requests to closed addresses so: one of [`echo`](lb_common::abi::settings::echo).
    #[must_use]
    pub fn vip_echo(mut self, what: u32) -> Self {
        self.tables.vip_echo = what;
        self
    }

    /// Leaves connections alone that may have begun before us.
    #[must_use]
    pub fn takes_over(mut self) -> Self {
        self.tables.takes_over = true;
        self
    }

    /// Ends TCP connections whose endpoint is removed.
    #[must_use]
    pub fn terminates_tcp(mut self) -> Self {
        self.tables.terminates_tcp = true;
        self
    }

    /// Limits each flow table to `entries`.
    #[must_use]
    pub fn flow_capacity(mut self, entries: usize) -> Self {
        self.tables.flow_capacity = Some(entries);
        self
    }

    /// Lets so many flows of each family be on probation.
    #[must_use]
    pub fn probation(mut self, flows: usize) -> Self {
        self.tables.probation = flows;
        self
    }

    /// The tables.
    #[must_use]
    pub fn tables(self) -> MemoryTables {
        self.tables
    }

    /// The id of the last service; 0 if there is none.
    fn last(&self) -> u32 {
        count(self.tables.services.len())
    }
}

fn add_backend<A: Address + Ord>(
    maps: &mut FamilyMaps<A>,
    service: u32,
    address: SocketAddr,
) -> u32 {
    let id = count(maps.backends.len()) + 1;
    let backend = Backend {
        addr: addr(address.ip()),
        port: Port::from_host(address.port()),
        flags: backend::flags::IN_USE | backend::flags::SERVING | backend::flags::IN_CLUSTER_LIST,
        generation: 1,
        service,
    };
    maps.backends.insert(id, backend);
    id
}

fn add_frontend<A: Address + Ord>(
    maps: &mut FamilyMaps<A>,
    protocol: u8,
    address: SocketAddr,
    frontend: Frontend,
) {
    let key = FrontendKey::new(addr(address.ip()), Port::from_host(address.port()), protocol);
    maps.frontends.insert(key, frontend);
    *maps.addresses.entry(key.addr).or_default() |= address::flags::SERVED;
}

/// Gives `flags` to the frontends of `service` and puts those of its backends that are in `ids` on
/// this node.
fn put_here<A: Address + Ord>(maps: &mut FamilyMaps<A>, service: u32, flags: u32, ids: &[u32]) {
    let frontends = maps.frontends.values_mut();
    frontends.filter(|it| it.service == service).for_each(|it| it.flags = flags);
    let backends = maps.backends.iter_mut();
    for (_, it) in backends.filter(|(id, it)| it.service == service && ids.contains(id)) {
        it.flags |= backend::flags::LOCAL | backend::flags::IN_LOCAL_LIST;
    }
}

fn close<A: Address + Ord>(maps: &mut FamilyMaps<A>, ip: IpAddr) {
    *maps.addresses.get_mut(&addr(ip)).expect("a frontend's address") |= address::flags::CLOSED;
}

fn add_service_cidr<A: Address + Ord>(maps: &mut FamilyMaps<A>, ip: IpAddr, length: u32) {
    let mask = match ip {
        IpAddr::V4(_) => Ipv4Addr::from(!(u32::MAX >> length)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(!(u128::MAX >> length)).into(),
    };
    maps.service_cidrs.push(ServiceCidr { mask: addr(mask), addr: addr(ip) });
}

fn add_clients<A: Address + Ord>(maps: &mut FamilyMaps<A>, ip: IpAddr, length: u32, what: u32) {
    maps.clients.insert(ClientPrefix { length, addr: addr(ip) }, what);
}

fn add_source_range<A: Address + Ord>(
    maps: &mut FamilyMaps<A>,
    service: u32,
    ip: IpAddr,
    length: u32,
) {
    let range = Ranged { service, addr: addr(ip) };
    maps.source_ranges.insert(SourceRange { length: 32 + length, range });
}

fn addr<A: Address>(ip: IpAddr) -> A {
    A::from_ip(ip).expect("of this family")
}

fn socket(address: &str) -> SocketAddr {
    address.parse().expect("address:port")
}

fn split(prefix: &str) -> (IpAddr, u32) {
    let (ip, length) = prefix.split_once('/').expect("address/length");
    (ip.parse().expect("an address"), length.parse().expect("a length"))
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a small world")
}
