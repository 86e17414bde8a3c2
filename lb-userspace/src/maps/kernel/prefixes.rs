//! The maps of one family about addresses whatever the port: `ADDRESSES_*`, `SRC_RANGES_*`,
//! `CLIENTS_*` and `SVC_CIDRS_*`.
//!
//! Prefixes are written with zeros behind their length, so that one prefix is one entry.

use std::net::IpAddr;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use ipnet::IpNet;
use lb_common::abi::address::{self, At, ServiceCidr};
use lb_common::abi::prefix::{Ranged, client};
use lb_common::net::Address;

use super::super::mmap::MappedArray;
use super::access::{Open, absent_is_fine, each, invalid, mapped, refused, refused_at, sized};
use crate::maps::{
    AddressEntry, MapError, ServiceId, Snapshot, addresses_map, clients_map, service_cidrs_map,
    source_ranges_map,
};
use crate::plan::Client;

/// Bits of the service in front of those of a source range.
const SERVICE_BITS: u32 = ServiceId::BITS;
/// The word of a [`ServiceCidr`] that the mask begins with. Without it an entry matches nothing, as
/// the first word of its address is never zero.
const FIRST_WORD: usize = 0;

/// The maps, with the capacities that are settings of the agent.
#[derive(Debug)]
pub(super) struct PrefixMaps<A> {
    addresses: HashMap<MapData, A, At>,
    address_capacity: u32,
    ranges: LpmTrie<MapData, Ranged<A>, u32>,
    pub(super) range_capacity: u32,
    clients: LpmTrie<MapData, A, u32>,
    pub(super) client_capacity: u32,
    cidrs: MappedArray<ServiceCidr<A>>,
}

impl<A: Address + Pod + Default> PrefixMaps<A>
where
    Ranged<A>: Pod,
    ServiceCidr<A>: Pod,
{
    /// How many words of a [`ServiceCidr`] its mask reaches into.
    const MASK_WORDS: usize = size_of::<A>().div_ceil(size_of::<u64>());

    pub(super) fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        let (addresses, address_capacity) = sized(open, addresses_map(A::FAMILY))?;
        let (ranges, range_capacity) = sized(open, source_ranges_map(A::FAMILY))?;
        let (clients, client_capacity) = sized(open, clients_map(A::FAMILY))?;
        let cidrs = mapped(open, service_cidrs_map(A::FAMILY))?;
        Ok(Self {
            addresses,
            address_capacity,
            ranges,
            range_capacity,
            clients,
            client_capacity,
            cidrs,
        })
    }

    pub(super) fn put_address(&mut self, ip: IpAddr, entry: AddressEntry) -> Result<(), MapError> {
        let closed = if entry.closed { address::flags::CLOSED } else { 0 };
        let map = addresses_map(A::FAMILY);
        self.addresses
            .insert(addr::<A>(map, ip)?, address::flags::SERVED | closed, 0)
            .map_err(refused_at(map, self.address_capacity))
    }

    pub(super) fn delete_address(&mut self, ip: IpAddr) -> Result<(), MapError> {
        let map = addresses_map(A::FAMILY);
        absent_is_fine(map, self.addresses.remove(&addr::<A>(map, ip)?))
    }

    pub(super) fn put_range(&mut self, service: ServiceId, net: IpNet) -> Result<(), MapError> {
        let refused = refused_at(source_ranges_map(A::FAMILY), self.range_capacity);
        self.ranges.insert(&range_key(service, net)?, 1, 0).map_err(refused)
    }

    pub(super) fn delete_range(&mut self, service: ServiceId, net: IpNet) -> Result<(), MapError> {
        let removed = self.ranges.remove(&range_key(service, net)?);
        absent_is_fine(source_ranges_map(A::FAMILY), removed)
    }

    pub(super) fn put_client(&mut self, net: IpNet, client: Client) -> Result<(), MapError> {
        let refused = refused_at(clients_map(A::FAMILY), self.client_capacity);
        self.clients.insert(&client_key::<A>(net)?, to_client(client), 0).map_err(refused)
    }

    pub(super) fn delete_client(&mut self, net: IpNet) -> Result<(), MapError> {
        let removed = self.clients.remove(&client_key::<A>(net)?);
        absent_is_fine(clients_map(A::FAMILY), removed)
    }

    /// The first entry ends the array while the others change, and is stored last: a reader sees
    /// old prefixes, none, or new ones.
    pub(super) fn put_cidrs(&self, nets: &[IpNet]) -> Result<(), MapError> {
        let map = service_cidrs_map(A::FAMILY);
        let full = || MapError::full(map, self.cidrs.capacity());
        if nets.len() > self.cidrs.capacity() as usize {
            return Err(full());
        }
        let entries: Vec<_> =
            nets.iter().map(|net| service_cidr(*net)).collect::<Result<_, _>>()?;
        for word in 0..Self::MASK_WORDS {
            self.cidrs.store_word(0, &ServiceCidr::default(), word).ok_or_else(full)?;
        }
        for at in (0..self.cidrs.capacity()).rev() {
            let entry = entries.get(at as usize).copied().unwrap_or_default();
            self.cidrs.store(at, &entry, FIRST_WORD).ok_or_else(full)?;
        }
        Ok(())
    }

    pub(super) fn read_into(&self, snapshot: &mut Snapshot) -> Result<(), MapError> {
        each(&self.addresses, addresses_map(A::FAMILY), |addr, at| {
            let closed = at & address::flags::CLOSED != 0;
            snapshot.addresses.insert(addr.to_ip(), AddressEntry { closed });
        })?;
        for key in self.ranges.keys() {
            let key = key.map_err(refused(source_ranges_map(A::FAMILY)))?;
            let Ranged { service, addr } = key.data();
            let length = key.prefix_len().saturating_sub(SERVICE_BITS);
            snapshot.source_ranges.extend(net(addr, length).map(|net| (service, net)));
        }
        for item in &self.clients {
            let (key, bits) = item.map_err(refused(clients_map(A::FAMILY)))?;
            let net = net(key.data(), key.prefix_len());
            snapshot.clients.extend(net.map(|net| (net, from_client(bits))));
        }
        let cidrs = (0..self.cidrs.capacity()).map_while(|at| self.cidrs.load(at));
        let used = cidrs.take_while(|entry| entry.mask != A::default());
        snapshot.service_cidrs.extend(used.filter_map(|entry| from_service_cidr(&entry)));
        Ok(())
    }
}

