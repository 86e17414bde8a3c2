//! The agent: wiring only. It alone knows everybody.
//!
//! One task owns planner, tables, maps and attachments; sources and netlink feed it. Whatever ends
//! it leaves everything in the kernel in place (I7).
// tidy: long because it wires every part to every other, and nothing else

mod drift;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use jiff::Timestamp;
use lb_common::net::Family;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source, Takeover};
use crate::datapath::attach::Attacher;
use crate::datapath::bpffs;
use crate::datapath::hold::Hold;
use crate::datapath::load::{Datapath, Globals};
use crate::datapath::pins::Pins;
use crate::datapath::reserved;
use crate::datapath::sockets::{self, SocketLb};
use crate::exempt;
use crate::flows::{Collector, Walk};
use crate::guard;
use crate::kube_proxy;
use crate::maps::kernel::{Counters, Exempt, KernelMaps, LruMaps, Names};
use crate::model::{Kind, NamespacedName, Problem, Rejection, Subject};
use crate::netlink::{self, InterfaceFilter, Network, Target};
use crate::plan::Planner;
use crate::reconcile::Reconciler;
use crate::serve::checks::Checks;
use crate::serve::configz::configz;
use crate::serve::health::Health;
use crate::serve::metrics::{Live, Metrics};
use crate::serve::{BindAddress, Server, Trouble, status};
use crate::sources;
use crate::sources::watches::Watches;
use crate::store::Event;
use crate::terminate::{Terminator, Wake};

/// The shortest time between two passes: the first change of a burst is written at once, the rest
/// of it together.
const INTERVAL: Duration = Duration::from_millis(50);

