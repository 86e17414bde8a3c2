//! What is in the maps for one service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;
use lb_common::abi::service::SlotRange;

use super::arena::Span;
use super::state::State;
use crate::maps::{BackendEntry, BackendId, MapError, Maps, ServiceEntry, ServiceId, Write};
use crate::plan::{BackendState, FrontendAddress, ServicePlan, TableSize, maglev};

/// The bookkeeping of one service.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) id: ServiceId,
    pub(super) entry: State<ServiceEntry>,
    pub(super) name: State<()>,
    /// Sorted by address, one entry an address.
    pub(super) members: Vec<Member>,
    /// Every list that the service's entry may name: one, unless a write of the entry has failed.
    pub(super) lists: Vec<Lists>,
    /// The frontends it has put and not given up; sorted. Another service may hold them by now.
    pub(super) frontends: Vec<FrontendAddress>,
    /// The source ranges it has put and not removed.
    pub(super) ranges: BTreeMap<IpNet, State<()>>,
}

/// A backend of the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) address: SocketAddr,
    pub(super) id: BackendId,
    pub(super) generation: u32,
    pub(super) state: State<BackendState>,
}

/// The cluster list and behind it the local list, as they stand in `SLOTS`.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) span: Span,
    pub(super) slots: Box<[BackendId]>,
    pub(super) filled: bool,
}

/// The lists that a plan wants, in backend ids.
pub(super) struct Wanted {
    slots: Box<[BackendId]>,
    cluster: u32,
}

impl Written {
    /// A service of which nothing is written yet.
    pub(super) fn new(id: ServiceId) -> Self {
        Self {
            id,
            entry: State::Absent,
            name: State::Absent,
            members: Vec::new(),
            lists: Vec::new(),
            frontends: Vec::new(),
            ranges: BTreeMap::new(),
        }
    }

    /// The position of `address` among the members.
    pub(super) fn member(&self, address: &SocketAddr) -> Option<usize> {
        self.members.binary_search_by_key(address, |member| member.address).ok()
    }

    /// The lists of `plan`; addresses that are no members are left out.
    pub(super) fn wanted(&self, plan: &ServicePlan) -> Wanted {
        let mut slots = self.list(&plan.cluster, plan.table);
        let cluster = slot_count(&slots);
        slots.extend(self.list(&plan.local, plan.table));
        Wanted { slots: slots.into(), cluster }
    }

    /// The slots of a list of `addresses`. One backend needs no table.
    fn list(&self, addresses: &BTreeSet<SocketAddr>, table: Option<TableSize>) -> Vec<BackendId> {
        let ats = addresses.iter().filter_map(|address| self.member(address));
        let members: Vec<Member> = ats.map(|at| self.members[at]).collect();
        match table.filter(|_| members.len() > 1) {
            None => members.iter().map(|member| member.id).collect(),
            Some(size) => {
                let addresses: Vec<_> = members.iter().map(|member| member.address).collect();
                maglev::table(&addresses, size).into_iter().map(|at| members[at].id).collect()
            }
        }
    }

    /// Which of the lists at hand hold what is wanted.
    pub(super) fn find(&self, wanted: &Wanted) -> Option<usize> {
        self.lists.iter().position(|lists| lists.slots == wanted.slots)
    }

    /// Makes the lists at position `at` visible, the first `cluster` slots of them as the cluster
    /// list. Returns the spans that nothing names any more.
    pub(super) fn publish<M: Maps>(
        &mut self,
        maps: &mut M,
        at: usize,
        cluster: u32,
        plan: &ServicePlan,
    ) -> Result<Vec<Span>, MapError> {
        let lists = &mut self.lists[at];
        lists.fill(maps)?;
        let entry = lists.entry(cluster, plan);
        self.entry.put(maps, entry, || Write::PutService(self.id, entry))?;
        let current = self.lists.swap_remove(at);
        let outdated = std::mem::replace(&mut self.lists, vec![current]);
        Ok(outdated.into_iter().map(|lists| lists.span).collect())
    }

    /// Whether a member that may serve does not under `plan`.
    pub(super) fn stops(&self, plan: &ServicePlan) -> bool {
        self.members.iter().any(|member| {
            let serves = match member.state {
                State::Is(state) => state.serving,
                State::Unknown => true,
                State::Absent => false,
            };
            serves && plan.backends.get(&member.address).is_some_and(|state| !state.serving)
        })
    }

    /// Describes the backends of `plan`; all of them must be members.
    pub(super) fn put_backends<M: Maps>(
        &mut self,
        maps: &mut M,
        plan: &ServicePlan,
    ) -> Result<(), MapError> {
        let service = self.id;
        for member in &mut self.members {
            if let Some(state) = plan.backends.get(&member.address) {
                member.put(maps, service, *state)?;
            }
        }
        Ok(())
    }
}

impl Member {
    fn put<M: Maps>(
        &mut self,
        maps: &mut M,
        service: ServiceId,
        state: BackendState,
    ) -> Result<(), MapError> {
        let Self { address, id, generation, .. } = *self;
        let BackendState { serving, local, in_cluster_list, in_local_list } = state;
        let entry = BackendEntry {
            address,
            service,
            generation,
            serving,
            local,
            in_cluster_list,
            in_local_list,
        };
        self.state.put(maps, state, || Write::PutBackend(entry.family(), id, entry))
    }
}

impl Wanted {
    /// How many slots it takes.
    pub(super) fn len(&self) -> u32 {
        slot_count(&self.slots)
    }

    /// How many of them are the cluster list.
    pub(super) fn cluster(&self) -> u32 {
        self.cluster
    }

    /// The lists, to be written to `span`.
    pub(super) fn into_lists(self, span: Span) -> Lists {
        Lists { span, filled: false, slots: self.slots }
    }
}

impl Lists {
    /// Writes the slots, unless they are.
    fn fill<M: Maps>(&mut self, maps: &mut M) -> Result<(), MapError> {
        if !self.filled && !self.slots.is_empty() {
            let backends = self.slots.to_vec();
            maps.apply(&Write::PutSlots { offset: self.span.start, backends })?;
        }
        self.filled = true;
        Ok(())
    }

    /// The service whose cluster list is the first `cluster` slots, its local list the others.
    fn entry(&self, cluster: u32, plan: &ServicePlan) -> ServiceEntry {
        ServiceEntry {
            cluster: range(self.span.start, cluster),
            local: range(self.span.start + cluster, self.span.len - cluster),
            usable: plan.usable,
            affinity_s: plan.affinity_s,
        }
    }
}

/// The source ranges of `plan` as the maps have them: nothing behind a prefix counts.
pub(super) fn source_ranges(plan: &ServicePlan) -> BTreeSet<IpNet> {
    plan.source_ranges.iter().map(IpNet::trunc).collect()
}

/// An empty list is always the same, wherever it would stand.
fn range(offset: u32, count: u32) -> SlotRange {
    if count == 0 { SlotRange::EMPTY } else { SlotRange::new(offset, count) }
}

/// The number of slots for a list; far below 2^32: a list names each 32-bit id at most once, and a
/// table has at most [`TableSize::MAX`] slots.
#[expect(clippy::cast_possible_truncation, reason = "no list is nearly as long")]
fn slot_count(list: &[BackendId]) -> u32 {
    list.len() as u32
}
