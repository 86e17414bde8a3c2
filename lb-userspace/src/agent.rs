//! The agent: wiring only. It alone knows everybody.
//!
//! One task owns planner, tables, maps and attachments; sources and netlink feed it. Whatever ends
//! it leaves everything in the kernel in place (I7).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source};
use crate::datapath::attach::Attacher;
use crate::datapath::bpffs;
use crate::datapath::load::{Datapath, Globals};
use crate::datapath::pins::Pins;
use crate::datapath::reserved;
use crate::datapath::sockets;
use crate::flows::Collector;
use crate::maps::kernel::{Counters, KernelMaps};
use crate::model::Rejection;
use crate::netlink::{self, InterfaceFilter, Network};
use crate::plan::Planner;
use crate::reconcile::Reconciler;
use crate::serve;
use crate::serve::metrics::Metrics;
use crate::sources;
use crate::store::Event;

/// The shortest time between two passes: the first change of a burst is written at once, the rest
/// of it together.
const INTERVAL: Duration = Duration::from_millis(50);

/// Events that may wait; a source that is faster waits itself.
const EVENTS: usize = 1024;

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let mut attacher = attacher(&config)?;
    attach_sockets(&config, &mut attacher);
    reserve_ports(&config);
    let reconciler = reconciler(&config)?;
    let network = netlink::follow(stop).await?;
    let metrics = metrics(&config)?;
    collect_flows(&config, &metrics)?;
    let Sourced { events, complaints, task } = source(&config).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = config.node_name, "started");
    let mut agent = Agent {
        attacher,
        reconciler,
        network,
        events,
        complaints,
        metrics,
        interfaces: config.interfaces,
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
    attacher: Attacher,
    reconciler: Reconciler<KernelMaps>,
    network: watch::Receiver<Arc<Network>>,
    events: mpsc::Receiver<Event>,
    /// Where rejections are told beside the log: at their objects, if the source has such a place.
    complaints: Option<mpsc::Sender<Rejection>>,
    metrics: Metrics,
    interfaces: InterfaceFilter,
    start: Instant,
    /// When the next pass is, if there is something to do.
    due: Option<Instant>,
    last_pass: Option<Instant>,
}

impl Agent {
    async fn work(&mut self) -> anyhow::Result<()> {
        self.take_in_network().await;
        loop {
            let due = self.due;
            tokio::select! {
                changed = self.network.changed() => {
                    changed.context("follow the network")?;
                    self.take_in_network().await;
                }
                Some(event) = self.events.recv() => self.take_in(event),
                () = sleep_until(due.unwrap_or(self.start)), if due.is_some() => self.pass(),
            }
        }
    }

    async fn take_in_network(&mut self) {
        let network = Arc::clone(&self.network.borrow_and_update());
        self.attacher.sync(&netlink::targets(&network.interfaces, &self.interfaces)).await;
        self.reconciler.planner().set_network(network);
        self.schedule();
    }

    /// Takes in all events that wait, so that they end up in one pass.
    fn take_in(&mut self, event: Event) {
        self.reconciler.planner().apply(event);
        while let Ok(event) = self.events.try_recv() {
            self.reconciler.planner().apply(event);
        }
        self.schedule();
    }

