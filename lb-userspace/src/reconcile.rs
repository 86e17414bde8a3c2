//! Brings what is planned into the maps, and keeps what failed for later.
//!
//! - Nothing is written before every source has delivered its first full list: what is missing
//!   until then may well exist. The first pass after that compares everything and prunes leftovers.
//! - A service that fails never stops the others. What failed is tried again, with growing pauses,
//!   and told once.
//! - The API server's own Service keeps the endpoints that the maps have, of whatever run, until
//!   there are others to use.
//!
//! Reads no clock and does not wait: the caller says what time it is and comes back when told to.

mod progress;
#[cfg(test)]
mod tests;

pub use progress::Stranded;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use lb_common::net::Family;

use self::progress::Progress;
use crate::maps::{Capacities, MapError, Maps, PerFamily, ReadBack};
use crate::model::{Kind, Problem, Rejection, Subject};
use crate::plan::{Planner, ServiceKey, ServicePlan, Surroundings};
use crate::store::{Triggers, is_api_server};
use crate::tables::{Drift, Tables, Usage};

/// The pause after a first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Everything between the sources and the maps.
#[derive(Debug)]
pub struct Reconciler<M> {
    planner: Planner,
    tables: Tables,
    maps: M,
    pending: BTreeMap<ServiceKey, Pending<Option<ServicePlan>>>,
    surroundings: Option<Pending<Surroundings>>,
    stage: Stage,
    /// What was told since the last [`Reconciler::take_told`].
    told: Vec<Rejection>,
    progress: Progress,
    /// Settings of the maps that had no room in the last pass.
    full: BTreeSet<&'static str>,
    /// Passes in a row after which something was left to do.
    failures: u32,
}

/// A plan that is not in the maps yet.
#[derive(Debug)]
struct Pending<T> {
    want: T,
    /// What people were told about it.
    told: Option<String>,
    /// It does not fit: trying again mends nothing, and people have been told what does.
    is_too_large: bool,
}

/// Numbers for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many objects cannot be used now, whole or in part, by their kind.
    pub rejected: BTreeMap<&'static str, usize>,
    /// How many frontends more than one service claims now.
    pub contested: usize,
    /// How full the maps are that the agent fills.
    pub usage: Usage,
    /// How many services are not in the maps as they should be.
    pub unwritten: usize,
    /// Services without an endpoint where their policy wants one.
    pub stranded: PerFamily<Stranded>,
}

#[derive(Debug)]
enum Stage {
    /// The sources have not delivered all their lists.
    Listing,
    /// These services are to stay; others that the maps hold may be leftovers.
    Pruning(BTreeSet<ServiceKey>),
    /// The maps hold nothing but what was planned.
    Steady,
}

impl<M: Maps + ReadBack> Reconciler<M> {
    /// Starts from what the maps hold, so that ids survive a restart (I5).
    pub fn restore(planner: Planner, maps: M) -> Result<Self, MapError> {
        let tables = Tables::restore(&maps.snapshot()?, maps.capacities());
        let (pending, stage) = (BTreeMap::new(), Stage::Listing);
        let (surroundings, told, progress) = (None, Vec::new(), Progress::default());
        Ok(Self {
            planner,
            tables,
            maps,
            pending,
            surroundings,
            stage,
            told,
            progress,
            full: BTreeSet::new(),
            failures: 0,
        })
    }

    /// Goes on with other maps, which hold the same and have no less room.
    pub fn replace_maps(&mut self, maps: M) {
        self.tables.resize(maps.capacities());
        self.maps = maps;
    }
}

impl<M: Maps + ReadBack> Reconciler<M> {
    /// Reads the maps back and compares them with what was written; the next pass repairs what
    /// differs (I6). Says nothing while the maps are not expected to be as planned anyway.
    pub fn compare(&mut self) -> Result<Drift, MapError> {
        if !matches!(self.stage, Stage::Steady) {
            return Ok(Drift::new());
        }
        let drift = self.tables.compare(self.maps.snapshot()?);
        if !drift.is_empty() {
            self.planner.forget_surroundings();
            self.plan_all();
        }
        Ok(drift)
    }
}

