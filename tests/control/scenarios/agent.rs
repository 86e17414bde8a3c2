//! The agent without sources, network and clock: what it is told goes to maps in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::{Maps, ReadBack};
use lb_userspace::model::{NamespacedName, Node, Outcome, Service, ServiceCidr, Slice};
use lb_userspace::plan::{Planner, Settings};
use lb_userspace::reconcile::Reconciler;
use lb_userspace::store::{Event, Update};
use lb_userspace::tables::GRACE;

/// An agent on the node `n1`, and the time.
pub(super) struct Agent<M> {
    reconciler: Reconciler<M>,
    now: Duration,
}

impl<M: Maps + ReadBack + Clone> Agent<M> {
    /// Over `maps`, in a cluster without objects.
    pub(super) fn new(maps: M) -> Self {
        Self { reconciler: start(maps, &Objects::default()), now: Duration::ZERO }
    }

    /// Forgets everything but the maps, and learns of `objects` from the first lists.
    pub(super) fn restart(&mut self, objects: &Objects) {
        self.reconciler = start(self.reconciler.maps().clone(), objects);
    }

    /// Changes that come in one burst.
    pub(super) fn tell(&mut self, changes: &[Event]) {
        for event in changes {
            self.reconciler.planner().apply(event.clone());
        }
    }

    /// What the next pass will say cannot be used.
    pub(super) fn rejections(&mut self) -> Vec<String> {
        let mut planner = self.reconciler.planner().clone();
        planner.all();
        planner.take_rejections().iter().map(ToString::to_string).collect()
    }

    /// Lets so much time pass that everything that is free can be used again, then passes until
    /// nothing is left to do.
    pub(super) fn settle(&mut self) {
        self.now += GRACE;
        for _ in 0..1000 {
            match self.reconciler.pass(self.now) {
                None => return,
                Some(pause) => self.now += pause,
            }
        }
        panic!("it never converges: {}", self.dump(Ids::Shown));
    }

    /// What the maps hold.
    pub(super) fn dump(&self, ids: Ids) -> String {
        Dump::new(&self.reconciler.maps().snapshot().expect("maps that can be read")).text(ids)
    }
}

fn start<M: Maps + ReadBack>(maps: M, objects: &Objects) -> Reconciler<M> {
    let planner = Planner::new("n1", Settings::default());
    let mut reconciler = Reconciler::restore(planner, maps).expect("maps that can be read");
    for list in objects.lists() {
        reconciler.planner().apply(list);
    }
    reconciler
}

/// All objects there are in the cluster.
#[derive(Clone, Default)]
pub(super) struct Objects {
    services: Known<Service>,
    slices: Known<Slice>,
    nodes: Known<Node>,
    service_cidrs: Known<ServiceCidr>,
}

type Known<T> = BTreeMap<NamespacedName, Outcome<T>>;

impl Objects {
    /// Follows `changes`.
    pub(super) fn take(&mut self, changes: &[Event]) {
        for event in changes {
            match event {
                Event::Services(update) => take(&mut self.services, update),
                Event::Slices(update) => take(&mut self.slices, update),
                Event::Nodes(update) => take(&mut self.nodes, update),
                Event::ServiceCidrs(update) => take(&mut self.service_cidrs, update),
                Event::File(..) | Event::Origins(_) => {}
            }
        }
    }

    fn lists(&self) -> [Event; 4] {
        [
            Event::Services(list(&self.services)),
            Event::Slices(list(&self.slices)),
            Event::Nodes(list(&self.nodes)),
            Event::ServiceCidrs(list(&self.service_cidrs)),
        ]
    }
}

fn take<T: Clone>(known: &mut Known<T>, update: &Update<T>) {
    match update {
        Update::Apply(name, outcome) => drop(known.insert(name.clone(), outcome.clone())),
        Update::Delete(name) => drop(known.remove(name)),
        Update::Replace(all) => *known = all.iter().cloned().collect(),
    }
}

fn list<T: Clone>(known: &Known<T>) -> Update<T> {
    Update::Replace(known.clone().into_iter().collect())
}
