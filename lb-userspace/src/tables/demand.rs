//! How much room plans will need, before anything of them is written.

use std::collections::BTreeSet;

use ipnet::IpNet;
use lb_common::net::Family;

use super::Tables;
use super::written::{Written, source_ranges};
use crate::maps::{Capacities, is_of};
use crate::plan::{ServiceKey, ServicePlan, Surroundings};

impl Tables {
    /// How many entries of each kind there will be when `plans` and `around` are in the maps. Of the
    /// settings that are `full`, more than there are now: what has no room may be in pieces, or rest.
    ///
    /// What goes is still counted, since what comes is written first.
    #[must_use]
    pub fn demand<'a>(
        &self,
        plans: impl Iterator<Item = (&'a ServiceKey, Option<&'a ServicePlan>)>,
        around: Option<&Surroundings>,
        full: &BTreeSet<&'static str>,
    ) -> Capacities {
        let mut demands = [Family::V4, Family::V6].map(|family| self.in_use(family, around));
        let (mut services, mut slots) = (self.service_ids.taken(), self.slots.taken() as usize);
        let mut largest = 0;
        for (key, plan) in plans.filter_map(|(key, plan)| Some((key, plan?))) {
            let written = self.services.get(key);
            services += usize::from(written.is_none());
            slots += more_slots(written, plan);
            largest = largest.max(written.map_or(0, |_| slot_count(plan)));
            let [v4, v6] = &mut demands;
            let demand = if key.family == Family::V4 { v4 } else { v6 };
            self.add(demand, key.family, written, plan);
        }
        let [v4, v6] = demands;
        let larger = |of: fn(&Demand) -> usize| entries(of(&v4).max(of(&v6)));
        let mut demand = Capacities {
            // Ids 0 of services and backends are never used.
            services: entries(services).saturating_add(1),
            // The lists that a service has go when its new ones are there.
            slots: entries(slots + largest),
            frontends: larger(|it| it.frontends),
            backends: larger(|it| it.backends).saturating_add(1),
            clients: larger(|it| it.clients),
            source_ranges: larger(|it| it.source_ranges),
            ..Capacities::NONE
        };
        let mut now = self.capacities;
        for setting in full {
            if let Some((demand, now)) = demand.of_setting(setting).zip(now.of_setting(setting)) {
                *demand = now.saturating_add(1).max(*demand);
            }
        }
        demand
    }

    /// There is as much room now, no less than before.
    pub fn resize(&mut self, capacities: Capacities) {
        let before = self.capacities.slots;
        self.slots.grow(before, capacities.slots.saturating_sub(before));
        self.service_ids.grow(capacities.services);
        for family in [Family::V4, Family::V6] {
            self.backend_ids[family].grow(capacities.backends);
        }
        self.capacities = capacities;
    }

    fn in_use(&self, family: Family, around: Option<&Surroundings>) -> Demand {
        let is_new = |net: &&IpNet| is_of(family, &net.addr()) && !self.around.knows(&net.trunc());
        let new_clients = around.map_or(0, |around| around.clients.keys().filter(is_new).count());
        Demand {
            frontends: self.frontends[family].len(),
            backends: self.backend_ids[family].taken(),
            clients: self.around.clients(family) + new_clients,
            source_ranges: self.source_ranges[family] as usize,
        }
    }

    fn add(
        &self,
        demand: &mut Demand,
        family: Family,
        written: Option<&Written>,
        plan: &ServicePlan,
    ) {
        let held = &self.frontends[family];
        demand.frontends += plan.frontends.keys().filter(|address| !held.holds(address)).count();
        let is_member = |address| written.is_some_and(|it| it.member(address).is_some());
        demand.backends += plan.backends.keys().filter(|address| !is_member(address)).count();
        let has = |net| written.is_some_and(|it| it.ranges.contains_key(net));
        demand.source_ranges += source_ranges(plan).iter().filter(|net| !has(net)).count();
    }
}

/// Entries of the maps of one family.
struct Demand {
    frontends: usize,
    backends: usize,
    clients: usize,
    source_ranges: usize,
}

/// What a service's lists take beyond those that it has, which go.
fn more_slots(written: Option<&Written>, plan: &ServicePlan) -> usize {
    let held = written.into_iter().flat_map(|it| &it.lists).map(|lists| lists.slots.len());
    slot_count(plan).saturating_sub(held.sum())
}

/// What a service's lists take: each backend once, or a table.
fn slot_count(plan: &ServicePlan) -> usize {
    let lists = [plan.cluster.len(), plan.local.len()];
    let tables = plan.table.map(|size| size.get() as usize);
    lists.into_iter().map(|len| tables.filter(|_| len > 1).unwrap_or(len)).sum()
}

fn entries(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
