//! `/metrics`: numbers for Prometheus.
//!
//! The agent sets gauges after each pass, as atomics: a scrape never waits for it and it never for a
//! scrape. What the programs count is read from the kernel when somebody asks.
//!
//! Labels have few values: kinds, maps, reasons, families, interfaces of this node; services up to a
//! limit ([`services`]).

mod datapath;
pub mod kube_proxy;
mod process;
pub mod programs;
mod requests;
pub mod services;
#[cfg(test)]
mod tests;
mod text;
mod watches;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lb_common::net::Family as AddressFamily;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::datapath::{DatapathEvents, MapEntries};
use self::kube_proxy::KubeProxy;
use self::process::Process;
use self::programs::Programs;
use self::requests::Requests;
use self::services::Services;
use self::watches::WatchStates;
use crate::flows::{Stage, Walk};
use crate::maps::flows_map;
use crate::maps::kernel::{Counters, LruMaps};
use crate::reconcile::Figures;
use crate::sources::watches::Watches;
use crate::tables::MapUsage;

/// One label and its value.
type Label = [(&'static str, &'static str); 1];

/// A gauge of seconds or of a time in seconds.
type Seconds = Gauge<f64, AtomicU64>;

/// What the agent shows of itself. Clones show the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What kube-proxy shows as well.
    pub kube_proxy: KubeProxy,
    /// Requests to the API server.
    pub requests: Requests,
    /// What the flows of services carry.
    pub services: Services,
    /// The loaded programs.
    pub programs: Programs,
    rejected: Family<Label, Gauge>,
    conflicts: Gauge,
    service_ports: Gauge,
    backends: Gauge,
    unwritten: Gauge,
    passes: Family<Label, Counter>,
    drift: Family<Label, Counter>,
    interfaces: Family<[(&'static str, String); 1], Gauge>,
    deaf: Family<Label, Gauge>,
    entries: Family<Label, Gauge>,
    capacity: Family<Label, Gauge>,
    flow_entries: Family<[(&'static str, &'static str); 2], Gauge>,
    flow_entries_removed: Family<Label, Counter>,
    flow_entries_healed: Family<Label, Counter>,
    flows_ended: Family<Label, Counter>,
    flow_walk: Family<Label, Seconds>,
    sockets_destroyed: Family<Label, Counter>,
}

/// Where that is read which nobody tells.
#[derive(Debug)]
pub struct Live {
    /// What the programs count.
    pub counters: Counters,
    /// What they fill.
    pub lru_maps: LruMaps,
    /// The watches of the API server.
    pub watches: Watches,
}

impl Metrics {
    /// All zero so far. Not more than `service_limit` services have series of their own.
    #[must_use]
    pub fn new(service_limit: usize) -> Self {
        let new = Self {
            kube_proxy: KubeProxy::default(),
            requests: Requests::default(),
            services: Services::new(service_limit),
            programs: Programs::default(),
            rejected: Family::default(),
            conflicts: Gauge::default(),
            service_ports: Gauge::default(),
            backends: Gauge::default(),
            unwritten: Gauge::default(),
            passes: Family::default(),
            drift: Family::default(),
            interfaces: Family::default(),
            deaf: Family::default(),
            entries: Family::default(),
            capacity: Family::default(),
            flow_entries: Family::default(),
            flow_entries_removed: Family::default(),
            flow_entries_healed: Family::default(),
            flows_ended: Family::default(),
            flow_walk: Family::default(),
            sockets_destroyed: Family::default(),
        };
        for protocol in ["tcp", "udp"] {
            drop(new.sockets_destroyed.get_or_create(&[("protocol", protocol)]));
        }
        for result in ["done", "retry"] {
            drop(new.passes.get_or_create(&[("result", result)]));
        }
        drop(new.drift.get_or_create(&[("of", "attachment")]));
        new
    }

    /// The routes that show them.
    pub fn router(&self, live: Live) -> Router {
        let mut root = self.registry();
        root.register_collector(Box::new(Process));
        let registry = root.sub_registry_with_prefix("waggle");
        let Live { counters, lru_maps, watches } = live;
        registry.register_collector(Box::new(DatapathEvents(move || counters.read())));
        let lru_maps = Mutex::new(lru_maps);
        let count = move || lru_maps.lock().unwrap_or_else(PoisonError::into_inner).usage();
        registry.register_collector(Box::new(self.map_entries(count)));
        registry.register_collector(Box::new(WatchStates(watches)));
        Router::new().route("/metrics", get(text::scrape)).with_state(Arc::new(root))
    }

    /// Shows these figures from now on.
    pub fn show(&self, figures: &Figures) {
        // Kinds with which nothing is wrong any more.
        self.rejected.clear();
        for (kind, count) in &figures.rejected {
            self.rejected.get_or_create(&[("kind", kind)]).set(number(*count));
        }
        self.conflicts.set(number(figures.contested));
        self.service_ports.set(number(figures.usage.services));
        self.backends.set(number(figures.usage.backends));
        self.unwritten.set(number(figures.unwritten));
        self.kube_proxy.stranded(&figures.stranded);
        figures.usage.maps.iter().for_each(|usage| self.show_usage(usage));
    }

    /// A pass took so long; whether nothing is left to do.
    pub fn passed(&self, took: Duration, is_done: bool) {
        self.kube_proxy.synced(took);
        let result = if is_done { "done" } else { "retry" };
        self.passes.get_or_create(&[("result", result)]).inc();
    }

    /// Somebody else had changed so many things of this kind.
    pub fn repaired(&self, of: &'static str, count: u64) {
        self.drift.get_or_create(&[("of", of)]).inc_by(count);
    }

    /// These are our interfaces, and whether our programs are attached to them. So many times in all
    /// had somebody else removed them.
    pub fn show_interfaces<'a>(
        &self,
        interfaces: impl Iterator<Item = (&'a str, bool)>,
        repaired: u64,
    ) {
        self.interfaces.clear();
        for (name, is_attached) in interfaces {
            let label = [("interface", name.to_owned())];
            self.interfaces.get_or_create(&label).set(is_attached.into());
        }
        self.repaired("attachment", repaired);
    }

    /// How many servers of a sort do not listen although they should.
    #[must_use]
    pub fn deaf(&self, server: &'static str) -> Gauge {
        self.deaf.get_or_create_owned(&[("server", server)])
    }

    /// A socket of this protocol was destroyed: its backend is gone.
    pub fn destroyed(&self, protocol: &'static str) {
        self.sockets_destroyed.get_or_create(&[("protocol", protocol)]).inc();
    }

    /// Shows what this walk through the flows has met, and adds what it has removed.
    pub fn show_walk(&self, walk: &Walk) {
        let family = family_word(walk.family);
        for stage in Stage::ALL {
            let count = walk.tally.entries.get(&stage).copied().unwrap_or_default();
            let labels = [("family", family), ("state", stage.word())];
            self.flow_entries.get_or_create(&labels).set(number(count));
        }
        let label = [("family", family)];
        self.flow_entries_removed.get_or_create(&label).inc_by(walk.tally.removed);
        self.flow_entries_healed.get_or_create(&label).inc_by(walk.tally.healed);
        self.flows_ended.get_or_create(&label).inc_by(walk.tally.ended);
        self.flow_walk.get_or_create(&label).set(walk.duration.as_secs_f64());
        self.show_usage(&MapUsage {
            map: flows_map(walk.family),
            entries: walk.tally.left(),
            capacity: walk.capacity,
        });
        self.kube_proxy.walked(walk);
    }

    fn show_usage(&self, usage: &MapUsage) {
        datapath::show_usage(usage, &self.entries, &self.capacity);
    }

    fn map_entries<F>(&self, count: F) -> MapEntries<F> {
        MapEntries { count, entries: self.entries.clone(), capacity: self.capacity.clone() }
    }

    fn registry(&self) -> Registry {
        let mut root = Registry::default();
        self.kube_proxy.register(root.sub_registry_with_prefix("kubeproxy"));
        self.requests.register(&mut root);
        let registry = root.sub_registry_with_prefix("waggle");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the agent", build);
        self.register_maps(registry);
        self.register_control(registry);
        self.register_flows(registry);
        registry.register_collector(Box::new(self.services.clone()));
        registry.register_collector(Box::new(self.programs.clone()));
        root
    }

    fn register_maps(&self, registry: &mut Registry) {
        let mut gauge = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("services", "Ports of Services in the maps, per family", &self.service_ports);
        gauge("backends", "Backends of all services in the maps", &self.backends);
        let help = "Services that are not in the maps as they should be";
        gauge("unwritten_services", help, &self.unwritten);
        gauge("address_conflicts", "Frontends that more than one Service claims", &self.conflicts);
    }

    fn register_control(&self, registry: &mut Registry) {
        let help = "Objects that cannot be used now, whole or in part";
        registry.register("rejected_objects", help, self.rejected.clone());
        let help = "Passes that brought changes into the maps, by whether something was left to do";
        registry.register("reconcile_passes", help, self.passes.clone());
        let help = "What somebody else had changed in the kernel, and the agent has put back";
        registry.register("drift_repaired", help, self.drift.clone());
        let help = "Whether our programs are attached to an interface that should have them";
        registry.register("interface_attached", help, self.interfaces.clone());
        let help = "Servers of the agent whose port is taken by somebody else";
        registry.register("servers_not_listening", help, self.deaf.clone());
    }

    fn register_flows(&self, registry: &mut Registry) {
        let help = "Entries for flows at the last walk through them";
        registry.register("flow_entries", help, self.flow_entries.clone());
        let help = "Entries for flows that the agent has removed";
        registry.register("flow_entries_removed", help, self.flow_entries_removed.clone());
        let help = "Entries for flows that were evicted and that the agent has put back";
        registry.register("flow_entries_healed", help, self.flow_entries_healed.clone());
        let help = "Flows whose entries the agent has removed";
        registry.register("flows_ended", help, self.flows_ended.clone());
        let help = "How long the last walk through the flows took, pauses left out";
        registry.register_with_unit("flow_walk", help, Unit::Seconds, self.flow_walk.clone());
        let help = "Sockets that were destroyed because their backend serves no more";
        registry.register("sockets_destroyed", help, self.sockets_destroyed.clone());
    }
}

/// A gauge is signed; no map has that many entries.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const fn family_word(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::V4 => "IPv4",
        AddressFamily::V6 => "IPv6",
    }
}
