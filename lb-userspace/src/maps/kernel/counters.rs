//! `COUNTERS`: what the programs count. Reading it needs no other map.

use std::fmt;
use std::path::Path;

use aya::maps::{MapData, PerCpuArray};
use lb_common::abi::counter::Counter;
use lb_common::abi::map;

use super::access::{Open, refused, typed};
use crate::maps::MapError;
use crate::maps::dump::CounterRow;

/// The counters of one datapath.
pub struct Counters(pub(super) PerCpuArray<MapData, u64>);

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        Self::open(&mut |name| MapData::from_pin(directory.join(name)))
    }

    pub(super) fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        typed(open, map::COUNTERS).map(Self)
    }

    /// Every counter, summed over the CPUs.
    pub fn read(&self) -> Result<Vec<CounterRow>, MapError> {
        let row = |counter: &Counter| {
            let values = self.0.get(&(*counter as u32), 0).map_err(refused(map::COUNTERS))?;
            Ok(CounterRow { name: counter.label(), value: values.iter().sum() })
        };
        Counter::ALL.iter().map(row).collect()
    }
}
