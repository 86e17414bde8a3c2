//! How far the maps are behind the cluster, and what policies leave without endpoints: for people.

use std::collections::BTreeMap;
use std::mem;

use jiff::Timestamp;
use lb_common::net::Family;

use crate::maps::PerFamily;
use crate::plan::{ServiceKey, ServicePlan};
use crate::store::Triggers;

/// What has been told of changes and was not written yet.
#[derive(Debug, Default)]
pub(super) struct Progress {
    triggers: Triggers,
    /// When those changes were triggered that have been written since they were last taken.
    programmed: Vec<(Family, Timestamp)>,
    stranded: BTreeMap<ServiceKey, Stranded>,
}

/// Services whose policy keeps traffic on this node, which has no endpoint of them while others have:
/// ports of Services, by who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stranded {
    /// Traffic to ClusterIPs, under `internalTrafficPolicy: Local`.
    pub internal: usize,
    /// Traffic from outside, under `externalTrafficPolicy: Local`.
    pub external: usize,
}

impl Progress {
    /// Changes of these endpoints are to be written.
    pub(super) fn expect(&mut self, triggers: Triggers) {
        for (key, mut times) in triggers {
            self.triggers.entry(key).or_default().append(&mut times);
        }
    }

    /// All is written but what `is_pending`.
    pub(super) fn settle<'a>(&mut self, pending: impl Iterator<Item = &'a ServiceKey>) {
        let mut waiting = Triggers::new();
        for key in pending {
            let concerned = (key.name.service.clone(), key.family);
            if let Some(times) = self.triggers.remove(&concerned) {
                waiting.insert(concerned, times);
            }
        }
        for ((_, family), times) in mem::replace(&mut self.triggers, waiting) {
            self.programmed.extend(times.into_iter().map(|time| (family, time)));
        }
    }

    pub(super) fn take_programmed(&mut self) -> Vec<(Family, Timestamp)> {
        mem::take(&mut self.programmed)
    }

    /// This is wanted of a service now.
    pub(super) fn note_plan(&mut self, key: &ServiceKey, plan: Option<&ServicePlan>) {
        match plan.map(Stranded::of).filter(|it| *it != Stranded::default()) {
            Some(stranded) => self.stranded.insert(key.clone(), stranded),
            None => self.stranded.remove(key),
        };
    }

    pub(super) fn stranded(&self) -> PerFamily<Stranded> {
        let mut sums = PerFamily::<Stranded>::default();
        for (key, stranded) in &self.stranded {
            sums[key.family].internal += stranded.internal;
            sums[key.family].external += stranded.external;
        }
        sums
    }
}

impl Stranded {
    fn of(plan: &ServicePlan) -> Self {
        if !plan.usable || !plan.local.is_empty() {
            return Self::default();
        }
        let local = || plan.frontends.values().filter(|used| used.local);
        Self {
            internal: usize::from(local().any(|used| !used.external)),
            external: usize::from(local().any(|used| used.external)),
        }
    }
}
