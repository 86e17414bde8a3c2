//! In memory what the kernel's maps hold of addresses, prefixes and interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::abi::{capacity, map};
use lb_common::net::Family;

use crate::maps::{
    AddressEntry, Capacities, MapError, PerFamily, ServiceId, Snapshot, Write, addresses_map,
    clients_map, is_of, service_cidrs_map, source_ranges_map,
};
use crate::plan::{Client, InterfaceEntry};

/// Everything but services, frontends and backends.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefixes {
    addresses: BTreeMap<IpAddr, AddressEntry>,
    ranges: BTreeSet<(ServiceId, IpNet)>,
    clients: BTreeMap<IpNet, Client>,
    cidrs: PerFamily<BTreeSet<IpNet>>,
    interfaces: BTreeMap<u32, InterfaceEntry>,
}

impl Prefixes {
    /// Makes the change, if it is of one of these maps.
    pub(super) fn change(&mut self, write: &Write, room: &Capacities) -> Result<(), MapError> {
        match write {
            Write::PutAddress(ip, entry) => {
                let family = Family::of(ip);
                let others = self.addresses.keys().filter(|it| *it != ip && is_of(family, it));
                check(addresses_map(family), others.count(), room.frontends)?;
                self.addresses.insert(*ip, *entry);
            }
            Write::DeleteAddress(ip) => drop(self.addresses.remove(ip)),
            Write::PutSourceRange(id, net) => {
                let (family, range) = (Family::of(&net.addr()), (*id, net.trunc()));
                let others = self.ranges.iter();
                let others = others.filter(|it| **it != range && is_of(family, &it.1.addr()));
                check(source_ranges_map(family), others.count(), room.source_ranges)?;
                self.ranges.insert(range);
            }
            Write::DeleteSourceRange(id, net) => {
                self.ranges.remove(&(*id, net.trunc()));
            }
            Write::PutClient(net, client) => {
                let (family, net) = (Family::of(&net.addr()), net.trunc());
                let others = self.clients.keys();
                let others = others.filter(|it| **it != net && is_of(family, &it.addr()));
                check(clients_map(family), others.count(), room.clients)?;
                self.clients.insert(net, *client);
            }
            Write::DeleteClient(net) => drop(self.clients.remove(&net.trunc())),
            Write::PutServiceCidrs(family, nets) => {
                let surplus = nets.len().saturating_sub(1);
                check(service_cidrs_map(*family), surplus, capacity::SERVICE_CIDRS)?;
                self.cidrs[*family] = nets.iter().map(IpNet::trunc).collect();
            }
            Write::PutInterface(index, entry) => {
                let others = self.interfaces.keys().filter(|it| *it != index).count();
                check(map::INTERFACES, others, capacity::INTERFACES)?;
                self.interfaces.insert(*index, *entry);
            }
            Write::DeleteInterface(index) => {
                self.interfaces.remove(index);
            }
            _ => {}
        }
        Ok(())
    }

    /// The source ranges of all services.
    pub(super) fn ranges(&self) -> impl Iterator<Item = &(ServiceId, IpNet)> {
        self.ranges.iter()
    }

    pub(super) fn read_into(&self, snapshot: &mut Snapshot) {
        snapshot.addresses.clone_from(&self.addresses);
        snapshot.source_ranges.clone_from(&self.ranges);
        snapshot.clients.clone_from(&self.clients);
        snapshot.service_cidrs = self.cidrs.iter().flat_map(|(_, nets)| nets).copied().collect();
        snapshot.interfaces.clone_from(&self.interfaces);
    }
}

/// Whether there is room for one more beside so many `others`.
fn check(map: &'static str, others: usize, capacity: u32) -> Result<(), MapError> {
    if others < capacity as usize { Ok(()) } else { Err(MapError::full(map, capacity)) }
}
