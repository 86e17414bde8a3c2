//! kube-proxy's metrics under kube-proxy's names, for the dashboards and alerts that exist
//! (kube-proxy-behaviour §6): those that do not depend on its mode.
//!
//! kube-proxy has an instance for each family; here one pass writes both, so both are told of it.
//! Where kube-proxy cleans conntrack up, the agent walks through its flows.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use lb_common::net::Family as AddressFamily;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use super::{Label, Seconds, family_word, number};
use crate::flows::Walk;
use crate::maps::PerFamily;
use crate::reconcile::Stranded;
use crate::serve::health::Answers;
use crate::store::Changes;

type Durations = Family<Label, Histogram, fn() -> Histogram>;

/// What kube-proxy shows. Clones show the same.
#[derive(Clone, Debug)]
pub struct KubeProxy {
    sync_duration: Durations,
    last_sync: Family<Label, Seconds>,
    last_queued: Family<Label, Seconds>,
    programming: Durations,
    slices_pending: Gauge,
    slices: Counter,
    services_pending: Gauge,
    services: Counter,
    stranded: Family<[(&'static str, &'static str); 2], Gauge>,
    healthz: Family<Label, Counter>,
    livez: Family<Label, Counter>,
    walk_duration: Durations,
    flows_removed: Family<Label, Counter>,
}

impl Default for KubeProxy {
    /// All zero, and all there: a series that comes later would hide its first step.
    fn default() -> Self {
        let new = Self {
            sync_duration: Durations::new_with_constructor(sync_buckets),
            last_sync: Family::default(),
            last_queued: Family::default(),
            programming: Durations::new_with_constructor(programming_buckets),
            slices_pending: Gauge::default(),
            slices: Counter::default(),
            services_pending: Gauge::default(),
            services: Counter::default(),
            stranded: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
            walk_duration: Durations::new_with_constructor(sync_buckets),
            flows_removed: Family::default(),
        };
        for family in FAMILIES.map(of) {
            for durations in [&new.sync_duration, &new.programming, &new.walk_duration] {
                drop(durations.get_or_create(&family));
            }
            for time in [&new.last_sync, &new.last_queued] {
                drop(time.get_or_create(&family));
            }
            drop(new.flows_removed.get_or_create(&family));
        }
        for code in ["200", "503"] {
            drop(new.healthz.get_or_create(&[("code", code)]));
            drop(new.livez.get_or_create(&[("code", code)]));
        }
        new.stranded(&PerFamily::default());
        new
    }
}

const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

impl KubeProxy {
    /// The cluster has changed so.
    pub fn changed(&self, changes: &Changes) {
        for (total, pending, count) in [
            (&self.services, &self.services_pending, changes.services),
            (&self.slices, &self.slices_pending, changes.slices),
        ] {
            total.inc_by(count);
            pending.inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Something is to be written.
    pub fn queued(&self, time: Timestamp) {
        for family in FAMILIES {
            self.last_queued.get_or_create(&of(family)).set(seconds(time));
        }
    }

    /// A pass has taken all changes in.
    pub fn synced(&self, took: Duration) {
        for family in FAMILIES {
            self.sync_duration.get_or_create(&of(family)).observe(took.as_secs_f64());
        }
        self.services_pending.set(0);
        self.slices_pending.set(0);
    }

    /// Everything there is of a family has been written.
    pub fn updated(&self, family: AddressFamily, time: Timestamp) {
        self.last_sync.get_or_create(&of(family)).set(seconds(time));
    }

    /// A change of endpoints that was triggered so long ago is written.
    pub fn programmed(&self, family: AddressFamily, ago: Duration) {
        self.programming.get_or_create(&of(family)).observe(ago.as_secs_f64());
    }

    /// So many services have no endpoint where their policy wants one.
    pub fn stranded(&self, counts: &PerFamily<Stranded>) {
        for (family, stranded) in counts.iter() {
            for (policy, count) in
                [("internal", stranded.internal), ("external", stranded.external)]
            {
                let labels = [("traffic_policy", policy), ("ip_family", family_word(family))];
                self.stranded.get_or_create(&labels).set(number(count));
            }
        }
    }

    /// The agent has walked through the flows of a family.
    pub fn walked(&self, walk: &Walk) {
        let label = of(walk.family);
        self.walk_duration.get_or_create(&label).observe(walk.duration.as_secs_f64());
        self.flows_removed.get_or_create(&label).inc_by(walk.tally.removed);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_syncs(registry);
        let name = "network_programming_duration_seconds";
        let help = "From a change of endpoints, as its slice says, to the maps";
        registry.register(name, help, self.programming.clone());
        let help = "Requests to /healthz by their answer";
        registry.register("proxy_healthz", help, self.healthz.clone());
        let help = "Requests to /livez by their answer";
        registry.register("proxy_livez", help, self.livez.clone());
        let help = "Duration of a walk through the flows, pauses left out";
        let name = "conntrack_reconciler_sync_duration_seconds";
        registry.register(name, help, self.walk_duration.clone());
        let help = "Entries of flows that were over and have been removed";
        let name = "conntrack_reconciler_deleted_entries";
        registry.register(name, help, self.flows_removed.clone());
    }

    fn register_syncs(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("sync_proxy_rules");
        let help = "Duration of a pass, which writes what has changed";
        registry.register("duration_seconds", help, self.sync_duration.clone());
        let help = "When everything there is was written last";
        registry.register("last_timestamp_seconds", help, self.last_sync.clone());
        let help = "When something was last to be written";
        registry.register("last_queued_timestamp_seconds", help, self.last_queued.clone());
        let help = "Changes of EndpointSlices that no pass has taken in";
        registry.register("endpoint_changes_pending", help, self.slices_pending.clone());
        let help = "Changes of EndpointSlices";
        registry.register("endpoint_changes", help, self.slices.clone());
        let help = "Changes of Services that no pass has taken in";
        registry.register("service_changes_pending", help, self.services_pending.clone());
        let help = "Changes of Services";
        registry.register("service_changes", help, self.services.clone());
        let help = "Ports of Services with a Local policy that have endpoints on other nodes only";
        registry.register("no_local_endpoints_total", help, self.stranded.clone());
    }
}

impl Answers for KubeProxy {
    fn healthz(&self, status: StatusCode) {
        count_answer(&self.healthz, status);
    }

    fn livez(&self, status: StatusCode) {
        count_answer(&self.livez, status);
    }
}

fn count_answer(answers: &Family<Label, Counter>, status: StatusCode) {
    let code = if status.is_success() { "200" } else { "503" };
    answers.get_or_create(&[("code", code)]).inc();
}

fn of(family: AddressFamily) -> Label {
    [("ip_family", family_word(family))]
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

fn programming_buckets() -> Histogram {
    let parts = [(0.25, 0.25, 2), (1.0, 1.0, 59), (60.0, 5.0, 12), (120.0, 30.0, 7)];
    let buckets = parts.map(|(start, width, count)| linear_buckets(start, width, count));
    Histogram::new(buckets.into_iter().flatten())
}
