//! Several services at once: what comes before what goes.
//!
//! A service that fails does not hold up the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Tables;
use crate::maps::{MapError, Maps};
use crate::plan::{ServiceKey, ServicePlan};

impl Tables {
    /// Does to each service of `batch` what [`Tables::apply`] does; returns those that failed.
    ///
    /// First all that stay get what they want, then their addresses are shown, then they lose what
    /// they do not want any more, then the others go. What found no room until then is tried once
    /// more.
    pub fn apply_all<'a, M: Maps>(
        &mut self,
        maps: &mut M,
        batch: impl IntoIterator<Item = (&'a ServiceKey, Option<&'a ServicePlan>)>,
        now: Duration,
    ) -> BTreeMap<ServiceKey, MapError> {
        let mut failed = Failed::default();
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for (key, want) in batch {
            match want {
                Some(plan) => stay.push((key, plan)),
                None => go.push(key),
            }
        }
        for &(key, plan) in &stay {
            failed.note(key, self.place(maps, key, plan, now));
        }
        for &(key, plan) in &stay {
            if !failed.0.contains_key(key) {
                failed.note(key, self.show(maps, key, plan));
            }
        }
        for &(key, plan) in &stay {
            if !failed.0.contains_key(key) {
                failed.note(key, self.trim(maps, key, plan, now));
            }
        }
        for key in go {
            failed.note(key, self.remove(maps, key, now));
        }
        for (key, plan) in stay {
            if failed.found_no_room(key) {
                failed.note(key, self.apply(maps, key, Some(plan), now));
            }
        }
        failed.0
    }

    /// Makes the maps tell what is at the addresses of `plan`, which must have been placed.
    pub(super) fn show<M: Maps>(
        &mut self,
        maps: &mut M,
        key: &ServiceKey,
        plan: &ServicePlan,
    ) -> Result<(), MapError> {
        let frontends = &mut self.frontends[key.family];
        plan.frontends.keys().try_for_each(|it| frontends.show(maps, it.ip))
    }
}

#[derive(Debug, Default)]
struct Failed(BTreeMap<ServiceKey, MapError>);

impl Failed {
    /// Only the last result of a service counts.
    fn note(&mut self, key: &ServiceKey, result: Result<(), MapError>) {
        match result {
            Ok(()) => _ = self.0.remove(key),
            Err(error) => _ = self.0.insert(key.clone(), error),
        }
    }

    fn found_no_room(&self, key: &ServiceKey) -> bool {
        matches!(self.0.get(key), Some(MapError::Full { .. }))
    }
}
