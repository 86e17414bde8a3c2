//! How full the maps are that nobody keeps books on: those that the programs alone fill, and that of
//! exempt cgroups.
//!
//! They are counted. Counting makes no entry younger.

use std::fmt;
use std::path::Path;

use aya::Pod;
use aya::maps::MapData;
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::FrontendKey;
use lb_common::abi::map;
use lb_common::abi::socket::{Socket, SocketKey};
use lb_common::net::{Addr4, Addr6};

use super::super::batch::Batches;
use super::access::refused;
use crate::maps::MapError;
use crate::tables::MapUsage;

/// Maps of one datapath that are counted.
pub struct LruMaps(Vec<Lru>);

struct Lru {
    map: &'static str,
    capacity: u32,
    count: Count,
}

type Count = Box<dyn FnMut() -> Result<usize, MapError> + Send>;

impl fmt::Debug for LruMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LruMaps").finish_non_exhaustive()
    }
}

impl LruMaps {
    /// Those that are pinned in `directory`, but for the flows: the collector counts them.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        Ok(Self(vec![
            lru::<AffinityKey<Addr4>, Affinity>(directory, map::AFFINITY_V4)?,
            lru::<AffinityKey<Addr6>, Affinity>(directory, map::AFFINITY_V6)?,
            lru::<FragmentKey<Addr4>, FragmentPorts>(directory, map::FRAGMENTS_V4)?,
            lru::<FragmentKey<Addr6>, FragmentPorts>(directory, map::FRAGMENTS_V6)?,
            lru::<SocketKey<Addr4>, Socket<Addr4>>(directory, map::SOCKETS_V4)?,
            lru::<SocketKey<Addr6>, Socket<Addr6>>(directory, map::SOCKETS_V6)?,
            lru::<FrontendKey<Addr4>, FrontendKey<Addr4>>(directory, map::SERVERS_V4)?,
            lru::<FrontendKey<Addr6>, FrontendKey<Addr6>>(directory, map::SERVERS_V6)?,
            lru::<FlowKey<Addr4>, u32>(directory, map::RESETS_V4)?,
            lru::<FlowKey<Addr6>, u32>(directory, map::RESETS_V6)?,
            lru::<u64, u32>(directory, map::EXEMPT)?,
        ]))
    }

    /// The same, with the flows.
    pub fn with_flows(directory: &Path) -> Result<Self, MapError> {
        let mut maps = Self::from_pins(directory)?;
        maps.0.push(lru::<FlowKey<Addr4>, Flow<Addr4>>(directory, map::FLOWS_V4)?);
        maps.0.push(lru::<FlowKey<Addr6>, Flow<Addr6>>(directory, map::FLOWS_V6)?);
        Ok(maps)
    }

    /// How full each of them is now.
    pub fn usage(&mut self) -> Result<Vec<MapUsage>, MapError> {
        let usage = |lru: &mut Lru| {
            Ok(MapUsage { map: lru.map, entries: (lru.count)()?, capacity: lru.capacity })
        };
        self.0.iter_mut().map(usage).collect()
    }
}

fn lru<K, V>(directory: &Path, map: &'static str) -> Result<Lru, MapError>
where
    K: Pod + Send,
    V: Pod + Send,
{
    let data = MapData::from_pin(directory.join(map)).map_err(refused(map))?;
    let capacity = data.info().map_err(refused(map))?.max_entries();
    let kernel = move |source| MapError::Kernel { map, source };
    let mut batches = Batches::<K, V>::new(&data).map_err(kernel)?;
    let count = move || {
        let mut count = 0;
        while let Some(entries) = batches.next().map_err(kernel)? {
            count += entries.len();
        }
        Ok(count)
    };
    Ok(Lru { map, capacity, count: Box::new(count) })
}