impl<M: Maps> Reconciler<M> {
    /// Where events and addresses go in.
    pub fn planner(&mut self) -> &mut Planner {
        &mut self.planner
    }

    /// What it writes to.
    #[must_use]
    pub const fn maps(&self) -> &M {
        &self.maps
    }

    /// Writes what changed and what failed before. `now` is monotonic time since any fixed moment.
    ///
    /// Returns how long to wait before the next try, if something is left to do.
    pub fn pass(&mut self, now: Duration) -> Option<Duration> {
        let is_synced = self.planner.is_synced();
        if is_synced {
            self.plan();
        }
        // Also before: what is wrong may be why a list does not come.
        for rejection in self.planner.take_rejections() {
            tracing::warn!("{rejection}");
            self.told.push(rejection);
        }
        if !is_synced {
            return None;
        }
        self.take_in_surroundings();
        self.full.clear();
        let is_around = self.surround(Tables::apply_surroundings);
        self.write(now);
        if self.surround(Tables::apply_service_cidrs) && is_around {
            self.surroundings = None;
        }
        self.prune(now);
        self.progress.settle(self.pending.keys());
        self.pause()
    }

    /// How many entries of each kind there will be when all is written that waits; `None` before every
    /// source has delivered.
    pub fn demand(&mut self) -> Option<Capacities> {
        if !self.planner.is_synced() {
            return None;
        }
        self.plan();
        self.take_in_surroundings();
        let plans = self.pending.iter().map(|(key, pending)| (key, pending.want.as_ref()));
        let around = self.surroundings.as_ref().map(|pending| &pending.want);
        Some(self.tables.demand(plans, around, &self.full))
    }

    /// Whether something of `family` that could be in the maps is not there. What does not fit, and
    /// what nobody has told yet, could not.
    #[must_use]
    pub fn is_behind(&self, family: Family) -> bool {
        let waits =
            |key: &ServiceKey, pending: &Pending<_>| key.family == family && !pending.is_too_large;
        self.pending.iter().any(|(key, pending)| waits(key, pending))
            || self.surroundings.as_ref().is_some_and(|pending| !pending.is_too_large)
            || matches!(self.stage, Stage::Pruning(_))
    }

    /// When those changes of endpoints were triggered, as far as the API says so, that have come into
    /// the maps since the last call.
    pub fn take_programmed(&mut self) -> Vec<(Family, Timestamp)> {
        self.progress.take_programmed()
    }

    /// These changes are to be written. Told apart from the planner's, so that metrics may count them.
    pub fn expect(&mut self, triggers: Triggers) {
        self.progress.expect(triggers);
    }

    /// Whether some backend has stopped serving, or has gone, since the last call.
    pub fn take_stopped(&mut self) -> bool {
        self.tables.take_stopped()
    }

