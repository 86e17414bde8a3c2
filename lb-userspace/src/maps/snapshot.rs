//! What the maps hold, read back as a value.
//!
//! A snapshot is raw: it says what is there, not whether it makes sense. Whoever reads live maps
//! while an agent writes sees each entry as it was at some moment of the reading.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::abi::service::SlotRange;
use lb_common::net::Family;

use super::{
    AddressEntry, BackendEntry, BackendId, Capacities, FrontendEntry, MapError, ServiceEntry,
    ServiceId,
};
use crate::plan::{Client, FrontendAddress, InterfaceEntry};

/// Maps that can be read back: for restarts (I5), comparisons (I6) and people.
pub trait ReadBack {
    /// How many entries the maps have.
    fn capacities(&self) -> Capacities;

    /// Everything in them that the agent writes.
    fn snapshot(&self) -> Result<Snapshot, MapError>;
}

/// Everything the agent has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// `FRONTENDS_*`.
    pub frontends: BTreeMap<FrontendAddress, FrontendEntry>,
    /// `SERVICES` in use, with the slots they name.
    pub services: BTreeMap<ServiceId, ServiceState>,
    /// `BACKENDS_*` in use.
    pub backends: BTreeMap<(Family, BackendId), BackendEntry>,
    /// The generations of the backend ids that were in use once and are free now.
    pub free_backends: BTreeMap<(Family, BackendId), u32>,
    /// `SERVICE_NAMES`.
    pub names: BTreeMap<ServiceId, (String, Family)>,
    /// `ADDRESSES_*`.
    pub addresses: BTreeMap<IpAddr, AddressEntry>,
    /// `SRC_RANGES_*`.
    pub source_ranges: BTreeSet<(ServiceId, IpNet)>,
    /// `CLIENTS_*`.
    pub clients: BTreeMap<IpNet, Client>,
    /// `SVC_CIDRS_*`.
    pub service_cidrs: BTreeSet<IpNet>,
    /// `INTERFACES`.
    pub interfaces: BTreeMap<u32, InterfaceEntry>,
}

/// A service in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Its entry in `SERVICES`.
    pub entry: ServiceEntry,
    /// The backends in its list for traffic policy `Cluster`.
    pub cluster: Vec<BackendId>,
    /// The backends in its list for traffic policy `Local`.
    pub local: Vec<BackendId>,
}

impl ServiceState {
    /// The service of `entry`, its lists read through `slot`.
    pub fn read(entry: ServiceEntry, slot: impl Fn(u32) -> BackendId) -> Self {
        let list = |range: SlotRange| {
            (range.offset()..range.offset().saturating_add(range.count())).map(&slot).collect()
        };
        Self { entry, cluster: list(entry.cluster), local: list(entry.local) }
    }
}
