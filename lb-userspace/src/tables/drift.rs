//! What the maps hold, compared with what is known of them (I6).
//!
//! Nothing is written here. What differs becomes unknown and what nobody owns becomes debris, so that
//! placing every plan once more and [`Tables::prune`] put the maps right. Ids stay what they are
//! known to be, whatever the maps say.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::map;
use lb_common::net::Family;

use super::state::State;
use super::written::Written;
use super::{Debris, Frees, Tables};
use crate::maps::{Snapshot, Write, backends_map, source_ranges_map};
use crate::plan::{BackendState, ServiceKey};

/// How many entries were not what they should be, by map.
pub type Drift = BTreeMap<&'static str, u64>;

impl Tables {
    /// Compares with `found`, which must be what the maps hold now. What somebody owns is taken out of
    /// it on the way, so that nobody's is left.
    pub fn compare(&mut self, mut found: Snapshot) -> Drift {
        let mut drift = Drift::new();
        for (key, written) in &mut self.services {
            written.compare(key, &mut found, &mut drift);
        }
        for family in [Family::V4, Family::V6] {
            self.frontends[family].compare(family, &found, &mut drift);
        }
        self.around.compare(&found, &mut drift);
        self.bury_services(&found, &mut drift);
        self.bury_backends(&found, &mut drift);
        self.take_in_ranges(&found, &mut drift);
        self.sort_debris();
        drift
    }

    fn bury_services(&mut self, found: &Snapshot, drift: &mut Drift) {
        note(drift, map::SERVICES, found.services.len());
        note(drift, map::SERVICE_NAMES, found.names.len());
        let strangers: BTreeSet<_> = found.services.keys().chain(found.names.keys()).collect();
        for id in strangers {
            let is_free = self.service_ids.reserve(*id);
            let frees = if is_free { Frees::Service(*id) } else { Frees::Nothing };
            self.bury_service(*id, frees, found);
        }
    }

    fn bury_backends(&mut self, found: &Snapshot, drift: &mut Drift) {
        for (&(family, id), entry) in &found.backends {
            let is_free = self.backend_ids[family].reserve_again(id, entry.generation);
            let frees = if is_free { Frees::Backend(family, id) } else { Frees::Nothing };
            self.debris.push(Debris { write: Write::FreeBackend(family, id), frees });
            note(drift, backends_map(family), 1);
        }
    }

    /// Source ranges that are too much go with the next plan of their service, or as debris.
    fn take_in_ranges(&mut self, found: &Snapshot, drift: &mut Drift) {
        if found.source_ranges.is_empty() {
            return;
        }
        let services = self.services.values_mut().map(|written| (written.id, written));
        let mut services: BTreeMap<_, _> = services.collect();
        for &(id, net) in &found.source_ranges {
            let family = Family::of(&net.addr());
            match services.get_mut(&id) {
                Some(written) => drop(written.ranges.insert(net, State::Unknown)),
                None => self.debris.push(Debris {
                    write: Write::DeleteSourceRange(id, net),
                    frees: Frees::SourceRange(family),
                }),
            }
            self.source_ranges[family] += 1;
            note(drift, source_ranges_map(family), 1);
        }
    }
}

impl Written {
    fn compare(&mut self, key: &ServiceKey, found: &mut Snapshot, drift: &mut Drift) {
        let service = found.services.remove(&self.id);
        let differs = self.entry.confront(service.as_ref().map(|it| &it.entry));
        note(drift, map::SERVICES, usize::from(differs));
        let is_known = self.entry.is_known();
        if let (Some(service), true, [lists]) = (service, is_known, &mut self.lists[..]) {
            let slots = [service.cluster.as_slice(), &service.local].concat();
            let differing = lists.slots.iter().zip(&slots).filter(|(a, b)| a != b).count();
            note(drift, map::SLOTS, differing);
            // No plan wants these: the next one gets slots elsewhere, and nobody sees them change.
            lists.slots = slots.into();
        }
        let is_named = found
            .names
            .remove(&self.id)
            .is_some_and(|(name, family)| family == key.family && name == key.name.to_string());
        let differs = self.name.confront(is_named.then_some(&()));
        note(drift, map::SERVICE_NAMES, usize::from(differs));
        self.compare_members(key.family, found, drift);
        for (net, state) in &mut self.ranges {
            let is_there = found.source_ranges.remove(&(self.id, *net));
            let differs = state.confront(is_there.then_some(&()));
            note(drift, source_ranges_map(key.family), usize::from(differs));
        }
    }

    fn compare_members(&mut self, family: Family, found: &mut Snapshot, drift: &mut Drift) {
        for member in &mut self.members {
            let entry = found.backends.remove(&(family, member.id)).filter(|entry| {
                (entry.address, entry.generation, entry.service)
                    == (member.address, member.generation, self.id)
            });
            let state = entry.map(|entry| BackendState {
                serving: entry.serving,
                local: entry.local,
                in_cluster_list: entry.in_cluster_list,
                in_local_list: entry.in_local_list,
            });
            let differs = member.state.confront(state.as_ref());
            note(drift, backends_map(family), usize::from(differs));
        }
    }
}

/// So many entries of `map` were not what they should be.
pub(super) fn note(drift: &mut Drift, map: &'static str, count: usize) {
    if count > 0 {
        *drift.entry(map).or_default() += count as u64;
    }
}
