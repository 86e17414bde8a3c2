//! `SVC_CARRIED`: what services have carried, apart from their live flows. Programs and agent both add
//! to it, and nobody else is needed to read it.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::MapData;
use lb_common::abi::carried::Carried;
use lb_common::abi::map;

use super::access::{Open, mapped};
use crate::maps::mmap::MappedArray;
use crate::maps::{MapError, ServiceId};

/// The sums of one datapath.
#[derive(Debug)]
pub struct Sums(MappedArray<Carried>);

impl Sums {
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        Self::open(&mut |name| MapData::from_pin(directory.join(name)))
    }

    /// Those in the map that `open` finds by its name.
    pub fn open(open: &mut Open<'_>) -> Result<Self, MapError> {
        mapped(open, map::SERVICE_CARRIED).map(Self)
    }

    /// Those that are not zero.
    #[must_use]
    pub fn all(&self) -> BTreeMap<ServiceId, Carried> {
        let sums = (0..self.0.capacity()).filter_map(|id| Some((id, self.0.load(id)?)));
        sums.filter(|(_, sum)| *sum != Carried::default()).collect()
    }

    /// Adds to the sum of a service. Ids that no service can have are left out.
    pub fn add(&self, id: ServiceId, more: &Carried) {
        self.0.add(id, more);
    }

    /// Begins anew with a service: its id had another user before.
    pub(super) fn clear(&self, id: ServiceId) {
        self.0.store(id, &Carried::default(), 0);
    }
}
