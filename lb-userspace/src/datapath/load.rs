//! Brings the kernel object in: maps first, over the pinned ones, programs when they are needed.
//!
//! Where the pinned maps are not what is wanted, another [`generation`] follows them.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aya::maps::Array;
use aya::programs::{Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::abi::flow::Hook;
use lb_common::abi::hint::{Hints, PLACES};
use lb_common::abi::{map, settings};

use super::generation::{self, GenerationError, Next, Old};
use super::layout::{Layout, layouts};
use super::object::OBJECT;
use super::pins::Pins;
use super::reserved::PortRange;
use super::{HOOKS, sockets};
use crate::flows;
use crate::maps::Capacities;
use crate::netlink::Layer;

/// How many of the last lines of the verifier's log an error shows.
const LOG_LINES: usize = 30;

/// A hint at every place.
static EVERYWHERE: Hints = [1; PLACES];

/// Why the datapath is not there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directories of the pins cannot be made.
    #[error("create the pin directory {path}: {source}")]
    Pins {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The maps of an earlier run cannot be followed.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The object or one of its maps is refused.
    #[error("load the kernel object")]
    Object(#[source] Box<EbpfError>),
    /// A program or map is not in the object.
    #[error("the kernel object has no {0}: it was built from another version")]
    Missing(&'static str),
    /// The verifier refuses a program.
    #[error("the kernel refuses program {program}: {source}\n{log}")]
    Rejected {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// A program cannot be loaded for another reason.
    #[error("load program {program}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<ProgramError>,
    },
}

/// What the programs read as globals.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a global of its own")]
pub struct Globals {
    /// Bits of [`settings::masquerade`].
    pub masquerade: u32,
    /// The source ports that masqueraded flows get.
    pub masquerade_ports: PortRange,
    /// One of [`settings::echo`].
    pub vip_echo: u32,
    /// Whether connections may be there that kube-proxy has translated.
    pub takes_over: bool,
    /// Whether TCP connections end once their endpoint is removed.
    pub terminates_tcp: bool,
    /// Whether sockets of every network namespace are translated.
    pub all_sockets: bool,
    /// Whether the kernel tells sockets that carry MPTCP from others.
    pub knows_mptcp: bool,
    /// The cookie of the network namespace whose sockets are, if not.
    pub host_netns: u64,
}

/// The loaded object.
///
/// Dropping it takes nothing down: the maps are pinned, and so is everything attached.
#[derive(Debug)]
pub struct Datapath {
    ebpf: Ebpf,
    pins: Pins,
    capacities: Capacities,
    globals: Globals,
    /// Its maps, if they are not in force yet.
    next: Option<Next>,
    /// What attached programs may still use beside its maps.
    old: Option<Old>,
}

impl Datapath {
    /// Creates the maps, or takes over those that are pinned, and loads the programs that every
    /// node needs.
    ///
    /// Where there are maps of other sizes, or of another version, its own are not in force before
    /// [`Datapath::take_over`].
    pub fn prepare(
        pins: &Pins,
        capacities: &Capacities,
        globals: Globals,
    ) -> Result<Self, LoadError> {
        generation::recover(pins).map_err(GenerationError::from)?;
        pins.create().map_err(|source| LoadError::Pins { path: pins.root().to_owned(), source })?;
        let layouts = layouts(capacities);
        let mut old = Old::find(pins).map_err(GenerationError::from)?;
        let next = Next::plan(pins, &layouts)?;
        if let Some(next) = &next {
            old.take().map_or(Ok(()), |old| old.settle(&layouts))?;
            next.begin()?;
        }
        let directory = if next.is_some() { pins.next_maps() } else { pins.maps() };
        let ebpf = open(&directory, &layouts, globals)?;
        let (pins, capacities) = (pins.clone(), *capacities);
        let mut datapath = Self { ebpf, pins, capacities, globals, next, old };
        if datapath.next.as_ref().is_some_and(|next| next.adds(map::HINTS)) {
            datapath.hint_at_everything()?;
        }
        for hook in HOOKS {
            datapath.program(Layer::Ethernet, hook)?;
        }
        Ok(datapath)
    }

    /// [Prepares](Datapath::prepare) and takes over at once.
    pub fn load(pins: &Pins, capacities: &Capacities, globals: Globals) -> Result<Self, LoadError> {
        let mut datapath = Self::prepare(pins, capacities, globals)?;
        datapath.take_over()?;
        Ok(datapath)
    }

    /// The same with maps of other sizes, [prepared](Datapath::prepare).
    pub fn resized(&self, capacities: &Capacities) -> Result<Self, LoadError> {
        Self::prepare(&self.pins, capacities, self.globals)
    }

    /// Flows may be there, and nobody knows what hints they would have left: each packet is looked up.
    fn hint_at_everything(&mut self) -> Result<(), LoadError> {
        let hints = self.ebpf.map_mut(map::HINTS).ok_or(LoadError::Missing(map::HINTS))?;
        let everywhere: &Hints = &EVERYWHERE;
        let filled = Array::<_, Hints>::try_from(hints)
            .and_then(|mut hints| hints.set(0, everywhere, 0))
            .map_err(|source| GenerationError::Pinned { map: map::HINTS, source });
        Ok(filled?)
    }

    /// Puts its maps in force, with all that the maps in force so far hold. Tells whether programs
    /// may be attached that use those: they are to be replaced at once, and [`Datapath::settle`] is to
    /// be called then.
    pub fn take_over(&mut self) -> Result<bool, GenerationError> {
        if let Some(next) = self.next.take() {
            // Without a clock everything is young.
            self.old = next.take_over(|| flows::now().unwrap_or_default())?;
        }
        Ok(self.old.is_some())
    }

    /// Ends the change from an earlier generation of maps: whatever is attached runs these programs.
    pub fn settle(&mut self) -> Result<(), GenerationError> {
        self.old.take().map_or(Ok(()), |old| old.settle(&layouts(&self.capacities)))
    }

    /// The program for a hook of an interface, loaded on first use: a node without tunnels never
    /// pays for those of tunnels.
    pub fn program(&mut self, layer: Layer, hook: Hook) -> Result<&mut SchedClassifier, LoadError> {
        let name = program_name(layer, hook);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|_| LoadError::Missing(name))?;
        if program.fd().is_err() {
            program.load().map_err(|error| rejection(name, error))?;
        }
        Ok(program)
    }

    /// Pins the maps that are not pinned any more; tells how many somebody had unpinned.
    pub fn pin_again(&self, pins: &Pins) -> anyhow::Result<u64> {
        pins.create().context("make the directories of the pins")?;
        fs::create_dir_all(pins.maps()).context("make the directory of the maps")?;
        let mut pinned = 0;
        for Layout { name, .. } in layouts(&Capacities::default()) {
            let path = pins.map(name);
            if let Some(map) = self.ebpf.map(name).filter(|_| !path.exists()) {
                map.pin(&path).with_context(|| format!("pin the map {name} again"))?;
                pinned += 1;
            }
        }
        Ok(pinned)
    }

    /// The programs that are loaded, by name, each as an open file of its own.
    #[must_use]
    pub fn programs(&self) -> Vec<(&'static str, OwnedFd)> {
        let layers = [Layer::Ethernet, Layer::L3];
        let names = layers.into_iter().flat_map(|it| HOOKS.map(|hook| program_name(it, hook)));
        let open = |name| {
            let program = self.ebpf.program(name)?.fd().ok()?;
            Some((name, program.as_fd().try_clone_to_owned().ok()?))
        };
        names.chain(sockets::programs()).filter_map(open).collect()
    }

    /// The program `name` of those at cgroups, loaded on first use.
    pub(super) fn socket_program(&mut self, name: &'static str) -> Result<&mut Program, LoadError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        if program.fd().is_err() {
            let loaded = match program {
                Program::CgroupSockAddr(program) => program.load(),
                Program::CgroupSock(program) => program.load(),
                _ => return Err(LoadError::Missing(name)),
            };
            loaded.map_err(|error| rejection(name, error))?;
        }
        Ok(program)
    }

    /// The object itself, for what reads its log.
    #[cfg(feature = "datapath-log")]
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

/// Names of the programs in the object.
fn program_name(layer: Layer, hook: Hook) -> &'static str {
    match (layer, hook) {
        (Layer::Ethernet, Hook::Ingress) => "lb_tc_ingress",
        (Layer::Ethernet, Hook::Egress) => "lb_tc_egress",
        (Layer::L3, Hook::Ingress) => "lb_l3_ingress",
        (Layer::L3, Hook::Egress) => "lb_l3_egress",
    }
}

/// The object over the maps that are pinned in `directory`; those that are not there are made.
pub(super) fn open(
    directory: &Path,
    layouts: &[Layout],
    globals: Globals,
) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    let PortRange { low, high } = globals.masquerade_ports;
    let ports = settings::packed_ports((low, high));
    loader.override_global(settings::MASQUERADE, &globals.masquerade, true);
    loader.override_global(settings::MASQUERADE_PORTS, &ports, true);
    loader.override_global(settings::VIP_ECHO, &globals.vip_echo, true);
    let takes_over = u32::from(globals.takes_over);
    loader.override_global(settings::TAKEOVER, &takes_over, true);
    let terminates_tcp = u32::from(globals.terminates_tcp);
    loader.override_global(settings::TERMINATE_TCP, &terminates_tcp, true);
    let all_sockets = u32::from(globals.all_sockets);
    loader.override_global(settings::SOCKET_LB, &all_sockets, true);
    let knows_mptcp = u32::from(globals.knows_mptcp);
    loader.override_global(settings::MPTCP, &knows_mptcp, true);
    loader.override_global(settings::HOST_NETNS, &globals.host_netns, true);
    for layout in layouts {
        loader.map_max_entries(layout.name, layout.shape.capacity);
        loader.map_pin_path(layout.name, directory.join(layout.name));
    }
    loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))
}

fn rejection(program: &'static str, error: ProgramError) -> LoadError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            tracing::debug!(program, %log, "the verifier's whole log");
            LoadError::Rejected { program, source: io_error, log: last_lines(&log, LOG_LINES) }
        }
        other => LoadError::Program { program, source: Box::new(other) },
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
