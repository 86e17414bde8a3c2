//! Runs steps against maps, with and without faults and restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::fake::{Fake, Flaky};
use lb_userspace::maps::{Capacities, MapError, Maps, ReadBack, Write};
use lb_userspace::plan::{ServiceKey, ServicePlan, Surroundings};
use lb_userspace::tables::{GRACE, Tables};

use crate::plans::Plan;

/// One thing that happens to the maps.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A service is planned, or (`None`) gone.
    Service(ServiceKey, Option<ServicePlan>),
    /// Several at once.
    Services(Vec<(ServiceKey, Option<ServicePlan>)>),
    /// What is around the services is known anew.
    Surroundings(Surroundings),
    /// All that is to be kept is known.
    Prune(BTreeSet<ServiceKey>),
}

/// `key` is planned as `plan`.
pub(crate) fn put(key: ServiceKey, plan: Plan) -> Step {
    Step::Service(key, Some(plan.0))
}

/// `key` is gone.
pub(crate) fn gone(key: ServiceKey) -> Step {
    Step::Service(key, None)
}

/// Maps of type `M`, what is known of them, and the time.
pub(crate) struct World<M> {
    pub(crate) maps: M,
    pub(crate) tables: Tables,
    pub(crate) now: Duration,
}

impl World<Fake> {
    /// Empty maps of default capacities, without faults.
    pub(crate) fn new() -> Self {
        Self::with(Capacities::default())
    }

    /// Empty maps of these `capacities`, without faults.
    pub(crate) fn with(capacities: Capacities) -> Self {
        Self::over(Fake::new(capacities))
    }

    /// The writes that `step` makes.
    #[track_caller]
    pub(crate) fn writes(&mut self, step: &Step) -> Vec<Write> {
        self.maps.take_log();
        self.step(step).expect("maps without faults");
        self.maps.take_log()
    }
}

impl World<Flaky<Fake>> {
    /// Empty maps of default capacities, of which every `every`th write fails.
    pub(crate) fn flaky(every: usize) -> Self {
        Self::over(Flaky::new(Fake::default(), every))
    }
}

impl<M: Maps + ReadBack> World<M> {
    /// These maps, of which nothing is known.
    pub(crate) fn over(maps: M) -> Self {
        Self { tables: Tables::new(maps.capacities()), maps, now: Duration::ZERO }
    }

    /// Lets so much time pass that everything that is free can be used again, then does `step`.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), MapError> {
        self.now += GRACE;
        let Self { maps, tables, now } = self;
        match step {
            Step::Service(key, want) => tables.apply(maps, key, want.as_ref(), *now),
            Step::Services(batch) => {
                let batch = batch.iter().map(|(key, want)| (key, want.as_ref()));
                let failed = tables.apply_all(maps, batch, *now);
                failed.into_values().next().map_or(Ok(()), Err)
            }
            Step::Surroundings(want) => {
                let around = tables.apply_surroundings(maps, want);
                around.and(tables.apply_service_cidrs(maps, want))
            }
            Step::Prune(keep) => tables.prune(maps, keep, *now),
        }
    }

    /// Does `step` until it succeeds.
    #[track_caller]
    pub(crate) fn insist(&mut self, step: &Step) {
        let converges = (0..1000).any(|_| self.step(step).is_ok());
        assert!(converges, "never succeeds: {step:?}");
    }

    /// Forgets everything but the maps.
    pub(crate) fn restart(&mut self) {
        let snapshot = self.maps.snapshot().expect("maps that can be read");
        self.tables = Tables::restore(&snapshot, self.maps.capacities());
    }

    /// What the maps hold.
    pub(crate) fn dump(&self, ids: Ids) -> String {
        Dump::new(&self.maps.snapshot().expect("maps that can be read")).text(ids)
    }
}
