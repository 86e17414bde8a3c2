//! The bookkeeping of maps that a previous run has filled (I5).
//!
//! Services keep their ids by name and family, backends by address within their service. What
//! cannot be matched is remembered as debris, which [`Tables::prune`] clears; until then its ids
//! are taken.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use lb_common::abi::service::SlotRange;
use lb_common::net::Family;

use super::arena::Span;
use super::frontends::NOBODY;
use super::state::State;
use super::surroundings::Around;
use super::written::{Lists, Member, Written};
use super::{Debris, Frees, Tables};
use crate::maps::{
    BackendEntry, BackendId, Capacities, MapError, Maps, ServiceId, ServiceState, Snapshot, Write,
    is_of,
};
use crate::model::{NamespacedName, Protocol, ServicePortName};
use crate::plan::{BackendState, FrontendUse, ServiceKey};

impl Tables {
    /// The bookkeeping of maps of these `capacities` that hold `snapshot`.
    #[must_use]
    pub fn restore(snapshot: &Snapshot, capacities: Capacities) -> Self {
        let mut tables = Self::new(capacities);
        for (&(family, id), &generation) in &snapshot.free_backends {
            tables.backend_ids[family].remember(id, generation);
        }
        let mut found = tables.restore_services(snapshot);
        tables.restore_backends(snapshot, &mut found);
        for (id, state) in &snapshot.services {
            if let Some((_, written)) = found.get_mut(id) {
                tables.restore_lists(state, written);
            }
        }
        tables.restore_source_ranges(snapshot, &mut found);
        tables.restore_frontends(snapshot, &mut found);
        tables.around = Around::restore(snapshot);
        tables.sort_debris();
        tables.services = found.into_values().collect();
        tables
    }

    /// Clears what nobody owns.
    pub(super) fn clear_debris<M: Maps>(
        &mut self,
        maps: &mut M,
        now: Duration,
    ) -> Result<(), MapError> {
        for family in [Family::V4, Family::V6] {
            self.frontends[family].clear_nobodys(maps)?;
        }
        while let Some(debris) = self.debris.last() {
            maps.apply(&debris.write)?;
            match self.debris.pop().map(|debris| debris.frees) {
                Some(Frees::Slots(spans)) => {
                    for span in spans {
                        self.slots.give_back(span, now);
                    }
                }
                Some(Frees::Backend(family, id)) => {
                    self.backend_ids[family].give_back(id, now);
                    self.stopped = true;
                }
                Some(Frees::Service(id)) => self.service_ids.give_back(id, now),
                Some(Frees::SourceRange(family)) => self.source_ranges[family] -= 1,
                Some(Frees::Nothing) | None => {}
            }
        }
        Ok(())
    }

    /// Services in use with a name of their own; every other id that anything names is debris.
    fn restore_services(&mut self, snapshot: &Snapshot) -> Found {
        let (mut found, mut keys) = (Found::new(), BTreeSet::new());
        let named = snapshot.backends.values().map(|entry| &entry.service);
        let named = named.chain(snapshot.frontends.values().map(|entry| &entry.service));
        let named = named.chain(snapshot.source_ranges.iter().map(|(id, _)| id));
        let in_use = snapshot.services.keys().chain(snapshot.names.keys());
        for &id in in_use.chain(named).collect::<BTreeSet<_>>() {
            let is_free = self.service_ids.reserve(id);
            let name = snapshot.names.get(&id).filter(|_| snapshot.services.contains_key(&id));
            match name.and_then(|(name, family)| parse(name, *family)) {
                Some(key) if is_free && keys.insert(key.clone()) => {
                    found.insert(id, (key, Written::new(id)));
                }
                _ => self.bury_service(
                    id,
                    if is_free { Frees::Service(id) } else { Frees::Nothing },
                    snapshot,
                ),
            }
        }
        found
    }

    /// Nobody can own the service `id`; while it is visible, its slots are not free.
    pub(super) fn bury_service(&mut self, id: ServiceId, frees: Frees, snapshot: &Snapshot) {
        self.debris.push(Debris { write: Write::DeleteServiceName(id), frees });
        if let Some(state) = snapshot.services.get(&id) {
            let mut spans: Vec<_> = spans(state).into_iter().map(|(span, _)| span).collect();
            spans.retain(|span| self.slots.reserve(*span));
            self.debris.push(Debris { write: Write::FreeService(id), frees: Frees::Slots(spans) });
        }
    }

    /// In the order in which it is cleared.
    pub(super) fn sort_debris(&mut self) {
        self.debris.sort_by_key(|debris| rank(&debris.write));
    }

    /// Backends in use by a service that was found; all others are debris.
    fn restore_backends(&mut self, snapshot: &Snapshot, found: &mut Found) {
        for (&(family, id), entry) in &snapshot.backends {
            self.backend_ids[family].reserve(id, entry.generation);
            let owner = found.get_mut(&entry.service).filter(|(key, written)| {
                key.family == family && written.member(&entry.address).is_none()
            });
            match owner {
                Some((_, written)) => written.restore_member(id, entry),
                None => self.debris.push(Debris {
                    write: Write::FreeBackend(family, id),
                    frees: Frees::Backend(family, id),
                }),
            }
        }
    }