fn addr<A: Address>(map: &'static str, ip: IpAddr) -> Result<A, MapError> {
    A::from_ip(ip).ok_or_else(|| invalid(map, "an address is of the other family"))
}

fn client_key<A: Address + Pod>(net: IpNet) -> Result<Key<A>, MapError> {
    let addr = addr(clients_map(A::FAMILY), net.trunc().addr())?;
    Ok(Key::new(u32::from(net.prefix_len()), addr))
}

fn range_key<A: Address>(service: ServiceId, net: IpNet) -> Result<Key<Ranged<A>>, MapError>
where
    Ranged<A>: Pod,
{
    let addr = addr(source_ranges_map(A::FAMILY), net.trunc().addr())?;
    Ok(Key::new(SERVICE_BITS + u32::from(net.prefix_len()), Ranged { service, addr }))
}

fn service_cidr<A: Address>(net: IpNet) -> Result<ServiceCidr<A>, MapError> {
    let map = service_cidrs_map(A::FAMILY);
    if net.prefix_len() == 0 {
        return Err(invalid(map, "all addresses there are cannot be for services"));
    }
    Ok(ServiceCidr { mask: addr(map, net.netmask())?, addr: addr(map, net.trunc().addr())? })
}

/// `None` for a mask with holes, which we never write.
fn from_service_cidr<A: Address>(entry: &ServiceCidr<A>) -> Option<IpNet> {
    IpNet::with_netmask(entry.addr.to_ip(), entry.mask.to_ip()).ok()
}

/// `None` for a length that the family does not have.
fn net<A: Address>(addr: A, length: u32) -> Option<IpNet> {
    IpNet::new(addr.to_ip(), u8::try_from(length).ok()?).ok()
}

fn to_client(client: Client) -> u32 {
    let set = |is_set, flag| if is_set { flag } else { 0 };
    let Client { pod, node, untold } = client;
    set(pod, client::POD) | set(node, client::NODE) | set(untold, client::UNTOLD)
}

fn from_client(bits: u32) -> Client {
    let has = |flag| bits & flag != 0;
    Client { pod: has(client::POD), node: has(client::NODE), untold: has(client::UNTOLD) }
}
