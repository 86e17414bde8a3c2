//! Taking ids and slots: everything that can be full, before anything is written.
//!
//! Either all that a plan needs is taken, or nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_common::abi::map;
use lb_common::net::Family;

use super::Tables;
use super::state::State;
use super::written::{Member, Written, source_ranges};
use crate::maps::{
    BackendId, MapError, ServiceId, addresses_map, backends_map, frontends_map, source_ranges_map,
};
use crate::plan::{ServiceKey, ServicePlan};

/// Where a plan that fits goes.
pub(super) struct Room {
    /// The position of its lists in [`Written::lists`].
    pub(super) lists: usize,
    /// How many of their slots are the cluster list.
    pub(super) cluster: u32,
}

impl Tables {
    pub(super) fn take_service_id(&mut self, now: Duration) -> Result<ServiceId, MapError> {
        let full = || MapError::full(map::SERVICES, self.capacities.services);
        self.service_ids.take(now).ok_or_else(full)
    }

    /// Takes whatever `plan` needs beyond what the service has, or nothing.
    pub(super) fn make_room(
        &mut self,
        family: Family,
        written: &mut Written,
        plan: &ServicePlan,
        now: Duration,
    ) -> Result<Room, MapError> {
        self.check_frontends(family, plan)?;
        self.check_source_ranges(family, written, plan)?;
        let newcomers = self.add_members(family, written, plan, now)?;
        let wanted = written.wanted(plan);
        let cluster = wanted.cluster();
        if let Some(lists) = written.find(&wanted) {
            return Ok(Room { lists, cluster });
        }
        let Some(span) = self.slots.take(wanted.len(), now) else {
            written.members.retain(|member| !newcomers.contains(&member.id));
            for id in newcomers {
                self.backend_ids[family].untake(id);
            }
            return Err(MapError::full(map::SLOTS, self.capacities.slots));
        };
        written.lists.push(wanted.into_lists(span));
        Ok(Room { lists: written.lists.len() - 1, cluster })
    }

    fn check_frontends(&self, family: Family, plan: &ServicePlan) -> Result<(), MapError> {
        let (capacity, held) = (self.capacities.frontends, &self.frontends[family]);
        let new = plan.frontends.keys().filter(|address| !held.holds(address)).count();
        if held.len() + new > capacity as usize {
            return Err(MapError::full(frontends_map(family), capacity));
        }
        let addresses: BTreeSet<_> = plan.frontends.keys().map(|address| address.ip).collect();
        let new = addresses.iter().filter(|ip| !held.is_at(ip)).count();
        if held.addresses() + new > capacity as usize {
            return Err(MapError::full(addresses_map(family), capacity));
        }
        Ok(())
    }

    fn check_source_ranges(
        &self,
        family: Family,
        written: &Written,
        plan: &ServicePlan,
    ) -> Result<(), MapError> {
        let (capacity, held) = (self.capacities.source_ranges, self.source_ranges[family]);
        let wanted = source_ranges(plan);
        let new = wanted.iter().filter(|net| !written.ranges.contains_key(net)).count();
        if held as usize + new > capacity as usize {
            return Err(MapError::full(source_ranges_map(family), capacity));
        }
        Ok(())
    }

    /// Makes every backend of `plan` a member; returns the ids of those that were none.
    fn add_members(
        &mut self,
        family: Family,
        written: &mut Written,
        plan: &ServicePlan,
        now: Duration,
    ) -> Result<BTreeSet<BackendId>, MapError> {
        let is_new = |address: &&_| written.member(address).is_none();
        let new: Vec<_> = plan.backends.keys().filter(is_new).copied().collect();
        let ids = &mut self.backend_ids[family];
        if ids.available(now) < new.len() {
            return Err(MapError::full(backends_map(family), self.capacities.backends));
        }
        let taken = new.into_iter().filter_map(|address| {
            let (id, generation) = ids.take(now)?;
            Some(Member { address, id, generation, state: State::Absent })
        });
        let known = written.members.len();
        written.members.extend(taken);
        let newcomers = written.members[known..].iter().map(|member| member.id).collect();
        written.members.sort_unstable_by_key(|member| member.address);
        Ok(newcomers)
    }

    /// After a refusal: a service that was never written leaves no trace.
    pub(super) fn keep_or_forget(&mut self, key: &ServiceKey, written: Written) {
        let is_blank = written.entry == State::Absent
            && written.name == State::Absent
            && written.members.is_empty()
            && written.lists.is_empty()
            && written.ranges.is_empty()
            && written.frontends.is_empty();
        if is_blank {
            self.service_ids.untake(written.id);
        } else {
            self.services.insert(key.clone(), written);
        }
    }
}