    /// The slots that a service names. If they are not what they should be, its entry is unknown
    /// and will be written again.
    fn restore_lists(&mut self, state: &ServiceState, written: &mut Written) {
        let members: HashSet<_> = written.members.iter().map(|member| member.id).collect();
        let mut is_sound = state.cluster.iter().chain(&state.local).all(|id| members.contains(id));
        for (span, slots) in spans(state) {
            if self.slots.reserve(span) {
                written.lists.push(Lists { span, slots: slots.into(), filled: true });
            } else {
                is_sound = false;
            }
        }
        written.entry = if is_sound { State::Is(state.entry) } else { State::Unknown };
        written.name = State::Is(());
    }

    fn restore_frontends(&mut self, snapshot: &Snapshot, found: &mut Found) {
        for (&address, entry) in &snapshot.frontends {
            let family = Family::of(&address.ip);
            let owner =
                found.get_mut(&entry.service).filter(|(key, _)| is_of(key.family, &address.ip));
            let (service, state) = match owner {
                Some((_, written)) => {
                    written.frontends.push(address);
                    (entry.service, State::Is(FrontendUse::from(entry)))
                }
                None => (NOBODY, State::Unknown),
            };
            self.frontends[family].restore(service, address, state);
        }
        for (&ip, &entry) in &snapshot.addresses {
            self.frontends[Family::of(&ip)].restore_address(ip, entry);
        }
    }

    /// Source ranges of services that were found, those of the other family too: they go when the
    /// service is planned. All others are debris.
    fn restore_source_ranges(&mut self, snapshot: &Snapshot, found: &mut Found) {
        for &(id, net) in &snapshot.source_ranges {
            let family = Family::of(&net.addr());
            self.source_ranges[family] += 1;
            match found.get_mut(&id) {
                Some((_, written)) => drop(written.ranges.insert(net, State::Is(()))),
                None => self.debris.push(Debris {
                    write: Write::DeleteSourceRange(id, net),
                    frees: Frees::SourceRange(family),
                }),
            }
        }
    }
}

/// The place of a write that clears debris; the highest comes first. Backends and source ranges
/// before the name of their service: until its id is free, nobody takes them for a new service's.
fn rank(write: &Write) -> u8 {
    match write {
        Write::DeleteSourceRange(..) => 3,
        Write::FreeService(_) => 2,
        Write::FreeBackend(..) => 1,
        _ => 0,
    }
}

/// The services that were found, by id.
type Found = BTreeMap<ServiceId, (ServiceKey, Written)>;

impl Written {
    fn restore_member(&mut self, id: BackendId, entry: &BackendEntry) {
        let BackendEntry { address, generation, serving, local, .. } = *entry;
        let BackendEntry { in_cluster_list, in_local_list, .. } = *entry;
        let state = State::Is(BackendState { serving, local, in_cluster_list, in_local_list });
        let at = self.members.partition_point(|member| member.address < address);
        self.members.insert(at, Member { address, id, generation, state });
    }
}

/// The spans behind a service and what is in them: one where the local list follows the cluster
/// list, as [`Tables`] writes them, else two.
fn spans(state: &ServiceState) -> Vec<(Span, Vec<BackendId>)> {
    let ServiceState { entry, cluster, local } = state;
    let span = |range: SlotRange| Span { start: range.offset(), len: range.count() };
    let (first, second) = (span(entry.cluster), span(entry.local));
    let joined = match (first.len, second.len) {
        (_, 0) => first,
        (0, _) => second,
        _ if second.start == first.start + first.len => {
            Span { start: first.start, len: first.len + second.len }
        }
        _ => return vec![(first, cluster.clone()), (second, local.clone())],
    };
    vec![(joined, [cluster.as_slice(), local].concat())]
}

/// The service whose name in `SERVICE_NAMES` is `name`: the inverse of [`ServicePortName`]'s
/// `Display`. Kubernetes allows none of the separators inside a part.
fn parse(name: &str, family: Family) -> Option<ServiceKey> {
    let (rest, protocol) = name.rsplit_once('/')?;
    let (namespace, rest) = rest.split_once('/')?;
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|known| known.to_string() == protocol)?;
    let service = NamespacedName::new(namespace, service);
    Some(ServiceKey { name: ServicePortName { service, port: port.into(), protocol }, family })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        for name in ["demo/web:http/TCP", "demo/web/UDP", "a/b:c/SCTP"] {
            let key = parse(name, Family::V6).unwrap();
            assert_eq!((key.name.to_string().as_str(), key.family), (name, Family::V6));
        }
        for junk in ["", "web", "demo/web", "demo/web/ICMP", "/"] {
            assert_eq!(parse(junk, Family::V4), None, "{junk}");
        }
    }
}
