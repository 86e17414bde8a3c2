//! What the agent serves over HTTP: metrics, health, and health check node ports.
//!
//! A port that cannot be had is told and tried again; it never ends the agent.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::datapath::pins::Pins;
use crate::maps::kernel::{Counters, LruMaps};
use crate::model::{Kind, NamespacedName, Problem, Rejection, Subject};
use crate::serve::checks::Checks;
use crate::serve::configz::configz;
use crate::serve::health::Health;
use crate::serve::metrics::{Live, Metrics};
use crate::serve::{BindAddress, Server, Trouble, status};
use crate::sources::watches::Watches;

/// What the agent says about itself over HTTP.
pub(super) struct Servers<'a> {
    pub(super) config: &'a Config,
    pub(super) metrics: &'a Metrics,
    pub(super) complaints: &'a Option<mpsc::Sender<Rejection>>,
    pub(super) stop: CancellationToken,
}

impl Servers<'_> {
    /// Serves metrics and health for as long as the agent runs.
    pub(super) fn start(&self, watches: Watches) -> anyhow::Result<Health> {
        let maps = Pins::new(&self.config.bpffs).maps();
        let live = Live {
            counters: Counters::from_pins(&maps).context("open the counters")?,
            lru_maps: LruMaps::from_pins(&maps).context("open the maps of clients")?,
            watches,
        };
        let metrics = self.metrics.router(live).merge(status::router(configz(self.config)));
        let health = Health::new(Timestamp::now());
        let answers = health.router(self.metrics.kube_proxy.clone());
        let Config { metrics: BindAddress(at), healthz: BindAddress(healthz_at), .. } = self.config;
        self.serve("metrics", *at, Problem::FailedToStartMetricServer, metrics);
        self.serve("health", *healthz_at, Problem::FailedToStartProxierHealthcheck, answers);
        Ok(health)
    }

    fn serve(&self, what: &'static str, at: Option<SocketAddr>, problem: Problem, router: Router) {
        let Some(address) = at else { return };
        let node = self.config.node_name.clone();
        let object = Subject::Object(Kind::Node, NamespacedName::new("", &node));
        let (complaints, deaf) = (self.complaints.clone(), self.metrics.deaf(what));
        let trouble = Trouble { node, object, problem, complaints, deaf };
        let server = Server { what: what.to_owned(), address, router, trouble };
        tokio::spawn(server.run(self.stop.clone()));
    }

    /// Answers at health check node ports, as `health` has it.
    pub(super) fn checks(&self, health: &Health) -> Checks {
        let deaf = self.metrics.deaf("health check");
        Checks::new(self.config.node_name.clone(), health.clone(), self.complaints.clone(), deaf)
    }
}
