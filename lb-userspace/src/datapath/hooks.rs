//! What is attached where, for people: what the pins say, and whether the kernel says so too. Changes
//! nothing and needs no agent.

use std::io;

use anyhow::Context as _;
use aya::programs::links::{FdLink, PinnedLink};
use lb_common::abi::flow::Hook;
use nix::net::if_::if_indextoname;
use serde::Serialize;

use super::pins::Pins;
use super::{clsact, query};

/// An interface that the pins name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// Its name; absent if it is gone.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: u32,
    /// What is at its ingress.
    pub ingress: At,
    /// What is at its egress.
    pub egress: At,
}

/// What of ours is at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// A program behind a tcx link.
    Tcx,
    /// A program in a filter of clsact.
    Clsact,
    /// Nothing, although the pins say so: somebody has taken it away.
    Missing,
}

impl At {
    /// Its name for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Missing => "missing",
        }
    }
}

impl Attached {
    /// Whether both hooks have what they should.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ingress != At::Missing && self.egress != At::Missing
    }
}

/// The interfaces that the pins name, by index.
pub async fn interfaces(pins: &Pins) -> anyhow::Result<Vec<Attached>> {
    let mut found = Vec::new();
    for ifindex in pins.interfaces().context("read the pins of interfaces")? {
        let name = if_indextoname(ifindex).ok();
        found.push(Attached {
            interface: name.and_then(|name| name.into_string().ok()),
            ifindex,
            ingress: at(pins, ifindex, Hook::Ingress).await,
            egress: at(pins, ifindex, Hook::Egress).await,
        });
    }
    Ok(found)
}

/// The programs that have a link to a cgroup, sorted.
pub fn sockets(pins: &Pins) -> io::Result<Vec<String>> {
    let pins = pins.socket_links()?;
    let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str()?.split_once('-'));
    let mut programs: Vec<_> = names.map(|(_, program)| program.to_owned()).collect();
    programs.sort_unstable();
    Ok(programs)
}

async fn at(pins: &Pins, ifindex: u32, hook: Hook) -> At {
    let link = PinnedLink::from_pin(pins.link(ifindex, hook)).map(FdLink::from);
    let linked = link.ok().and_then(|link| link.info().ok()).map(|info| info.program_id());
    let running = query::programs(ifindex, hook).unwrap_or_default();
    if linked.is_some_and(|program| running.contains(&program)) {
        return At::Tcx;
    }
    let has_filter = pins.filters(ifindex).exists()
        && clsact::is_attached(ifindex, hook).await.is_ok_and(|it| it);
    if has_filter { At::Clsact } else { At::Missing }
}
