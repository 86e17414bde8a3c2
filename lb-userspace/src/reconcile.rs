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

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::maps::{MapError, Maps, ReadBack};
use crate::plan::{Planner, ServiceKey, ServicePlan, Surroundings};
use crate::store::is_api_server;
use crate::tables::Tables;

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
    /// Passes in a row after which something was left to do.
    failures: u32,
}

/// A plan that is not in the maps yet.
#[derive(Debug)]
struct Pending<T> {
    want: T,
    /// What people were told about it.
    told: Option<String>,
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
        Ok(Self { planner, tables, maps, pending, surroundings: None, stage, failures: 0 })
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
        if !self.planner.is_synced() {
            return None;
        }
        self.plan();
        for rejection in self.planner.take_rejections() {
            tracing::warn!("{rejection}");
        }
        self.surround();
        self.write(now);
        self.prune(now);
        self.pause()
    }

    fn plan(&mut self) {
        if matches!(self.stage, Stage::Listing) {
            let all = self.planner.all();
            tracing::info!(services = all.len(), "every source has delivered");
            self.stage = Stage::Pruning(all.keys().cloned().collect());
            for (key, plan) in all {
                self.want(key, Some(plan));
            }
        }
        for (key, plan) in self.planner.changes() {
            self.want(key, plan);
        }
    }

    fn want(&mut self, key: ServiceKey, plan: Option<ServicePlan>) {
        if let Stage::Pruning(keep) = &mut self.stage {
            if plan.is_some() {
                keep.insert(key.clone());
            } else {
                keep.remove(&key);
            }
        }
        let told = self.pending.remove(&key).and_then(|pending| pending.told);
        if !plan.as_ref().is_some_and(|plan| self.would_cut_off(&key, plan)) {
            self.pending.insert(key, Pending { want: plan, told });
        }
    }

    /// Whether nobody could tell us of new endpoints of the API server after `plan`. The store
    /// keeps the last ones it knew; those of an earlier run only the maps know.
    fn would_cut_off(&self, key: &ServiceKey, plan: &ServicePlan) -> bool {
        is_api_server(&key.name.service) && !plan.usable && self.tables.has_endpoints(key)
    }

    fn surround(&mut self) {
        if let Some(want) = self.planner.take_surroundings() {
            let told = self.surroundings.take().and_then(|pending| pending.told);
            self.surroundings = Some(Pending { want, told });
        }
        let Self { tables, maps, surroundings, .. } = self;
        surroundings.take_if(|pending| {
            let result = tables.apply_surroundings(maps, &pending.want);
            if let Some(text) = result.as_ref().err().and_then(|error| pending.news(error)) {
                tracing::warn!("clients or service CIDRs cannot be written, trying again: {text}");
            }
            result.is_ok()
        });
    }

    fn write(&mut self, now: Duration) {
        let Self { tables, maps, pending, .. } = self;
        pending.retain(|key, pending| {
            let result = tables.apply(maps, key, pending.want.as_ref(), now);
            if let Some(text) = result.as_ref().err().and_then(|error| pending.news(error)) {
                tracing::warn!(service = %key.name, family = ?key.family, "cannot be written, trying again: {text}");
            }
            result.is_err()
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
    /// What to tell people about `error`, unless they were told already.
    fn news(&mut self, error: &MapError) -> Option<String> {
        let text = error.to_string();
        let is_news = self.told.as_ref() != Some(&text);
        self.told = Some(text.clone());
        is_news.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use lb_common::net::Family;

    use super::*;
    use crate::maps::fake::{Fake, Flaky};
    use crate::model::{
        Affinity, Endpoint, NamespacedName, Outcome, Protocol, Service, ServicePort, Slice,
        SlicePort, TrafficPolicy,
    };
    use crate::plan::Settings;
    use crate::store::{Event, Update};

    fn service(name: &str, ip: &str) -> (NamespacedName, Outcome<Service>) {
        let name = NamespacedName::new("default", name);
        let service = Service {
            name: name.clone(),
            created_s: 0,
            cluster_ips: vec![ip.parse().unwrap()],
            external_ips: BTreeSet::new(),
            load_balancer_ips: BTreeSet::new(),
            source_ranges: BTreeSet::new(),
            health_check_node_port: None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity: Affinity::None,
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
            }],
        };
        (name, Outcome::Usable(service, vec![]))
    }

    fn slice(service: &str, ip: &str) -> (NamespacedName, Outcome<Slice>) {
        let name = NamespacedName::new("default", service);
        let endpoint = Endpoint {
            address: ip.parse().unwrap(),
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            zone_hints: BTreeSet::new(),
            node_hints: BTreeSet::new(),
        };
        let slice = Slice {
            name: name.clone(),
            service: name.clone(),
            family: Family::V4,
            ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
            endpoints: vec![endpoint],
        };
        (name, Outcome::Usable(slice, vec![]))
    }

    fn reconciler<M: Maps + ReadBack>(maps: M) -> Reconciler<M> {
        let planner = Planner::new("node", Settings::default());
        Reconciler::restore(planner, maps).unwrap()
    }

    /// The services named are all there are, each with one endpoint.
    fn list<M: Maps>(reconciler: &mut Reconciler<M>, names: &[&str]) {
        let ip = |third: usize, n: usize| format!("10.{third}.0.{}", n + 1);
        let services = names.iter().enumerate().map(|(n, name)| service(name, &ip(96, n)));
        let slices = names.iter().enumerate().map(|(n, name)| slice(name, &ip(1, n)));
        reconciler.planner().apply(Event::Services(Update::Replace(services.collect())));
        reconciler.planner().apply(Event::Slices(Update::Replace(slices.collect())));
        reconciler.planner().apply(Event::Nodes(Update::Replace(vec![])));
        reconciler.planner().apply(Event::ServiceCidrs(Update::Replace(vec![])));
    }

    fn frontends(maps: &impl ReadBack) -> Vec<IpAddr> {
        maps.snapshot().unwrap().frontends.keys().map(|address| address.ip).collect()
    }

    fn backends(maps: &impl ReadBack) -> Vec<SocketAddr> {
        maps.snapshot().unwrap().backends.values().map(|entry| entry.address).collect()
    }

    /// Passes until nothing is left to do, as the agent does; returns how many it took.
    fn settle<M: Maps>(reconciler: &mut Reconciler<M>) -> usize {
        let mut now = Duration::ZERO;
        for passes in 1..1000 {
            match reconciler.pass(now) {
                None => return passes,
                Some(pause) => now += pause,
            }
        }
        panic!("it does not converge: {:?}", reconciler.pending);
    }

    #[test]
    fn nothing_is_written_before_every_source_has_delivered() {
        let mut reconciler = reconciler(Fake::default());
        reconciler
            .planner()
            .apply(Event::Services(Update::Replace(vec![service("a", "10.96.0.1")])));
        assert_eq!(reconciler.pass(Duration::ZERO), None);
        assert!(reconciler.maps.take_log().is_empty());
        list(&mut reconciler, &["a"]);
        assert_eq!(reconciler.pass(Duration::ZERO), None);
        assert_eq!(frontends(&reconciler.maps).len(), 1);
        assert_eq!(backends(&reconciler.maps), ["10.1.0.1:8080".parse().unwrap()]);
    }

    #[test]
    fn leftovers_of_an_earlier_run_go_once_it_is_known_that_nobody_wants_them() {
        let mut earlier = reconciler(Fake::default());
        list(&mut earlier, &["a", "b", "c"]);
        settle(&mut earlier);
        let mut later = reconciler(earlier.maps);
        assert_eq!(later.pass(Duration::ZERO), None);
        assert_eq!(frontends(&later.maps).len(), 3);
        list(&mut later, &["a"]);
        settle(&mut later);
        assert_eq!(frontends(&later.maps), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_change_after_the_first_lists_is_written() {
        let mut reconciler = reconciler(Fake::default());
        list(&mut reconciler, &["a", "b"]);
        settle(&mut reconciler);
        let name = NamespacedName::new("default", "a");
        reconciler.planner().apply(Event::Services(Update::Delete(name)));
        assert_eq!(reconciler.pass(Duration::ZERO), None);
        assert_eq!(frontends(&reconciler.maps), ["10.96.0.2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn maps_of_which_every_third_write_fails_end_up_the_same() {
        let names = ["a", "b", "c", "d"];
        let mut sound = reconciler(Fake::default());
        list(&mut sound, &names);
        assert_eq!(settle(&mut sound), 1);
        let mut flaky = reconciler(Flaky::new(Fake::default(), 3));
        list(&mut flaky, &names);
        assert!(settle(&mut flaky) > 1);
        assert_eq!(frontends(&flaky.maps), frontends(&sound.maps));
        list(&mut flaky, &["a"]);
        settle(&mut flaky);
        assert_eq!(frontends(&flaky.maps).len(), 1);
        assert_eq!(backends(&flaky.maps).len(), 1);
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_start_anew_after_success() {
        let mut reconciler = reconciler(Flaky::new(Fake::default(), 1));
        list(&mut reconciler, &["a"]);
        let pauses: Vec<_> = (0..12).map_while(|_| reconciler.pass(Duration::ZERO)).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
    }
}