/// Events that may wait; a source that is faster waits itself.
const EVENTS: usize = 1024;

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let hold = hold(&config)?;
    let mut attacher = attacher(&config)?;
    attach_sockets(&config, &mut attacher);
    reserve_ports(&config);
    let reconciler = reconciler(&config)?;
    let network = netlink::follow(stop.clone()).await?;
    let metrics = Metrics::new(config.service_metrics);
    collect_flows(&config, &metrics)?;
    let terminator = terminate_sockets(&config, &metrics)?;
    let Sourced { events, complaints, watches, task } = source(&config, &metrics).await?;
    let servers = Servers { config: &config, metrics: &metrics, complaints: &complaints, stop };
    let health = servers.start(watches)?;
    let checks = servers.checks(&health);
    if config.sockets.guard_node_ports {
        guard::start(
            &Pins::new(&config.bpffs).maps(),
            config.node_name.clone(),
            complaints.clone(),
        )?;
    }
    let exempt = follow_exempt(&config)?;
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
            let (due, check) = (self.due, self.watch.due());
            tokio::select! {
                changed = self.network.changed() => {
                    changed.context("follow the network")?;
                    self.take_in_network().await;
                }
                Some(event) = self.events.recv() => self.take_in(event),
                () = sleep_until(due.unwrap_or(self.start)), if due.is_some() => self.pass(),
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
        let targets = netlink::targets(&network.interfaces, &self.interfaces);
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

    fn pass(&mut self) {
        let began = Instant::now();
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

fn hold(config: &Config) -> anyhow::Result<Hold> {
    let dir = &config.bpffs;
    if bpffs::ensure(dir)
        .with_context(|| format!("mount a BPF file system at {}", dir.display()))?
    {
        tracing::info!(dir = %dir.display(), "mounted a BPF file system");
    }
    Hold::take(&Pins::new(dir)).context("one agent runs on a node: stop the other one first")
}

fn attacher(config: &Config) -> anyhow::Result<Attacher> {
    let pins = Pins::new(&config.bpffs);
    let method = config.attach.method()?;
    let globals = config.globals();
    let takes_over = globals.takes_over
        || config.takeover == Takeover::Auto && kube_proxy::may_have_connections();
    if takes_over {
        tracing::info!("TCP connections that are there already are left to kube-proxy's rules");
    }
    let (host_netns, knows_mptcp) = (sockets::own_netns()?, sockets::knows_mptcp());
    let globals = Globals { takes_over, knows_mptcp, host_netns, ..globals };
    #[cfg_attr(not(feature = "datapath-log"), expect(unused_mut, reason = "only its log is read"))]
    let mut datapath = Datapath::load(&pins, &config.capacities, globals)?;
    #[cfg(feature = "datapath-log")]
    crate::datapath::log::follow(&mut datapath)?;
    Ok(Attacher::new(datapath, pins, method, config.order))
}

/// Without them packets are translated, but processes of this node reach no Service.
fn attach_sockets(config: &Config, attacher: &mut Attacher) {
    let pins = Pins::new(&config.bpffs);
    match sockets::sync(attacher.datapath(), &pins, &config.sockets) {
        Ok(_) => tracing::info!(whose = ?config.sockets.whose, "attached to sockets"),
        Err(error) => tracing::error!(
            "processes of this node do not reach Services: {error:#}; `waggle check` tells what is \
             missing, --socket-lb=off does without"
        ),
    }
}

/// Keeps the table of exempt cgroups, where there can be any.
fn follow_exempt(config: &Config) -> anyhow::Result<Option<watch::Sender<exempt::Wanted>>> {
    if config.sockets.whose != SocketLb::All {
        return Ok(None);
    }
    let table = Exempt::from_pins(&Pins::new(&config.bpffs).maps()).context("open the cgroups")?;
    // What is wrong with it was told when programs were to be attached there.
    let Ok(root) = sockets::root(&config.sockets) else { return Ok(None) };
    let (sender, wanted) = watch::channel(None);
    tokio::spawn(exempt::run(root, table, wanted));
    Ok(Some(sender))
}

/// Without it the agent works too: only a socket and a flow may want the same port one day.
fn reserve_ports(config: &Config) {
    let wanted = config.reserve_ports.then_some(config.masquerade_ports);
    if let Err(error) = reserved::reserve(&Pins::new(&config.bpffs), &config.sysctls, wanted) {
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

/// What the agent says about itself over HTTP.
struct Servers<'a> {
    config: &'a Config,
    metrics: &'a Metrics,
    complaints: &'a Option<mpsc::Sender<Rejection>>,
    stop: CancellationToken,
}

impl Servers<'_> {
    /// Serves metrics and health for as long as the agent runs.
    fn start(&self, watches: Watches) -> anyhow::Result<Health> {
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

    fn checks(&self, health: &Health) -> Checks {
        let deaf = self.metrics.deaf("health check");
        Checks::new(self.config.node_name.clone(), health.clone(), self.complaints.clone(), deaf)
    }
}

/// Removes the entries of flows that are over, beside everything else.
fn collect_flows(config: &Config, metrics: &Metrics) -> anyhow::Result<()> {
    let maps = Pins::new(&config.bpffs).maps();
    let collector = Collector::from_pins(&maps, config.timeouts).context("open the flows")?;
    let names = Names::from_pins(&maps).context("open the names of services")?;
    let metrics = metrics.clone();
    let show = move |walk: &Walk| {
        metrics.show_walk(walk);
        metrics.services.walked(walk, |id| names.get(id));
    };
    collector.start(show).context("start the thread for flows")
}

/// Ends sockets whose backend is gone, beside everything else.
fn terminate_sockets(config: &Config, metrics: &Metrics) -> anyhow::Result<Wake> {
    let maps = Pins::new(&config.bpffs).maps();
    let own = sockets::own_netns()?;
    let terminator = Terminator::from_pins(&maps, own, config.terminate.clone());
    let metrics = metrics.clone();
    let show = move |protocol| metrics.destroyed(protocol);
    let terminator = terminator.context("open the sockets")?;
    terminator.start(show).context("start the thread for sockets")
}

type SourceTask = JoinHandle<anyhow::Result<()>>;

/// A running source.
pub(crate) struct Sourced {
    pub(crate) events: mpsc::Receiver<Event>,
    complaints: Option<mpsc::Sender<Rejection>>,
    watches: Watches,
    task: SourceTask,
}

/// Starts the source that the settings name.
pub(crate) async fn source(config: &Config, metrics: &Metrics) -> anyhow::Result<Sourced> {
    let file = match &config.source {
        Source::Manifests(directory) => {
            let (sender, events) = mpsc::channel(EVENTS);
            let proxy_name = config.service_proxy_name.clone();
            let task = tokio::spawn(sources::files::run(directory.clone(), proxy_name, sender));
            let watches = Watches::default();
            return Ok(Sourced { events, complaints: None, watches, task });
        }
        Source::Kubeconfig(file) => Some(file.as_path()),
        Source::InCluster => None,
    };
    let (requests, watches) = (metrics.requests.clone(), watches(config));
    let observer = Arc::new(move |asked| requests.count(asked));
    let server = config.api_server.clone();
    let kubelet = config.kubelet_kubeconfig.as_deref();
    let client = sources::kube::client(file, server, kubelet, observer, &watches).await?;
    Ok(cluster(client, watches, config))
}

fn watches(config: &Config) -> Watches {
    let watches = Watches::of_cluster();
    if config.sockets.whose == SocketLb::All { watches.and(Kind::Pod) } else { watches }
}

fn cluster(client: kube::Client, watches: Watches, config: &Config) -> Sourced {
    let (node_name, proxy_name) = (config.node_name.clone(), config.service_proxy_name.clone());
    let (sender, events) = mpsc::channel(EVENTS);
    let (complaints, told) = mpsc::channel(sources::kube::events::QUEUE);
    let teller = client.clone();
    tokio::spawn(async move { sources::kube::events::run(teller, &node_name, told).await });
    let noted = watches.clone();
    let pods_of = (config.sockets.whose == SocketLb::All).then(|| config.node_name.clone());
    let task = tokio::spawn(async move {
        let pods_of = pods_of.as_deref();
        Box::pin(sources::kube::run(client, proxy_name, pods_of, &noted, sender)).await;
        Ok(())
    });
    Sourced { events, complaints: Some(complaints), watches, task }
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
