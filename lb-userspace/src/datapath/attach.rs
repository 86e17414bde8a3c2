//! Keeps our programs on exactly the interfaces that are ours.
//!
//! Foreign programs are neither detached nor replaced; ours return "next" so that they still run.
//! An interface that fails is a warning and is tried again at the next change; so is one from which
//! somebody else has removed what is ours.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use lb_common::abi::flow::Hook;
use nix::net::if_::if_indextoname;

use super::load::{Datapath, LoadError};
use super::pins::Pins;
use super::{HOOKS, clsact, links};
use crate::netlink::Target;

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// tcx links, kernel 6.6 and later.
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

/// The method an operator asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// tcx links if the kernel has them, else clsact.
    #[default]
    Auto,
    /// tcx links.
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

impl Choice {
    /// The method, after asking the kernel what it can do.
    pub fn method(self) -> anyhow::Result<Method> {
        match self {
            Self::Clsact => Ok(Method::Clsact),
            Self::Auto if !supports_tcx()? => Ok(Method::Clsact),
            Self::Tcx if !supports_tcx()? => {
                bail!("this kernel has no tcx links (they came with 6.6); use --attach clsact")
            }
            Self::Auto | Self::Tcx => Ok(Method::Tcx),
        }
    }
}

/// Our place among the programs on an interface, where ours are not there yet: what is attached
/// keeps its place.
///
/// First is the default: other programs then see what they see with kube-proxy, client and
/// backend, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// Before the others.
    #[default]
    First,
    /// After the others.
    Last,
}

impl Order {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Last,
            Self::Last => Self::First,
        }
    }
}

/// Whether this kernel has tcx links.
pub fn supports_tcx() -> anyhow::Result<bool> {
    links::supported().context("ask the kernel for tcx programs")
}

/// The loaded datapath and where it is attached.
#[derive(Debug)]
pub struct Attacher {
    datapath: Datapath,
    pins: Pins,
    method: Method,
    order: Order,
    attached: BTreeSet<u32>,
    repaired: u64,
}

impl Attacher {
    /// Nothing is attached or detached yet.
    #[must_use]
    pub fn new(datapath: Datapath, pins: Pins, method: Method, order: Order) -> Self {
        Self { datapath, pins, method, order, attached: BTreeSet::new(), repaired: 0 }
    }

    /// Attaches to what is in `wanted` and does not run our programs (any more), and lets go of
    /// what an interface that is gone, or no longer ours, has left.
    pub async fn sync(&mut self, wanted: &BTreeMap<u32, Target>) {
        self.attached.retain(|index| wanted.contains_key(index));
        for target in wanted.values() {
            if !self.is_attached(target).await {
                self.attach_or_warn(target).await;
            }
        }
        if let Err(error) = self.release_all_but(wanted).await {
            tracing::warn!("cannot let go of an interface: {error:#}");
        }
    }

    /// Attaches another object from now on; [`Attacher::sync`] is to follow. Returns the one so far.
    pub fn replace(&mut self, datapath: Datapath) -> Datapath {
        self.attached.clear();
        std::mem::replace(&mut self.datapath, datapath)
    }

    /// Loads the programs that these interfaces will need, so that attaching them takes no time.
    pub fn prepare(&mut self, wanted: &BTreeMap<u32, Target>) -> Result<(), LoadError> {
        for (target, hook) in wanted.values().flat_map(|target| HOOKS.map(|hook| (target, hook))) {
            self.datapath.program(target.layer, hook)?;
        }
        Ok(())
    }

    /// The interfaces that run our programs, by their ifindex.
    #[must_use]
    pub const fn attached(&self) -> &BTreeSet<u32> {
        &self.attached
    }

    /// From how many interfaces somebody else had removed our programs since the last call.
    pub fn take_repaired(&mut self) -> u64 {
        std::mem::take(&mut self.repaired)
    }

    /// The loaded object.
    pub fn datapath(&mut self) -> &mut Datapath {
        &mut self.datapath
    }