    /// What the log has been told of objects of the API, for others who want to tell it too.
    pub fn take_told(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.told)
    }

    /// What there is now, in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut rejected = BTreeMap::new();
        for subject in self.planner.rejected() {
            *rejected.entry(subject.word()).or_default() += 1;
        }
        Figures {
            rejected,
            contested: self.planner.contested(),
            usage: self.tables.usage(),
            unwritten: self.pending.len(),
            stranded: self.progress.stranded(),
        }
    }

    fn plan(&mut self) {
        if matches!(self.stage, Stage::Listing) {
            let count = self.plan_all();
            tracing::info!(services = count, "every source has delivered");
        }
        for (key, plan) in self.planner.changes() {
            self.want(key, plan);
        }
    }

    /// Plans everything anew, to be compared and pruned; tells how many services there are.
    fn plan_all(&mut self) -> usize {
        let all = self.planner.all();
        let count = all.len();
        self.stage = Stage::Pruning(all.keys().cloned().collect());
        for (key, plan) in all {
            self.want(key, Some(plan));
        }
        count
    }

    fn want(&mut self, key: ServiceKey, plan: Option<ServicePlan>) {
        if let Stage::Pruning(keep) = &mut self.stage {
            if plan.is_some() {
                keep.insert(key.clone());
            } else {
                keep.remove(&key);
            }
        }
        self.progress.note_plan(&key, plan.as_ref());
        let told = self.pending.remove(&key).and_then(|pending| pending.told);
        if !plan.as_ref().is_some_and(|plan| self.would_cut_off(&key, plan)) {
            self.pending.insert(key, Pending { want: plan, told, is_too_large: false });
        }
    }

    /// Whether nobody could tell us of new endpoints of the API server after `plan`. The store
    /// keeps the last ones it knew; those of an earlier run only the maps know.
    fn would_cut_off(&self, key: &ServiceKey, plan: &ServicePlan) -> bool {
        is_api_server(&key.name.service) && !plan.usable && self.tables.has_endpoints(key)
    }

    fn take_in_surroundings(&mut self) {
        if let Some(want) = self.planner.take_surroundings() {
            let told = self.surroundings.take().and_then(|pending| pending.told);
            self.surroundings = Some(Pending { want, told, is_too_large: false });
        }
    }

    /// Makes the maps hold the `part` that is wanted of the surroundings; tells whether they do.
    fn surround(
        &mut self,
        part: fn(&mut Tables, &mut M, &Surroundings) -> Result<(), MapError>,
    ) -> bool {
        let Self { tables, maps, surroundings, full, .. } = self;
        let Some(pending) = surroundings else { return true };
        let result = part(tables, maps, &pending.want);
        full.extend(result.as_ref().err().and_then(MapError::setting));
        if let Some(text) = result.as_ref().err().and_then(|error| pending.news(error)) {
            tracing::warn!("clients or service CIDRs cannot be written, trying again: {text}");
        }
        result.is_ok()
    }

    fn write(&mut self, now: Duration) {
        let Self { tables, maps, pending, told, full, .. } = self;
        let batch = pending.iter().map(|(key, pending)| (key, pending.want.as_ref()));
        let failed = tables.apply_all(maps, batch, now);
        full.extend(failed.values().filter_map(MapError::setting));
        pending.retain(|key, pending| {
            let Some(error) = failed.get(key) else { return false };
            if let Some(text) = pending.news(error) {
                tracing::warn!(service = %key.name, family = ?key.family, "cannot be written, trying again: {text}");
                told.extend(no_room(key, error));
            }
            true
        });
    }

    fn prune(&mut self, now: Duration) {
        let Stage::Pruning(keep) = &self.stage else { return };
        match self.tables.prune(&mut self.maps, keep, now) {
            Ok(()) => self.stage = Stage::Steady,
            Err(error) => tracing::warn!(%error, "cannot remove leftovers, trying again"),
        }
    }

    fn pause(&mut self) -> Option<Duration> {
        let is_done = self.pending.is_empty() && self.surroundings.is_none();
        if is_done && matches!(self.stage, Stage::Steady) {
            self.failures = 0;
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        Some(pause.min(LONGEST_PAUSE))
    }
}

impl<T> Pending<T> {
    /// Takes `error` in. What to tell people about it, unless they were told already.
    fn news(&mut self, error: &MapError) -> Option<String> {
        let text = error.to_string();
        self.is_too_large = matches!(error, MapError::Full { .. });
        let is_news = self.told.as_ref() != Some(&text);
        self.told = Some(text.clone());
        is_news.then_some(text)
    }
}

/// What people who look at the Service should see as well, if `error` is that a map is full.
fn no_room(key: &ServiceKey, error: &MapError) -> Option<Rejection> {
    matches!(error, MapError::Full { .. }).then(|| Rejection {
        object: Subject::Object(Kind::Service, key.name.service.clone()),
        file: None,
        problem: Problem::MapFull,
        reason: format!("{} stays as it was: {error}", key.name),
    })
}
