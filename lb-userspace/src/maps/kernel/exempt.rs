//! `EXEMPT`: cgroups whose processes are translated as packets.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use lb_common::abi::{capacity, exempt, map};

use super::access::{absent_is_fine, refused, refused_at, typed};
use crate::maps::MapError;

/// The exempt cgroups of one datapath.
pub struct Exempt(HashMap<MapData, u64, u32>);

impl fmt::Debug for Exempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exempt").finish_non_exhaustive()
    }
}

impl Exempt {
    /// That which is pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        typed(&mut |name| MapData::from_pin(directory.join(name)), map::EXEMPT).map(Self)
    }

    /// Makes it hold these cgroups, by their ids, and no others. The key that announces them is
    /// written after the first and removed before the last.
    pub fn set(&mut self, cgroups: &BTreeSet<u64>) -> Result<(), MapError> {
        let held: BTreeSet<_> =
            self.0.keys().collect::<Result<_, _>>().map_err(refused(map::EXEMPT))?;
        if cgroups.is_empty() {
            absent_is_fine(map::EXEMPT, self.0.remove(&exempt::ANY))?;
        }
        for id in held.difference(cgroups).filter(|id| **id != exempt::ANY) {
            absent_is_fine(map::EXEMPT, self.0.remove(id))?;
        }
        let announced = (!cgroups.is_empty()).then_some(&exempt::ANY);
        for id in cgroups.difference(&held).chain(announced) {
            self.0.insert(id, 1, 0).map_err(refused_at(map::EXEMPT, capacity::EXEMPT))?;
        }
        Ok(())
    }
}
