//! How the watches of the API server are doing, for people. Nothing is decided by it: while one is
//! away, the last state is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::model::Kind;

/// The watches by the kind of objects they follow; none where no API server is asked. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Watches(BTreeMap<Kind, Arc<Watch>>);

/// One watch. Written by the task that follows it.
#[derive(Debug, Default)]
pub struct Watch {
    is_up: AtomicBool,
    heard_s: AtomicI64,
    lists: AtomicU64,
    failures: AtomicU64,
}

/// What is known of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// The API server has answered, and nothing has failed since.
    pub is_up: bool,
    /// When it said something last, in seconds since 1970; 0 = never.
    pub heard_s: i64,
    /// Full lists it has sent.
    pub lists: u64,
    /// Lists and watches that have failed.
    pub failures: u64,
}

impl Watches {
    /// Those that follow a cluster.
    #[must_use]
    pub fn of_cluster() -> Self {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];
        Self(kinds.into_iter().map(|kind| (kind, Arc::default())).collect())
    }

    /// These, and that of another kind.
    #[must_use]
    pub fn and(mut self, kind: Kind) -> Self {
        self.0.entry(kind).or_default();
        self
    }

    /// The watch of a kind; one that nobody reads if there is none.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Arc<Watch> {
        self.0.get(&kind).cloned().unwrap_or_default()
    }

    /// The watch of the kind that the API calls so in paths.
    #[must_use]
    pub fn of_plural(&self, plural: &str) -> Option<Arc<Watch>> {
        let singular = plural.strip_suffix('s')?;
        self.0.iter().find(|(kind, _)| kind.word() == singular).map(|(_, watch)| Arc::clone(watch))
    }

    /// All of them, as they are.
    pub fn states(&self) -> impl Iterator<Item = (Kind, WatchState)> {
        self.0.iter().map(|(kind, watch)| (*kind, watch.state()))
    }
}

impl Watch {
    /// The API server has said something.
    pub(super) fn heard(&self) {
        self.is_up.store(true, Ordering::Relaxed);
        self.heard_s.store(Timestamp::now().as_second(), Ordering::Relaxed);
    }

    /// It has sent a full list.
    pub(super) fn listed(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }

    /// A list or a watch has failed.
    pub(super) fn failed(&self) {
        self.is_up.store(false, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> WatchState {
        WatchState {
            is_up: self.is_up.load(Ordering::Relaxed),
            heard_s: self.heard_s.load(Ordering::Relaxed),
            lists: self.lists.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_found_by_what_the_api_calls_their_kinds() {
        let watches = Watches::of_cluster();
        for plural in ["services", "endpointslices", "nodes", "servicecidrs"] {
            watches.of_plural(plural).expect(plural).heard();
        }
        assert!(watches.states().all(|(_, state)| state.is_up));
        assert!(watches.of_plural("events").is_none());
        assert!(Watches::default().of_plural("services").is_none());
    }

    #[test]
    fn a_watch_is_up_from_an_answer_to_a_failure() {
        let watch = Watch::default();
        assert!(!watch.state().is_up);
        watch.heard();
        watch.listed();
        assert!(watch.state().is_up && watch.state().heard_s > 0);
        watch.failed();
        let state = watch.state();
        assert_eq!((state.is_up, state.lists, state.failures), (false, 1, 1));
    }
}
