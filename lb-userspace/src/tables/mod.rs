//! From plans to map contents: ids, slots, the order of writes, and what has been written.
//!
//! [`Tables`] is bookkeeping in memory; all it does to the world is calling [`Maps::apply`]. It
//! knows nothing of Kubernetes and reads no clock.
//!
//! - Make before break (I4): backends → slots in a free range → the service → its name → its
//!   source ranges → all frontends → what is at their addresses, and removals the other way round.
//!   Between any two writes every visible slot names a backend in use, every frontend a
//!   service in use, and a guarded frontend admits whom the old plan and the new one admit.
//! - Of several services ([`Tables::apply_all`]) all are placed before any address is shown, so that
//!   no port that comes is rejected at an address that is closed already; and all addresses are shown
//!   before any service is trimmed, so that one that a service leaves to another is taken over, never
//!   missing.
//! - All or nothing: whether a plan fits is known before its first write. A service that does not
//!   fit stays as it was.
//! - An entry is unknown from before a write until the write has succeeded (`state`), so after
//!   an error [`Tables::apply`] may be called again with the same or another plan, and converges.
//! - Only what differs is written.
//! - Ids and slots that become free are used again after [`GRACE`].

mod arena;
mod batch;
mod demand;
mod drift;
mod frontends;
mod ids;
mod restore;
mod room;
mod state;
mod surroundings;
mod usage;
mod written;

pub use drift::Drift;
pub use usage::{MapUsage, Usage};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use lb_common::net::Family;

use self::arena::{Arena, Span};
use self::frontends::Frontends;
use self::ids::{BackendIds, Ids};
use self::room::Room;
use self::state::State;
use self::surroundings::Around;
use self::written::{Member, Written};
use crate::maps::{BackendId, Capacities, MapError, Maps, PerFamily, ServiceId, Write};
use crate::plan::{FrontendAddress, ServiceKey, ServicePlan};

/// How long freed ids and slots rest: much longer than a packet stays in the datapath.
pub const GRACE: Duration = Duration::from_secs(1);

/// What the maps hold, and how to get from there to a plan.
#[derive(Debug)]
pub struct Tables {
    capacities: Capacities,
    services: BTreeMap<ServiceKey, Written>,
    frontends: PerFamily<Frontends>,
    /// Source ranges that are, or may be, in the maps.
    source_ranges: PerFamily<u32>,
    around: Around,
    service_ids: Ids,
    backend_ids: PerFamily<BackendIds>,
    slots: Arena,
    /// What [`Tables::prune`] clears; the last one first.
    debris: Vec<Debris>,
    /// Some backend has stopped serving, or has gone, since this was asked last.
    stopped: bool,
}

/// Something that a restart found and nobody can own.
#[derive(Debug)]
struct Debris {
    /// Clears it.
    write: Write,
    /// What can be used again then.
    frees: Frees,
}

/// What is free once something is cleared.
#[derive(Debug)]
enum Frees {
    Nothing,
    Slots(Vec<Span>),
    Backend(Family, BackendId),
    Service(ServiceId),
    SourceRange(Family),
}

