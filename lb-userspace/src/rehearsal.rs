//! `waggle run --dry-run`: what the agent would attach, write and change on this node.
//!
//! It asks the sources, the network and the pinned maps as the agent does, plans as the agent does,
//! and writes on paper ([`Sketch`]). Nothing in the kernel or the cluster is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::agent::{Sourced, source};
use crate::config::Config;
use crate::datapath::attach::Method;
use crate::datapath::bpffs;
use crate::datapath::pins::Pins;
use crate::maps::dump::{Dump, Ids};
use crate::maps::growth;
use crate::maps::kernel::KernelMaps;
use crate::maps::sketch::Sketch;
use crate::maps::{ReadBack as _, Snapshot};
use crate::netlink::{self, Network, Target};
use crate::plan::Planner;
use crate::reconcile::Reconciler;
use crate::serve::metrics::Metrics;

/// Passes until nothing is left to write: what comes of what goes is planned in the second.
const PASSES: u32 = 3;

/// What would be different.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// Mounts, programs and sysctls, in sentences.
    pub node: Vec<String>,
    /// Lines of `waggle dump`, without ids, that would be gone.
    pub removed: Vec<String>,
    /// Lines of `waggle dump`, without ids, that would be new.
    pub added: Vec<String>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.node.is_empty() && self.removed.is_empty() && self.added.is_empty() {
            return writeln!(f, "nothing would change");
        }
        self.node.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.removed.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
        self.added.iter().try_for_each(|line| writeln!(f, "+ {line}"))
    }
}

/// Waits for the first lists of every source and tells what the agent would do with them.
pub async fn run(config: &Config) -> anyhow::Result<Changes> {
    let network = netlink::follow(CancellationToken::new()).await?.borrow().clone();
    let before = sketch(config)?;
    let mut planner = Planner::new(&config.node_name, config.plan.clone());
    planner.set_network(network.clone());
    first_lists(config, &mut planner).await?;
    let mut reconciler = Reconciler::restore(planner, before.clone())?;
    for second in 0..PASSES {
        reconciler.pass(Duration::from_secs(2 * u64::from(second)));
    }
    let (removed, added) = difference(&before.snapshot()?, &reconciler.maps().snapshot()?);
    Ok(Changes { node: node_changes(config, &network)?, removed, added })
}

/// What is pinned; empty maps if nothing is.
fn sketch(config: &Config) -> anyhow::Result<Sketch> {
    let maps = Pins::new(&config.bpffs).maps();
    if !maps.exists() {
        return Ok(Sketch::new(config.capacities, Snapshot::default()));
    }
    let pinned = KernelMaps::from_pins(&maps).context("open the maps of an earlier run")?;
    let capacities = growth::most(&pinned.capacities(), &config.capacities);
    Ok(Sketch::new(capacities, pinned.snapshot()?))
}

/// Rejected objects are told by the log alone.
async fn first_lists(config: &Config, planner: &mut Planner) -> anyhow::Result<()> {
    let Sourced { mut events, .. } = source(config, &Metrics::new(0)).await?;
    while !planner.is_synced() {
        match events.recv().await {
            Some(event) => planner.apply(event),
            None => bail!("the source of services has ended; see the log before this line"),
        }
    }
    Ok(())
}

fn difference(before: &Snapshot, after: &Snapshot) -> (Vec<String>, Vec<String>) {
    let [before, after] = [before, after].map(|maps| Dump::new(maps).text(Ids::Masked));
    let mut count: BTreeMap<&str, i32> = BTreeMap::new();
    after.lines().for_each(|line| *count.entry(line).or_default() += 1);
    before.lines().for_each(|line| *count.entry(line).or_default() -= 1);
    let lines = |sign: i32| {
        let rows = count.iter().filter(|(_, count)| count.signum() == sign);
        rows.map(|(line, _)| (*line).to_owned()).collect()
    };
    (lines(-1), lines(1))
}

fn node_changes(config: &Config, network: &Network) -> anyhow::Result<Vec<String>> {
    let (pins, dir) = (Pins::new(&config.bpffs), config.bpffs.display());
    let mut lines = Vec::new();
    if !bpffs::is_bpffs(&config.bpffs).unwrap_or(false) {
        lines.push(format!("mount a BPF file system at {dir}"));
    }
    if !pins.maps().exists() {
        lines.push(format!("pin maps and links below {}", pins.root().display()));
    }
    if config.reserve_ports && !pins.reserved_ports().exists() {
        let ports = config.masquerade_ports;
        lines.push(format!(
            "add {ports} to the sysctl net.ipv4.ip_local_reserved_ports, as far as sockets use them"
        ));
    }
    let method = config.attach.method()?;
    let wanted = netlink::targets(&network.interfaces, &config.interfaces);
    let attached = pins.interfaces().context("read the pins")?;
    lines.extend(
        wanted.values().map(|target| attach(target, attached.contains(&target.index), method)),
    );
    let left = attached.into_iter().filter(|index| !wanted.contains_key(index));
    lines.extend(left.map(|index| format!("let go of the interface with ifindex {index}")));
    Ok(lines)
}

fn attach(target: &Target, is_attached: bool, method: Method) -> String {
    let Target { index, name, layer } = target;
    let what = if is_attached { "replace our programs on" } else { "attach to" };
    format!("{what} {name} (ifindex {index}, {layer:?}) by {method:?}")
}
