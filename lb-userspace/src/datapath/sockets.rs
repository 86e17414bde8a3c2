//! Programs at a cgroup, where processes name addresses: pinned links, so that they outlive the agent.
//!
//! Links stand beside other makers' programs, which keep their places and run as well. A link that is
//! found pinned gets the new program in one step (`BPF_LINK_UPDATE`): there is no call that meets none
//! (I7).

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramType};
use aya::sys::{BpfHelper, is_helper_supported};

use super::load::{Datapath, LoadError};
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

/// What is done at sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whose sockets are translated.
    pub whose: SocketLb,
    /// Whether processes of the node are kept from binding node ports.
    pub guard_node_ports: bool,
    /// The cgroup whose sockets are meant; `None`: the root of them all.
    pub root: Option<PathBuf>,
}

impl Settings {
    fn programs(&self) -> impl Iterator<Item = &'static str> {
        let guards = GUARDS.into_iter().filter(|_| self.guard_node_ports);
        PROGRAMS.into_iter().chain(guards)
    }
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

/// The programs that guard node ports.
const GUARDS: [&str; 2] = ["lb_bind4", "lb_bind6"];

/// Loads the programs that the settings ask for, so that attaching them takes no time.
pub fn prepare(datapath: &mut Datapath, settings: &Settings) -> Result<(), LoadError> {
    if settings.whose == SocketLb::Off {
        return Ok(());
    }
    settings.programs().try_for_each(|name| datapath.socket_program(name).map(drop))
}

/// All of them.
pub(super) fn programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.into_iter().chain(GUARDS)
}

/// Attaches what the settings say, where they say; lets go of what else an earlier agent was told.
/// Tells how many links had to be made.
pub fn sync(datapath: &mut Datapath, pins: &Pins, settings: &Settings) -> anyhow::Result<u64> {
    if settings.whose == SocketLb::Off {
        detach(pins).context("let go of the cgroups")?;
        return Ok(0);
    }
    let root = root(settings)?;
    let made = attach(datapath, pins, settings, &root)
        .with_context(|| format!("attach to {}", root.display()))?;
    tracing::debug!(cgroup = %root.display(), whose = ?settings.whose, made, "attached to sockets");
    Ok(made)
}

/// Removes every link of ours to a cgroup; tells how many there were.
pub fn detach(pins: &Pins) -> io::Result<usize> {
    let mut removed = 0;
    for pin in pins.socket_links()? {
        removed += usize::from(links::detach(&pin)?);
    }
    Ok(removed)
}

/// The cookie of the network namespace that the calling thread is in: the agent's, unless it has
/// entered another.
pub fn own_netns() -> anyhow::Result<u64> {
    sys::netns_cookie().context("ask for the cookie of this network namespace (kernel 5.14)")
}

/// Whether the kernel tells sockets that carry MPTCP from others. If nobody can say, it does not.
#[must_use]
pub fn knows_mptcp() -> bool {
    let helper = BpfHelper::BPF_FUNC_skc_to_mptcp_sock;
    is_helper_supported(ProgramType::CgroupSockAddr, helper).unwrap_or(false)
}

/// The cgroup that the settings mean, if they mean one.
pub fn root(settings: &Settings) -> anyhow::Result<PathBuf> {
    settings.root.clone().map_or_else(cgroup::root, Ok)
}

fn attach(
    datapath: &mut Datapath,
    pins: &Pins,
    settings: &Settings,
    root: &Path,
) -> anyhow::Result<u64> {
    let mut made = 0;
    let id = cgroup::id(root)?;
    let directory = File::open(root)?;
    // All of them or none: half of them would mislead processes.
    prepare(datapath, settings)?;
    for name in settings.programs() {
        let pin = pins.socket_link(id, name);
        let is_new = attach_program(datapath.socket_program(name)?, &directory, &pin)
            .with_context(|| format!("attach {name}"))?;
        made += u64::from(is_new);
    }
    for pin in pins.socket_links()? {
        if !settings.programs().any(|name| pin == pins.socket_link(id, name)) {
            links::detach(&pin).with_context(|| format!("remove {}", pin.display()))?;
        }
    }
    Ok(made)
}

/// Tells whether there was no link that could be used.
fn attach_program(program: &mut Program, cgroup: &File, pin: &Path) -> anyhow::Result<bool> {
    if pin.exists() {
        match sys::update_link(pin, program.fd()?.as_fd()) {
            Ok(()) => return Ok(false),
            Err(error) => tracing::debug!(?pin, "the link is stale: {error}"),
        }
    }
    let link = create(program, cgroup)?;
    links::detach(pin).context("remove the stale pin")?;
    link.pin(pin).with_context(|| format!("pin the link at {}", pin.display()))?;
    Ok(true)
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
