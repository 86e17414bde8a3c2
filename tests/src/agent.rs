//! The agent's control plane alone: no sources, no network, no clock. Events go in, and maps of any
//! kind come to hold what was planned.

use std::fmt;
use std::time::Duration;

use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::{Maps, ReadBack, Snapshot};
use lb_userspace::plan::Planner;
use lb_userspace::reconcile::Reconciler;
use lb_userspace::store::Event;
use lb_userspace::tables::GRACE;

/// An agent, and the time.
pub struct Agent<M> {
    reconciler: Reconciler<M>,
    now: Duration,
}

impl<M> fmt::Debug for Agent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("now", &self.now).finish_non_exhaustive()
    }
}

impl<M: Maps + ReadBack> Agent<M> {
    /// An agent that finds `maps`, and knows what `planner` knows.
    #[must_use]
    pub fn start(maps: M, planner: Planner) -> Self {
        let reconciler = Reconciler::restore(planner, maps).expect("maps that can be read");
        Self { reconciler, now: Duration::ZERO }
    }

    /// Changes that come in one burst.
    pub fn tell(&mut self, changes: &[Event]) {
        for event in changes {
            self.reconciler.planner().apply(event.clone());
        }
    }

    /// What the next pass will say cannot be used.
    #[must_use]
    pub fn rejections(&mut self) -> Vec<String> {
        let mut planner = self.reconciler.planner().clone();
        planner.all();
        planner.take_rejections().iter().map(ToString::to_string).collect()
    }

    /// Lets so much time pass that everything that is free can be used again, then passes until
    /// nothing is left to do.
    pub fn settle(&mut self) {
        self.now += GRACE;
        for _ in 0..1000 {
            match self.reconciler.pass(self.now) {
                None => return,
                Some(pause) => self.now += pause,
            }
        }
        panic!("it never converges: {}", self.dump(Ids::Shown));
    }

    /// The same, until it is done or its writing fails for the first time.
    pub fn settle_until(&mut self, has_failed: impl Fn(&M) -> bool) {
        self.now += GRACE;
        while !has_failed(self.maps()) {
            match self.reconciler.pass(self.now) {
                None => return,
                Some(pause) => self.now += pause,
            }
        }
    }

    /// The maps.
    #[must_use]
    pub fn maps(&self) -> &M {
        self.reconciler.maps()
    }

    /// What the maps hold.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.maps().snapshot().expect("maps that can be read")
    }

    /// What the maps hold, as text.
    #[must_use]
    pub fn dump(&self, ids: Ids) -> String {
        Dump::new(&self.snapshot()).text(ids)
    }
}
