//! Who holds which frontend of a family, and what is at their addresses.
//!
//! An address is in `ADDRESSES_*` until after its last frontend is deleted, and closed while one of
//! them is known to be. It is shown by the caller, once all frontends there are put: until then
//! packets to it pass, and none is rejected for a frontend that is about to come. A frontend counts
//! for its address from before it is put, so that no address is deleted under one whose write has
//! failed.

use std::collections::HashMap;
use std::net::IpAddr;

use lb_common::net::Family;

use super::drift::{Drift, note};
use super::state::State;
use crate::maps::{
    AddressEntry, FrontendEntry, MapError, Maps, ServiceId, Snapshot, Write, addresses_map,
    frontends_map, is_of,
};
use crate::plan::{FrontendAddress, FrontendUse};

/// The holder of frontends that name no service: no service has this id.
pub(super) const NOBODY: ServiceId = 0;

/// The frontends and addresses of one family.
#[derive(Debug, Default)]
pub(super) struct Frontends {
    holders: HashMap<FrontendAddress, Holder>,
    addresses: HashMap<IpAddr, Place>,
}

/// A frontend's entry: the service that wrote it last, or tried to.
#[derive(Clone, Copy, Debug)]
struct Holder {
    service: ServiceId,
    state: State<FrontendUse>,
}

/// The entry of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// How many frontends are, or may be, there.
    frontends: u32,
    /// How many of them are known to be closed.
    closed: u32,
    state: State<AddressEntry>,
}

impl Frontends {
    /// How many frontends are held.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether somebody holds `address`.
    pub(super) fn holds(&self, address: &FrontendAddress) -> bool {
        self.holders.contains_key(address)
    }

    /// How many addresses have an entry, or may have.
    pub(super) fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Whether `ip` is one of them.
    pub(super) fn is_at(&self, ip: &IpAddr) -> bool {
        self.addresses.contains_key(ip)
    }

    /// Leads clients of `address` to `service`, whoever held it before, as soon as its IP address is
    /// shown.
    pub(super) fn put<M: Maps>(
        &mut self,
        maps: &mut M,
        service: ServiceId,
        address: FrontendAddress,
        used: FrontendUse,
    ) -> Result<(), MapError> {
        let place = self.addresses.entry(address.ip).or_default();
        let holder = self.holders.entry(address).or_insert_with(|| {
            place.frontends += 1;
            Holder { service, state: State::Absent }
        });
        let FrontendUse { local, external, guarded, closed, node_port } = used;
        let entry = FrontendEntry { service, local, external, guarded, closed, node_port };
        place.recount(holder, |holder| {
            if holder.service != service {
                *holder = Holder { service, state: State::Unknown };
            }
            holder.state.put(maps, used, || Write::PutFrontend(address, entry))
        })
    }

    /// Tells of `ip` that frontends are there, and whether any is closed.
    pub(super) fn show<M: Maps>(&mut self, maps: &mut M, ip: IpAddr) -> Result<(), MapError> {
        self.addresses.get_mut(&ip).map_or(Ok(()), |place| place.put(maps, ip))
    }

    /// Ends that. A frontend that another service has taken over is left to it; while it is not
    /// known whether the taking over worked, it is deleted, since the entry may still name
    /// `service`.
    pub(super) fn give_up<M: Maps>(
        &mut self,
        maps: &mut M,
        service: ServiceId,
        address: FrontendAddress,
    ) -> Result<(), MapError> {
        let holder = self.holders.get_mut(&address);
        let Some((holder, place)) = holder.zip(self.addresses.get_mut(&address.ip)) else {
            return Ok(());
        };
        let mine = holder.service == service;
        if !mine && holder.state.is_known() {
            return Ok(());
        }
        place
            .recount(holder, |holder| holder.state.clear(maps, &Write::DeleteFrontend(address)))?;
        if mine && place.frontends > 1 {
            place.put(maps, address.ip)?;
            place.frontends -= 1;
        } else if mine {
            place.state.clear(maps, &Write::DeleteAddress(address.ip))?;
            self.addresses.remove(&address.ip);
        }
        if mine {
            self.holders.remove(&address);
        }
        Ok(())
    }

