//! Programs at a cgroup, where processes name addresses: pinned links, so that they outlive the agent.
//!
//! Links stand beside other makers' programs, which keep their places and run as well. A link that is
//! found pinned gets the new program in one step (`BPF_LINK_UPDATE`): there is no call that meets none
//! (I7).

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program};

use super::load::Datapath;
use super::pins::Pins;
use super::{cgroup, links, sys};

/// Whose sockets are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SocketLb {
    /// Those of the node's own network namespace.
    #[default]
    Host,
    /// Those of every network namespace: pods too.
    All,
    /// None.
    Off,
}

/// The programs, in the order in which they are attached: what tells processes whom they talk to comes
/// before what changes that.
const PROGRAMS: [&str; 9] = [
    "lb_sock_release",
    "lb_recvmsg4",
    "lb_recvmsg6",
    "lb_getpeername4",
    "lb_getpeername6",
    "lb_sendmsg4",
    "lb_sendmsg6",
    "lb_connect4",
    "lb_connect6",
];

/// Attaches to the cgroup at `root`, by default the root of them all, or to none; lets go of every
/// other that an earlier agent was told.
pub fn sync(
    datapath: &mut Datapath,
    pins: &Pins,
    whose: SocketLb,
    root: Option<&Path>,
) -> anyhow::Result<()> {
    if whose == SocketLb::Off {
        detach(pins).context("let go of the cgroups")?;
        return Ok(());
    }
    let root = root.map_or_else(cgroup::root, |root| Ok(root.to_owned()))?;
    attach(datapath, pins, &root).with_context(|| format!("attach to {}", root.display()))?;
    tracing::info!(cgroup = %root.display(), ?whose, "attached to sockets");
    Ok(())
}

/// Removes every link of ours to a cgroup; tells how many there were.
pub fn detach(pins: &Pins) -> io::Result<usize> {
    let mut removed = 0;
    for pin in pins.socket_links()? {
        removed += usize::from(links::detach(&pin)?);
    }
    Ok(removed)
}

/// The cookie of the network namespace that the agent is in.
pub fn own_netns() -> anyhow::Result<u64> {
    sys::netns_cookie().context("ask for the cookie of this network namespace (kernel 5.14)")
}

fn attach(datapath: &mut Datapath, pins: &Pins, root: &Path) -> anyhow::Result<()> {
    let id = cgroup::id(root)?;
    let directory = File::open(root)?;
    // All of them or none: half of them would mislead processes.
    for name in PROGRAMS {
        datapath.socket_program(name)?;
    }
    for name in PROGRAMS {
        attach_program(datapath.socket_program(name)?, &directory, &pins.socket_link(id, name))
            .with_context(|| format!("attach {name}"))?;
    }
    for pin in pins.socket_links()? {
        if !PROGRAMS.iter().any(|name| pin == pins.socket_link(id, name)) {
            links::detach(&pin).with_context(|| format!("remove {}", pin.display()))?;
        }
    }
    Ok(())
}

fn attach_program(program: &mut Program, cgroup: &File, pin: &Path) -> anyhow::Result<()> {
    if pin.exists() {
        match sys::update_link(pin, program.fd()?.as_fd()) {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(?pin, "the link is stale: {error}"),
        }
    }
    let link = create(program, cgroup)?;
    links::detach(pin).context("remove the stale pin")?;
    link.pin(pin).with_context(|| format!("pin the link at {}", pin.display()))?;
    Ok(())
}

/// A link never takes another's place: the kernel knows no other mode for it.
fn create(program: &mut Program, cgroup: &File) -> anyhow::Result<FdLink> {
    let mode = CgroupAttachMode::Single;
    Ok(match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()?
        }
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, mode)?;
            program.take_link(id)?.try_into()?
        }
        other => bail!("{:?} is no program for cgroups", other.prog_type()),
    })
}