    fn schedule(&mut self) {
        let now = Instant::now();
        let due = self.last_pass.map_or(now, |last| now.max(last + INTERVAL));
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn pass(&mut self) {
        let pause = self.reconciler.pass(self.start.elapsed());
        self.tell();
        let now = Instant::now();
        self.last_pass = Some(now);
        self.due = pause.map(|pause| now + pause);
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

fn attacher(config: &Config) -> anyhow::Result<Attacher> {
    let dir = &config.bpffs;
    if bpffs::ensure(dir)
        .with_context(|| format!("mount a BPF file system at {}", dir.display()))?
    {
        tracing::info!(dir = %dir.display(), "mounted a BPF file system");
    }
    let pins = Pins::new(dir);
    let method = config.attach.method()?;
    let globals = Globals { host_netns: sockets::own_netns()?, ..config.globals() };
    #[cfg_attr(not(feature = "datapath-log"), expect(unused_mut, reason = "only its log is read"))]
    let mut datapath = Datapath::load(&pins, &config.capacities, globals)?;
    #[cfg(feature = "datapath-log")]
    crate::datapath::log::follow(&mut datapath)?;
    Ok(Attacher::new(datapath, pins, method, config.order))
}

/// Without them packets are translated, but processes of this node reach no Service.
fn attach_sockets(config: &Config, attacher: &mut Attacher) {
    let pins = Pins::new(&config.bpffs);
    if let Err(error) = sockets::sync(attacher.datapath(), &pins, &config.sockets) {
        tracing::error!(
            "processes of this node do not reach Services: {error:#}; `waggle check` tells what is \
             missing, --socket-lb=off does without"
        );
    }
}

/// Without it the agent works too: only a socket and a flow may want the same port one day.
fn reserve_ports(config: &Config) {
    let wanted = config.reserve_ports.then_some(config.masquerade_ports);
    if let Err(error) = reserved::reserve(&Pins::new(&config.bpffs), wanted) {
        tracing::warn!(
            ports = %config.masquerade_ports,
            "sockets of this node are not kept off the masquerade ports: {error:#}; reserve them in \
             net.ipv4.ip_local_reserved_ports yourself and give --reserve-ports=false"
        );
    }
}

fn reconciler(config: &Config) -> anyhow::Result<Reconciler<KernelMaps>> {
    let maps = KernelMaps::from_pins(&Pins::new(&config.bpffs).maps()).context("open the maps")?;
    let planner = Planner::new(&config.node_name, config.plan.clone());
    Reconciler::restore(planner, maps).context("read the maps of an earlier run")
}

/// Metrics, served for as long as the agent runs.
fn metrics(config: &Config) -> anyhow::Result<Metrics> {
    let maps = Pins::new(&config.bpffs).maps();
    let (metrics, router) = Metrics::new(Counters::from_pins(&maps).context("open the counters")?);
    if let Some(address) = config.metrics.0 {
        tokio::spawn(serve::run("metrics", address, router));
    }
    Ok(metrics)
}

/// Removes the entries of flows that are over, beside everything else.
fn collect_flows(config: &Config, metrics: &Metrics) -> anyhow::Result<()> {
    let maps = Pins::new(&config.bpffs).maps();
    let collector = Collector::from_pins(&maps, config.timeouts).context("open the flows")?;
    let metrics = metrics.clone();
    collector.start(move |walk| metrics.show_walk(walk)).context("start the thread for flows")
}

type SourceTask = JoinHandle<anyhow::Result<()>>;

/// A running source.
struct Sourced {
    events: mpsc::Receiver<Event>,
    complaints: Option<mpsc::Sender<Rejection>>,
    task: SourceTask,
}

async fn source(config: &Config) -> anyhow::Result<Sourced> {
    let file = match &config.source {
        Source::Manifests(directory) => {
            let (sender, events) = mpsc::channel(EVENTS);
            let proxy_name = config.service_proxy_name.clone();
            let task = tokio::spawn(sources::files::run(directory.clone(), proxy_name, sender));
            return Ok(Sourced { events, complaints: None, task });
        }
        Source::Kubeconfig(file) => Some(file.as_path()),
        Source::InCluster => None,
    };
    let client = sources::kube::client(file).await?;
    Ok(cluster(client, config))
}

fn cluster(client: kube::Client, config: &Config) -> Sourced {
    let (node_name, proxy_name) = (config.node_name.clone(), config.service_proxy_name.clone());
    let (sender, events) = mpsc::channel(EVENTS);
    let (complaints, told) = mpsc::channel(sources::kube::events::QUEUE);
    let teller = client.clone();
    tokio::spawn(async move { sources::kube::events::run(teller, &node_name, told).await });
    let task = tokio::spawn(async move {
        sources::kube::run(client, proxy_name, sender).await;
        Ok(())
    });
    Sourced { events, complaints: Some(complaints), task }
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
