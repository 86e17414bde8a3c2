//! Agents on the node `n1`, and the objects of its cluster.

use std::collections::BTreeMap;

use lb_tests::agent::Agent;
use lb_userspace::maps::{Maps, ReadBack};
use lb_userspace::model::{NamespacedName, Node, Outcome, Service, ServiceCidr, Slice};
use lb_userspace::plan::{Planner, Settings};
use lb_userspace::store::{Event, Update};

/// An agent that finds `maps` and learns of `objects` from the first lists.
pub(crate) fn start<M: Maps + ReadBack>(maps: M, objects: &Objects) -> Agent<M> {
    let mut agent = Agent::start(maps, Planner::new("n1", Settings::default()));
    agent.tell(&objects.lists());
    agent
}

/// Forgets everything but the maps, and learns of `objects` from the first lists.
pub(crate) fn restart<M: Maps + ReadBack + Clone>(agent: &mut Agent<M>, objects: &Objects) {
    *agent = start(agent.maps().clone(), objects);
}

/// All objects there are in the cluster.
#[derive(Clone, Default)]
pub(crate) struct Objects {
    services: Known<Service>,
    slices: Known<Slice>,
    nodes: Known<Node>,
    service_cidrs: Known<ServiceCidr>,
}

type Known<T> = BTreeMap<NamespacedName, Outcome<T>>;

impl Objects {
    /// Follows `changes`.
    pub(crate) fn take(&mut self, changes: &[Event]) {
        for event in changes {
            match event {
                Event::Services(update) => take(&mut self.services, update),
                Event::Slices(update) => take(&mut self.slices, update),
                Event::Nodes(update) => take(&mut self.nodes, update),
                Event::ServiceCidrs(update) => take(&mut self.service_cidrs, update),
                Event::Pods(_) | Event::File(..) | Event::Origins(_) => {}
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
