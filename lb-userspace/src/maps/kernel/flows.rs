//! `FLOWS_*` of one family, for who removes entries, and puts some back, beside the programs.

use std::path::Path;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::net::Address;
use nix::libc;

use super::super::batch::Batches;
use super::access::{IF_ABSENT, refused};
use crate::maps::{FlowEntry, FlowTable, MapError, flows_map};

/// The flows of one family.
#[derive(Debug)]
pub struct KernelFlows<A> {
    map: HashMap<MapData, FlowKey<A>, Flow<A>>,
    batches: Batches<FlowKey<A>, Flow<A>>,
    capacity: u32,
}

impl<A> KernelFlows<A> {
    /// How many entries there is room for.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }
}

impl<A: Address> KernelFlows<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        let name = flows_map(A::FAMILY);
        let data = MapData::from_pin(directory.join(name)).map_err(refused(name))?;
        let batches = Batches::new(&data).map_err(kernel::<A>)?;
        let capacity = data.info().map_err(refused(name))?.max_entries();
        let map = Map::from_map_data(data).and_then(HashMap::try_from).map_err(refused(name))?;
        Ok(Self { map, batches, capacity })
    }
}

impl<A: Address> FlowTable<A> for KernelFlows<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fn next_entries(&mut self) -> Result<Option<Vec<FlowEntry<A>>>, MapError> {
        self.batches.next().map_err(kernel::<A>)
    }

    fn get(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, MapError> {
        match self.map.get(key, 0) {
            Ok(flow) => Ok(Some(flow)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(refused(flows_map(A::FAMILY))(error)),
        }
    }

    fn take(&mut self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, MapError> {
        self.batches.take(key).map_err(kernel::<A>)
    }

    fn put_if_absent(&mut self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, MapError> {
        match self.map.insert(key, flow, IF_ABSENT).map_err(refused(flows_map(A::FAMILY))) {
            Err(MapError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => {
                Ok(false)
            }
            outcome => outcome.map(|()| true),
        }
    }
}

fn kernel<A: Address>(source: std::io::Error) -> MapError {
    MapError::Kernel { map: flows_map(A::FAMILY), source }
}
