//! The agent: wiring only. It alone knows everybody.
//!
//! One task owns planner, tables, maps and attachments; sources and netlink feed it. Whatever ends
//! it leaves everything in the kernel in place (I7).

mod drift;
mod servers;
mod source;
mod start;
mod succession;
mod takeover;

pub(crate) use source::{Sourced, source};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use lb_common::net::Family;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::servers::Servers;
use self::source::SourceTask;
use crate::config::{Config, Takeover};
use crate::datapath::attach::Attacher;
use crate::datapath::generation;
use crate::datapath::pins::Pins;
use crate::exempt;
use crate::maps::Capacities;
use crate::maps::kernel::KernelMaps;
use crate::model::Rejection;
use crate::netlink::{self, Network, Target};
use crate::reconcile::Reconciler;
use crate::serve::checks::Checks;
use crate::serve::health::Health;
use crate::serve::metrics::Metrics;
use crate::store::Event;
use crate::terminate::Wake;

/// The shortest time between two passes: the first change of a burst is written at once, the rest
/// of it together.
const INTERVAL: Duration = Duration::from_millis(50);

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let hold = start::hold(&config)?;
    let takes_over = start::takes_over(&config);
    let sizes = generation::sizes(&Pins::new(&config.bpffs), &config.capacities)?;
    let mut attacher = start::attacher(&config, &sizes, takes_over)?;
    start::reserve_ports(&config);
    let network = netlink::follow(stop.clone()).await?;
    succession::succeed(&mut attacher, &config, &network).await?;
    let reconciler = start::reconciler(&config)?;
    let metrics = Metrics::new(config.service_metrics);
    start::collect_flows(&config, &metrics)?;
    let terminator = start::terminate_sockets(&config, &metrics)?;
    let Sourced { events, complaints, watches, task } = source(&config, &metrics).await?;
    let servers = Servers { config: &config, metrics: &metrics, complaints: &complaints, stop };
    let health = servers.start(watches)?;
    let checks = servers.checks(&health);
    start::guard_node_ports(&config, complaints.clone())?;
    let exempt = start::follow_exempt(&config)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = config.node_name, "started");
    let mut agent = Agent {
        watch: drift::Watch::new(&config, hold),
        attacher,
        reconciler,
        network,
        events,
        complaints,
        metrics,
        health,
        checks,
        terminator,
        exempt,
        is_taking_over: takes_over && config.takeover == Takeover::Auto,
        config,
        refused: None,
        start: Instant::now(),
        due: None,
        last_pass: None,
    };
    tokio::select! {
        result = agent.work() => result,
        result = ended(task) => result,
        result = told_to_stop() => result,
    }
}

struct Agent {
    watch: drift::Watch,
    attacher: Attacher,
    reconciler: Reconciler<KernelMaps>,
    network: watch::Receiver<Arc<Network>>,
    events: mpsc::Receiver<Event>,
    /// Where rejections are told beside the log: at their objects, if the source has such a place.
    complaints: Option<mpsc::Sender<Rejection>>,
    metrics: Metrics,
    health: Health,
    checks: Checks,
    terminator: Wake,
    /// Who is told which pods are left to their packets, where sockets of pods are translated.
    exempt: Option<watch::Sender<exempt::Wanted>>,
    /// Connections are left to kube-proxy's rules, until these are gone.
    is_taking_over: bool,
    config: Config,
    /// Sizes that the maps could not grow to.
    refused: Option<Capacities>,
    start: Instant,
    /// When the next pass is, if there is something to do.
    due: Option<Instant>,
    last_pass: Option<Instant>,
}

impl Agent {
    async fn work(&mut self) -> anyhow::Result<()> {
        self.take_in_network().await;
        loop {
            let (due, check) = (self.due, self.watch.due());
            tokio::select! {
                changed = self.network.changed() => {
                    changed.context("follow the network")?;
                    self.take_in_network().await;
                }
                Some(event) = self.events.recv() => self.take_in(event),
                () = sleep_until(due.unwrap_or(self.start)), if due.is_some() => self.pass().await?,
                () = sleep_until(check) => self.check().await,
            }
        }
    }

