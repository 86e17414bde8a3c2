//! `SERVICE_NAMES`, for who meets ids and wants to speak of them. Needs no other map.

use std::fmt;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use lb_common::abi::map;
use lb_common::abi::name::ServiceName;
use lb_common::net::Family;

use super::access::typed;
use crate::maps::{MapError, ServiceId};

/// The names of one datapath.
pub struct Names(HashMap<MapData, u32, ServiceName>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        let open = &mut |name| MapData::from_pin(directory.join(name));
        typed(open, map::SERVICE_NAMES).map(Self)
    }

    /// `namespace/name:port/PROTOCOL` of a service; `None` if nobody has this id.
    #[must_use]
    pub fn get(&self, id: ServiceId) -> Option<String> {
        self.find(id).map(|(name, _)| name)
    }

    /// The same, and its family.
    #[must_use]
    pub fn find(&self, id: ServiceId) -> Option<(String, Family)> {
        let value = self.0.get(&id, 0).ok()?;
        value.parse().map(|(name, family)| (name.to_owned(), family))
    }
}