    /// Whether this agent has attached to the interface and still is: somebody else may have removed
    /// what is ours, or the interface, and made another one with the same ifindex.
    async fn is_attached(&mut self, target: &Target) -> bool {
        if !self.attached.contains(&target.index) {
            return false;
        }
        match self.has_programs(target).await {
            Ok(true) => return true,
            Ok(false) => {
                tracing::warn!(interface = %target.name, "our programs are gone, attaching again");
                self.repaired += 1;
            }
            Err(error) => {
                tracing::debug!(interface = %target.name, "cannot see its programs: {error:#}");
            }
        }
        self.attached.remove(&target.index);
        false
    }

    async fn has_programs(&mut self, target: &Target) -> anyhow::Result<bool> {
        let Target { index, ref name, layer } = *target;
        for hook in HOOKS {
            let found = match self.method {
                Method::Tcx => links::is_attached(self.datapath.program(layer, hook)?, name, hook)?,
                Method::Clsact => clsact::is_attached(index, hook).await?,
            };
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn attach_or_warn(&mut self, target: &Target) {
        let Target { index, name, layer } = target;
        match self.attach(target).await {
            Ok(()) => {
                self.attached.insert(*index);
                tracing::info!(interface = %name, ifindex = index, ?layer, method = ?self.method, "attached");
            }
            Err(error) => {
                tracing::warn!(interface = %name, ifindex = index, "cannot attach, trying again at the next change: {error:#}");
            }
        }
    }

    async fn attach(&mut self, target: &Target) -> anyhow::Result<()> {
        for hook in HOOKS {
            self.attach_hook(target, hook)?;
        }
        self.release_other_method(target).await
    }

    fn attach_hook(&mut self, target: &Target, hook: Hook) -> anyhow::Result<()> {
        let Target { index, ref name, layer } = *target;
        let program = self.datapath.program(layer, hook)?;
        match self.method {
            Method::Tcx => {
                links::attach(program, name, hook, &self.pins.link(index, hook), self.order)
            }
            Method::Clsact => clsact::attach(program, (index, name), hook, &self.pins, self.order),
        }
        .with_context(|| format!("attach to {hook:?} of {name}"))
    }

    /// After the method changed, what the other one attached would translate a second time.
    async fn release_other_method(&self, target: &Target) -> anyhow::Result<()> {
        match self.method {
            Method::Tcx if self.pins.filters(target.index).exists() => {
                clsact::detach(target.index, Some(&target.name), &self.pins).await?;
            }
            Method::Tcx => {}
            Method::Clsact => {
                release_links(&self.pins, target.index)?;
            }
        }
        Ok(())
    }

    async fn release_all_but(&self, wanted: &BTreeMap<u32, Target>) -> anyhow::Result<()> {
        for index in self.pins.interfaces().context("read the pins")? {
            if !wanted.contains_key(&index) {
                release(&self.pins, index).await?;
                tracing::info!(ifindex = index, "let go of the interface");
            }
        }
        Ok(())
    }
}

/// Takes everything of ours from an interface; tells how many links and filters that were.
pub(super) async fn release(pins: &Pins, ifindex: u32) -> anyhow::Result<usize> {
    let links = release_links(pins, ifindex)?;
    if !pins.filters(ifindex).exists() {
        return Ok(links);
    }
    let filters = clsact::detach(ifindex, name_of(ifindex).as_deref(), pins).await?;
    Ok(links + filters)
}

/// None if there is no such interface; nix 0.31 then gives an empty name and no error.
fn name_of(ifindex: u32) -> Option<String> {
    let name = if_indextoname(ifindex).ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}

fn release_links(pins: &Pins, ifindex: u32) -> anyhow::Result<usize> {
    let mut removed = 0;
    for hook in HOOKS {
        removed += usize::from(links::detach(&pins.link(ifindex, hook)).context("remove a link")?);
    }
    Ok(removed)
}
