//! What the loader has told the programs: their read-only globals.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::maps::{MapData, MapInfo};
use aya::programs::{ProgramInfo, loaded_programs};
use lb_common::abi::settings::{
    DEFAULT_MASQUERADE_PORTS, MASQUERADE, MASQUERADE_PORTS, TAKEOVER, TERMINATE_TCP, VIP_ECHO,
    echo, packed_ports,
};

use crate::datapath::object::OBJECT;
use crate::maps::batch::first_value;

/// The section, and the map, of read-only globals.
const READ_ONLY: &str = ".rodata";

/// The settings that a decision on a packet reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// [`MASQUERADE`].
    pub masquerade: u32,
    /// [`MASQUERADE_PORTS`].
    pub masquerade_ports: u32,
    /// [`VIP_ECHO`].
    pub vip_echo: u32,
    /// [`TAKEOVER`].
    pub takes_over: bool,
    /// [`TERMINATE_TCP`].
    pub terminates_tcp: bool,
}

impl Default for Settings {
    /// The agent's, unless its flags say otherwise.
    fn default() -> Self {
        Self {
            masquerade: 0,
            masquerade_ports: packed_ports(DEFAULT_MASQUERADE_PORTS),
            vip_echo: echo::ANSWER,
            takes_over: false,
            terminates_tcp: false,
        }
    }
}

impl Settings {
    /// Those of the programs that use the map pinned at `map`; `None` if none does.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell, or the programs are of another version.
    pub fn of_users(map: &Path) -> anyhow::Result<Option<Self>> {
        let wanted = MapInfo::from_pin(map).context("ask for the pinned map")?.id();
        // The newest last: after an update the old ones may be there for a moment.
        let mut globals = None;
        for program in loaded_programs() {
            globals = read_only_map(&program.context("list programs")?, wanted).or(globals);
        }
        globals.map(Self::read).transpose()
    }

    fn read(map: u32) -> anyhow::Result<Self> {
        let data = MapData::from_id(map).context("open the globals of the programs")?;
        let values = first_value(&data).context("read the globals of the programs")?;
        let global = |name| global(&values, name);
        Ok(Self {
            masquerade: global(MASQUERADE)?,
            masquerade_ports: global(MASQUERADE_PORTS)?,
            vip_echo: global(VIP_ECHO)?,
            takes_over: global(TAKEOVER)? != 0,
            terminates_tcp: global(TERMINATE_TCP)? != 0,
        })
    }
}

/// The id of the map of globals of a program that uses the map `wanted`.
fn read_only_map(program: &ProgramInfo, wanted: u32) -> Option<u32> {
    let ids = program.map_ids().ok()??;
    let is_global = |id: &u32| {
        let info = MapInfo::from_id(*id).ok();
        info.is_some_and(|it| it.name_as_str().is_some_and(|name| name.ends_with(READ_ONLY)))
    };
    if ids.contains(&wanted) { ids.into_iter().find(is_global) } else { None }
}

/// A global of our object among `values`. Where it stands is seen by writing there.
fn global(values: &[u8], name: &str) -> anyhow::Result<u32> {
    let mut object = aya_obj::Object::parse(OBJECT).context("parse the object")?;
    let [zeros, ones] = [[0; 4], [0xff; 4]].map(|bytes: [u8; 4]| {
        object.patch_map_data(HashMap::from([(name, (&bytes[..], true))]))?;
        let section = object.maps.get(READ_ONLY);
        anyhow::Ok(section.map(|it| it.data().to_vec()).unwrap_or_default())
    });
    let (zeros, ones) = (zeros?, ones?);
    ensure!(zeros.len() == values.len(), "the programs are of another version of waggle");
    let at = zeros.iter().zip(&ones).position(|(zero, one)| zero != one);
    let bytes = at.and_then(|at| values.get(at..at + 4)?.try_into().ok());
    bytes.map(u32::from_ne_bytes).with_context(|| format!("find the global {name}"))
}
