//! What the agent sets up in the kernel before it takes in anything: programs, maps, settings, and the
//! threads that look after flows and sockets.
//!
//! What the datapath cannot do without ends the start; the rest is told by the log.

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Takeover};
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
use crate::maps::Capacities;
use crate::maps::kernel::{Exempt, KernelMaps, Names};
use crate::model::Rejection;
use crate::plan::Planner;
use crate::reconcile::Reconciler;
use crate::serve::metrics::Metrics;
use crate::terminate::{Terminator, Wake};

/// The right to be the one agent of this node, below a BPF file system that is there from then on.
pub(super) fn hold(config: &Config) -> anyhow::Result<Hold> {
    let dir = &config.bpffs;
    if bpffs::ensure(dir)
        .with_context(|| format!("mount a BPF file system at {}", dir.display()))?
    {
        tracing::info!(dir = %dir.display(), "mounted a BPF file system");
    }
    Hold::take(&Pins::new(dir)).context("one agent runs on a node: stop the other one first")
}

/// Whether connections that are there already are left to kube-proxy's rules.
pub(super) fn takes_over(config: &Config) -> bool {
    let takes_over = match config.takeover {
        Takeover::On => true,
        Takeover::Off => false,
        Takeover::Auto => kube_proxy::may_have_connections(),
    };
    if takes_over {
        tracing::info!("TCP connections that are there already are left to kube-proxy's rules");
    }
    takes_over
}

/// Loads the programs, as the settings and this kernel have them, for maps of these `sizes`.
pub(super) fn attacher(
    config: &Config,
    sizes: &Capacities,
    takes_over: bool,
) -> anyhow::Result<Attacher> {
    let pins = Pins::new(&config.bpffs);
    let method = config.attach.method()?;
    let (host_netns, knows_mptcp) = (sockets::own_netns()?, sockets::knows_mptcp());
    let globals = Globals { takes_over, knows_mptcp, host_netns, ..config.globals() };
    #[cfg_attr(not(feature = "datapath-log"), expect(unused_mut, reason = "only its log is read"))]
    let mut datapath = Datapath::prepare(&pins, sizes, globals)?;
    #[cfg(feature = "datapath-log")]
    crate::datapath::log::follow(&mut datapath)?;
    Ok(Attacher::new(datapath, pins, method, config.order))
}

/// Without them packets are translated, but processes of this node reach no Service.
pub(super) fn attach_sockets(config: &Config, attacher: &mut Attacher) {
    let pins = Pins::new(&config.bpffs);
    match sockets::sync(attacher.datapath(), &pins, &config.sockets) {
        Ok(_) => tracing::info!(whose = ?config.sockets.whose, "attached to sockets"),
        Err(error) => tracing::error!(
            "processes of this node do not reach Services: {error:#}; `waggle check` tells what is \
             missing, --socket-lb=off does without"
        ),
    }
}

/// Keeps the table of exempt cgroups and namespaces, where there can be any.
pub(super) fn follow_exempt(
    config: &Config,
) -> anyhow::Result<Option<watch::Sender<exempt::Wanted>>> {
    if config.sockets.whose != SocketLb::All {
        return Ok(None);
    }
    let table = Exempt::from_pins(&Pins::new(&config.bpffs).maps()).context("open the cgroups")?;
    // What is wrong with it was told when programs were to be attached there.
    let Ok(root) = sockets::root(&config.sockets) else { return Ok(None) };
    let (netns_dir, interfaces) =
        (config.terminate.netns_dir.clone(), config.skip_interfaces.clone());
    let (sender, wanted) = watch::channel(None);
    tokio::spawn(exempt::run(exempt::Places { root, netns_dir, interfaces }, table, wanted));
    Ok(Some(sender))
}

/// Tells of sockets that want a node port, where the settings forbid them that.
pub(super) fn guard_node_ports(
    config: &Config,
    complaints: Option<mpsc::Sender<Rejection>>,
) -> anyhow::Result<()> {
    if !config.sockets.guard_node_ports {
        return Ok(());
    }
    let maps = Pins::new(&config.bpffs).maps();
    guard::start(&maps, config.node_name.clone(), complaints)
}

/// Without it the agent works too: only a socket and a flow may want the same port one day.
pub(super) fn reserve_ports(config: &Config) {
    let wanted = config.reserve_ports.then_some(config.masquerade_ports);
    if let Err(error) = reserved::reserve(&Pins::new(&config.bpffs), &config.sysctls, wanted) {
        tracing::warn!(
            ports = %config.masquerade_ports,
            "sockets of this node are not kept off the masquerade ports: {error:#}; reserve them in \
             net.ipv4.ip_local_reserved_ports yourself and give --reserve-ports=false"
        );
    }
}

/// The maps in force.
pub(super) fn maps(config: &Config) -> anyhow::Result<KernelMaps> {
    KernelMaps::from_pins(&Pins::new(&config.bpffs).maps()).context("open the maps")
}

/// What writes the maps, from where an earlier run left them.
pub(super) fn reconciler(config: &Config) -> anyhow::Result<Reconciler<KernelMaps>> {
    let maps = maps(config)?;
    let planner = Planner::new(&config.node_name, config.plan.clone());
    Reconciler::restore(planner, maps).context("read the maps of an earlier run")
}

/// Removes the entries of flows that are over, beside everything else.
pub(super) fn collect_flows(config: &Config, metrics: &Metrics) -> anyhow::Result<()> {
    let maps = Pins::new(&config.bpffs).maps();
    let collector = Collector::from_pins(&maps, config.timeouts).context("open the flows")?;
    let metrics = metrics.clone();
    let show = move |walk: &Walk| {
        metrics.show_walk(walk);
        // Opened each time: it may be another map by then, since the maps grow.
        match Names::from_pins(&maps) {
            Ok(names) => metrics.services.walked(walk, |id| names.find(id)),
            Err(error) => tracing::warn!("flows cannot be told apart by service: {error}"),
        }
    };
    collector.start(show).context("start the thread for flows")
}

/// Ends sockets whose backend is gone, beside everything else.
pub(super) fn terminate_sockets(config: &Config, metrics: &Metrics) -> anyhow::Result<Wake> {
    let maps = Pins::new(&config.bpffs).maps();
    let own = sockets::own_netns()?;
    let terminator = Terminator::from_pins(&maps, own, config.terminate.clone());
    let metrics = metrics.clone();
    let show = move |protocol| metrics.destroyed(protocol);
    let terminator = terminator.context("open the sockets")?;
    terminator.start(show).context("start the thread for sockets")
}