impl Tables {
    /// The bookkeeping of empty maps of these `capacities`.
    #[must_use]
    pub fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            services: BTreeMap::new(),
            frontends: PerFamily::default(),
            source_ranges: PerFamily::default(),
            around: Around::default(),
            service_ids: Ids::new(capacities.services),
            backend_ids: PerFamily::new(|_| BackendIds::new(capacities.backends)),
            slots: Arena::new(capacities.slots),
            debris: Vec::new(),
            stopped: false,
        }
    }

    /// Makes the maps hold what `want` says of the service `key`; `None` removes it.
    ///
    /// `now` is monotonic time since any fixed moment. After [`MapError::Full`] the service is as
    /// it was; after another error it may be anywhere between, and the call is to be repeated.
    pub fn apply<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        want: Option<&ServicePlan>,
        now: Duration,
    ) -> Result<(), MapError> {
        match want {
            Some(plan) => {
                self.place(maps, key, plan, now)?;
                self.show(maps, key, plan)?;
                self.trim(maps, key, plan, now)
            }
            None => self.remove(maps, key, now),
        }
    }

    /// Removes every service that is not in `keep`, and whatever a restart found and nobody owns.
    ///
    /// To be called when everything that is to be kept is known. An error does not stop the
    /// others; the first is returned, and the call is to be repeated.
    pub fn prune<M: Maps>(
        &mut self,
        maps: &mut M,
        keep: &BTreeSet<ServiceKey>,
        now: Duration,
    ) -> Result<(), MapError> {
        let gone: Vec<_> =
            self.services.keys().filter(|key| !keep.contains(key)).cloned().collect();
        let mut outcome = Ok(());
        for key in gone {
            outcome = outcome.and(self.remove(maps, &key, now));
        }
        outcome.and(self.clear_debris(maps, now))
    }

    /// Whether some list of the service is, or may be, not empty.
    #[must_use]
    pub fn has_endpoints(&self, key: &ServiceKey) -> bool {
        let written = self.services.get(key);
        written.is_some_and(|written| written.lists.iter().any(|lists| !lists.slots.is_empty()))
    }

    /// Whether some backend has stopped serving, or has gone, since the last call.
    pub fn take_stopped(&mut self) -> bool {
        std::mem::take(&mut self.stopped)
    }

    /// The id of a service, if it has one.
    #[must_use]
    pub fn service_id(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.services.get(key).map(|written| written.id)
    }

    /// Every service that is, or may be, in the maps.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    /// Makes the maps hold all that `plan` wants, besides what they hold of the service already; but
    /// for its addresses, which are to be shown then.
    fn place<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        plan: &ServicePlan,
        now: Duration,
    ) -> Result<(), MapError> {
        let mut written = match self.services.remove(key) {
            Some(written) => written,
            None => Written::new(self.take_service_id(now)?),
        };
        match self.make_room(key.family, &mut written, plan, now) {
            Ok(room) => {
                let result = self.make(maps, key, &mut written, plan, &room, now);
                self.services.insert(key.clone(), written);
                result
            }
            Err(full) => {
                self.keep_or_forget(key, written);
                Err(full)
            }
        }
    }

    /// The writes that place a service that fits, in the order of I4.
    fn make<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        written: &mut Written,
        plan: &ServicePlan,
        room: &Room,
        now: Duration,
    ) -> Result<(), MapError> {
        self.stopped |= written.stops(plan);
        written.put_backends(maps, plan)?;
        for span in written.publish(maps, room.lists, room.cluster, plan)? {
            self.slots.give_back(span, now);
        }
        let name = || Write::PutServiceName(written.id, key.name.to_string(), key.family);
        written.name.put(maps, (), name)?;
        self.put_source_ranges(maps, written, &written::source_ranges(plan))?;
        self.put_frontends(maps, key.family, written, plan)
    }

    /// Removes what the maps hold of the service beyond `plan`, which must have been shown.
    fn trim<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        plan: &ServicePlan,
        now: Duration,
    ) -> Result<(), MapError> {
        let Some(mut written) = self.services.remove(key) else { return Ok(()) };
        let result = self.unmake(maps, key.family, &mut written, plan, now);
        self.services.insert(key.clone(), written);
        result
    }

    /// The writes that trim a service, in the order of I4.
    fn unmake<M: Maps>(
        &mut self,
        maps: &mut M,
        family: Family,
        written: &mut Written,
        plan: &ServicePlan,
        now: Duration,
    ) -> Result<(), MapError> {
        let ranges = written::source_ranges(plan);
        self.drop_frontends(maps, family, written, |it| !plan.frontends.contains_key(it))?;
        self.drop_source_ranges(maps, written, |net| !ranges.contains(net))?;
        self.drop_backends(
            maps,
            family,
            written,
            |it| !plan.backends.contains_key(&it.address),
            now,
        )
    }

    fn remove<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        now: Duration,
    ) -> Result<(), MapError> {
        let Some(mut written) = self.services.remove(key) else { return Ok(()) };
        let result = self.take_down(maps, key.family, &mut written, now);
        match result {
            Ok(()) => self.service_ids.give_back(written.id, now),
            Err(_) => {
                self.services.insert(key.clone(), written);
            }
        }
        result
    }

    /// The writes that remove a service, in the order of I4.
    fn take_down<M: Maps>(
        &mut self,
        maps: &mut M,
        family: Family,
        written: &mut Written,
        now: Duration,
    ) -> Result<(), MapError> {
        self.drop_frontends(maps, family, written, |_| true)?;
        self.drop_source_ranges(maps, written, |_| true)?;
        written.entry.clear(maps, &Write::FreeService(written.id))?;
        for lists in written.lists.drain(..) {
            self.slots.give_back(lists.span, now);
        }
        written.name.clear(maps, &Write::DeleteServiceName(written.id))?;
        self.drop_backends(maps, family, written, |_| true, now)
    }

    fn put_source_ranges<M: Maps>(
        &mut self,
        maps: &mut M,
        written: &mut Written,
        ranges: &BTreeSet<IpNet>,
    ) -> Result<(), MapError> {
        let id = written.id;
        for &net in ranges {
            let state = written.ranges.entry(net).or_insert_with(|| {
                self.source_ranges[Family::of(&net.addr())] += 1;
                State::Absent
            });
            state.put(maps, (), || Write::PutSourceRange(id, net))?;
        }
        Ok(())
    }

    /// Removes the source ranges that are `unwanted`; no guarded frontend may need them any more.
    fn drop_source_ranges<M: Maps>(
        &mut self,
        maps: &mut M,
        written: &mut Written,
        unwanted: impl Fn(&IpNet) -> bool,
    ) -> Result<(), MapError> {
        let unwanted: Vec<_> = written.ranges.keys().copied().filter(unwanted).collect();
        for net in unwanted {
            if let Some(state) = written.ranges.get_mut(&net) {
                state.clear(maps, &Write::DeleteSourceRange(written.id, net))?;
                written.ranges.remove(&net);
                self.source_ranges[Family::of(&net.addr())] -= 1;
            }
        }
        Ok(())
    }

    fn put_frontends<M: Maps>(
        &mut self,
        maps: &mut M,
        family: Family,
        written: &mut Written,
        plan: &ServicePlan,
    ) -> Result<(), MapError> {
        for (&address, &used) in &plan.frontends {
            if let Err(at) = written.frontends.binary_search(&address) {
                written.frontends.insert(at, address);
            }
            self.frontends[family].put(maps, written.id, address, used)?;
        }
        Ok(())
    }

    /// Gives up the frontends that are `unwanted`.
    fn drop_frontends<M: Maps>(
        &mut self,
        maps: &mut M,
        family: Family,
        written: &mut Written,
        unwanted: impl Fn(&FrontendAddress) -> bool,
    ) -> Result<(), MapError> {
        while let Some(at) = written.frontends.iter().rposition(&unwanted) {
            self.frontends[family].give_up(maps, written.id, written.frontends[at])?;
            written.frontends.remove(at);
        }
        Ok(())
    }

    /// Frees the members that are `unwanted`; no list may name them any more.
    fn drop_backends<M: Maps>(
        &mut self,
        maps: &mut M,
        family: Family,
        written: &mut Written,
        unwanted: impl Fn(&Member) -> bool,
        now: Duration,
    ) -> Result<(), MapError> {
        let ids = &mut self.backend_ids[family];
        let mut outcome = Ok(());
        written.members.retain_mut(|member| {
            if outcome.is_err() || !unwanted(member) {
                return true;
            }
            outcome = member.state.clear(maps, &Write::FreeBackend(family, member.id));
            if outcome.is_ok() {
                ids.give_back(member.id, now);
                self.stopped = true;
            }
            outcome.is_err()
        });
        outcome
    }
}