    /// Notes what a restart has found at `address`; of [`NOBODY`] it will be cleared.
    pub(super) fn restore(
        &mut self,
        service: ServiceId,
        address: FrontendAddress,
        state: State<FrontendUse>,
    ) {
        let holder = Holder { service, state };
        let place = self.addresses.entry(address.ip).or_default();
        place.frontends += 1;
        place.closed += u32::from(holder.is_closed());
        self.holders.insert(address, holder);
    }

    /// Notes what a restart has found of `ip`; without frontends it will be cleared.
    pub(super) fn restore_address(&mut self, ip: IpAddr, entry: AddressEntry) {
        self.addresses.entry(ip).or_default().state = State::Is(entry);
    }

    /// Compares with what was found; what nobody owns will be cleared.
    pub(super) fn compare(&mut self, family: Family, found: &Snapshot, drift: &mut Drift) {
        for (address, holder) in &mut self.holders {
            let entry = found.frontends.get(address).filter(|it| it.service == holder.service);
            let used = entry.map(FrontendUse::from);
            let place = self.addresses.entry(address.ip).or_default();
            let differs = place.recount(holder, |holder| holder.state.confront(used.as_ref()));
            note(drift, frontends_map(family), usize::from(differs));
        }
        for (ip, place) in &mut self.addresses {
            let differs = place.state.confront(found.addresses.get(ip));
            note(drift, addresses_map(family), usize::from(differs));
        }
        for &address in found.frontends.keys().filter(|it| is_of(family, &it.ip)) {
            if !self.holds(&address) {
                self.restore(NOBODY, address, State::Unknown);
                note(drift, frontends_map(family), 1);
            }
        }
        for (&ip, &entry) in found.addresses.iter().filter(|(ip, _)| is_of(family, ip)) {
            if self.addresses.get(&ip).is_none_or(|place| place.state == State::Absent) {
                self.restore_address(ip, entry);
                note(drift, addresses_map(family), 1);
            }
        }
    }

    /// Deletes what a restart has found and nobody owns.
    pub(super) fn clear_nobodys<M: Maps>(&mut self, maps: &mut M) -> Result<(), MapError> {
        let nobodys = self.holders.iter().filter(|(_, holder)| holder.service == NOBODY);
        let mut frontends: Vec<_> = nobodys.map(|(address, _)| *address).collect();
        frontends.sort_unstable();
        for address in frontends {
            self.give_up(maps, NOBODY, address)?;
        }
        let empty = self.addresses.iter().filter(|(_, place)| place.frontends == 0);
        let mut addresses: Vec<_> = empty.map(|(ip, _)| *ip).collect();
        addresses.sort_unstable();
        for ip in addresses {
            maps.apply(&Write::DeleteAddress(ip))?;
            self.addresses.remove(&ip);
        }
        Ok(())
    }
}

impl From<&FrontendEntry> for FrontendUse {
    fn from(entry: &FrontendEntry) -> Self {
        let FrontendEntry { local, external, guarded, closed, node_port, .. } = *entry;
        Self { local, external, guarded, closed, node_port }
    }
}

impl Holder {
    fn is_closed(self) -> bool {
        matches!(self.state, State::Is(FrontendUse { closed: true, .. }))
    }
}

impl Place {
    /// Does `change` to one of its frontends and counts anew, whether it succeeds or not.
    fn recount<T>(&mut self, holder: &mut Holder, change: impl FnOnce(&mut Holder) -> T) -> T {
        self.closed -= u32::from(holder.is_closed());
        let result = change(holder);
        self.closed += u32::from(holder.is_closed());
        result
    }

    fn put<M: Maps>(&mut self, maps: &mut M, ip: IpAddr) -> Result<(), MapError> {
        let entry = AddressEntry { closed: self.closed > 0 };
        self.state.put(maps, entry, || Write::PutAddress(ip, entry))
    }
}