    async fn take_in_network(&mut self) {
        let network = Arc::clone(&self.network.borrow_and_update());
        self.attach(&network).await;
        self.reconciler.planner().set_network(network);
        self.schedule();
    }

    async fn attach(&mut self, network: &Network) {
        let targets = netlink::targets(&network.interfaces, &self.config.interfaces);
        self.attacher.sync(&targets).await;
        self.show_interfaces(&targets);
    }

    /// Takes in all events that wait, so that they end up in one pass.
    fn take_in(&mut self, event: Event) {
        self.reconciler.planner().apply(event);
        while let Ok(event) = self.events.try_recv() {
            self.reconciler.planner().apply(event);
        }
        let planner = self.reconciler.planner();
        if let Some((exempt, pods)) = self.exempt.as_ref().zip(planner.take_exempt_pods()) {
            exempt.send_replace(Some(pods));
        }
        self.health.set_node_eligible(planner.node_is_eligible());
        let changes = planner.take_changes();
        self.metrics.kube_proxy.changed(&changes);
        self.reconciler.expect(changes.triggers);
        self.schedule();
    }

    fn schedule(&mut self) {
        let now = Instant::now();
        // Until then there is nothing that could be written.
        if self.reconciler.planner().is_synced() {
            self.health.queued(now);
            self.metrics.kube_proxy.queued(Timestamp::now());
        }
        let due = self.last_pass.map_or(now, |last| now.max(last + INTERVAL));
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    async fn pass(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.make_room().await?;
        let pause = self.reconciler.pass(self.start.elapsed());
        if self.reconciler.take_stopped() {
            self.terminator.wake();
        }
        if self.reconciler.planner().is_synced() {
            self.metrics.passed(began.elapsed(), pause.is_none());
            self.tell_health();
        }
        self.tell();
        let now = Instant::now();
        self.watch.passed(now, pause.is_none());
        self.last_pass = Some(now);
        self.due = pause.map(|pause| now + pause);
        Ok(())
    }

    /// What kube-proxy does after it has written, in the same order.
    fn tell_health(&mut self) {
        let (now, kube_proxy) = (Timestamp::now(), &self.metrics.kube_proxy);
        for (family, triggered) in self.reconciler.take_programmed() {
            let ago = now.duration_since(triggered).try_into().unwrap_or_default();
            kube_proxy.programmed(family, ago);
        }
        for family in [Family::V4, Family::V6] {
            if !self.reconciler.is_behind(family) {
                self.health.updated(family, now);
                kube_proxy.updated(family, now);
            }
        }
        if let Some(checks) = self.reconciler.planner().take_health_checks() {
            self.checks.sync(&checks);
        }
    }

    fn show_interfaces(&mut self, targets: &BTreeMap<u32, Target>) {
        let repaired = self.attacher.take_repaired();
        let attached = self.attacher.attached();
        let shown = targets.values().map(|it| (it.name.as_str(), attached.contains(&it.index)));
        self.metrics.show_interfaces(shown, repaired);
        self.metrics.programs.set(self.attacher.datapath().programs());
    }

    /// Tells others what the pass has found; none of them can hold it up.
    fn tell(&mut self) {
        self.metrics.show(&self.reconciler.figures());
        for rejection in self.reconciler.take_told() {
            let Some(complaints) = &self.complaints else { continue };
            if let Err(error) = complaints.try_send(rejection) {
                tracing::debug!(%error, "a rejection is told by the log alone");
            }
        }
    }
}

async fn ended(source: SourceTask) -> anyhow::Result<()> {
    source.await.context("run the source")??;
    bail!("the source of services has ended; see the log before this line")
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; everything stays in place");
    Ok(())
}
