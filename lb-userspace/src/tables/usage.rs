//! How full the maps are, by the bookkeeping: no map is read.

use lb_common::abi::{capacity, map};
use lb_common::net::Family;

use super::Tables;
use crate::maps::{
    addresses_map, backends_map, clients_map, frontends_map, service_cidrs_map, source_ranges_map,
};

/// How much there is in the maps that are filled from plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Ports of Services, of both families.
    pub services: usize,
    /// Backends of all services, of both families.
    pub backends: usize,
    /// Each map.
    pub maps: Vec<MapUsage>,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUsage {
    /// Its name.
    pub map: &'static str,
    /// Entries in use. What rests before it is used again is not.
    pub entries: usize,
    /// Entries there is room for.
    pub capacity: u32,
}

impl Tables {
    /// How full the maps are now. Costs next to nothing, however much they hold.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (room, services) = (self.capacities, self.service_ids.taken());
        let usage = |map, entries, capacity| MapUsage { map, entries, capacity };
        let mut maps = vec![
            usage(map::SERVICES, services, room.services - 1),
            usage(map::SLOTS, self.slots.taken() as usize, room.slots),
            usage(map::SERVICE_NAMES, services, room.services),
            usage(map::INTERFACES, self.around.interfaces(), capacity::INTERFACES),
        ];
        let mut backends = 0;
        for family in [Family::V4, Family::V6] {
            let taken = self.backend_ids[family].taken();
            backends += taken;
            let (frontends, ranges) = (&self.frontends[family], self.source_ranges[family]);
            let (clients, cidrs) = (self.around.clients(family), self.around.cidrs(family));
            maps.extend([
                usage(frontends_map(family), frontends.len(), room.frontends),
                usage(addresses_map(family), frontends.addresses(), room.frontends),
                usage(backends_map(family), taken, room.backends - 1),
                usage(source_ranges_map(family), ranges as usize, room.source_ranges),
                usage(clients_map(family), clients, room.clients),
                usage(service_cidrs_map(family), cidrs, capacity::SERVICE_CIDRS),
            ]);
        }
        Usage { services, backends, maps }
    }
}
