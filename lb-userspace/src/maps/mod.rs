//! The port between the agent and the kernel's maps.
//!
//! Everything that is written passes through [`Maps::apply`], one [`Write`] at a time, so that the
//! order of writes can be tested and a failure can happen between any two of them.

pub(crate) mod batch;
pub mod dump;
pub mod fake;
mod family;
mod flows;
pub mod growth;
pub mod kernel;
mod mmap;
pub mod raw;
pub mod sketch;
mod snapshot;

pub use family::PerFamily;
pub use flows::{FlowEntry, FlowTable};
pub use snapshot::{ReadBack, ServiceState, Snapshot};

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use lb_common::abi::service::SlotRange;
use lb_common::abi::{capacity, map};
use lb_common::net::Family;

use crate::plan::{Client, FrontendAddress, InterfaceEntry};

/// Index into `SERVICES`; never 0.
pub type ServiceId = u32;

/// Index into `BACKENDS_*` of one family; never 0.
pub type BackendId = u32;

/// One change of one map. Applying it twice is the same as applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Describe a backend.
    PutBackend(Family, BackendId, BackendEntry),
    /// Mark a backend's id as free; its generation stays, so that the next user of the id differs.
    FreeBackend(Family, BackendId),
    /// Fill slots that nobody reads yet.
    PutSlots {
        /// The first slot.
        offset: u32,
        /// Backend ids, one a slot.
        backends: Vec<BackendId>,
    },
    /// Publish the lists of a service: one store per list.
    PutService(ServiceId, ServiceEntry),
    /// Mark a service's id as free.
    FreeService(ServiceId),
    /// Name a service.
    PutServiceName(ServiceId, String, Family),
    /// Forget a service's name.
    DeleteServiceName(ServiceId),
    /// Let clients reach a service at an address.
    PutFrontend(FrontendAddress, FrontendEntry),
    /// Stop that. A frontend that is not there is no error.
    DeleteFrontend(FrontendAddress),
    /// Say that frontends are at an address.
    PutAddress(IpAddr, AddressEntry),
    /// Say that none is.
    DeleteAddress(IpAddr),
    /// Let the clients of a prefix use the guarded frontends of a service.
    PutSourceRange(ServiceId, IpNet),
    /// Stop that.
    DeleteSourceRange(ServiceId, IpNet),
    /// Say who the addresses of a prefix are.
    PutClient(IpNet, Client),
    /// Forget that.
    DeleteClient(IpNet),
    /// Say which prefixes of a family ClusterIPs are allocated from: all there are, sorted.
    PutServiceCidrs(Family, Vec<IpNet>),
    /// Say what is known of an interface.
    PutInterface(u32, InterfaceEntry),
    /// Say that nothing is known of it.
    DeleteInterface(u32),
}

/// `ADDRESSES_*` in userspace terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// What is no frontend's is rejected.
    pub closed: bool,
}

/// `BACKENDS_*` in userspace terms.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the map")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendEntry {
    /// Where it listens.
    pub address: SocketAddr,
    /// The service it belongs to.
    pub service: ServiceId,
    /// Counts the endpoints that have had this id.
    pub generation: u32,
    /// It answers.
    pub serving: bool,
    /// It is on this node.
    pub local: bool,
    /// It is in the service's cluster list.
    pub in_cluster_list: bool,
    /// It is in the service's local list.
    pub in_local_list: bool,
}

impl BackendEntry {
    /// The family of its address.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(&self.address.ip())
    }
}

/// `SERVICES` in userspace terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The list for traffic policy `Cluster`.
    pub cluster: SlotRange,
    /// The list for traffic policy `Local`.
    pub local: SlotRange,
    /// Some endpoint could be used, on whatever node.
    pub usable: bool,
    /// Session affinity in seconds; 0 = none.
    pub affinity_s: u32,
}

/// `FRONTENDS_*` in userspace terms.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the map")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendEntry {
    /// The service behind it.
    pub service: ServiceId,
    /// Balanced over the local list.
    pub local: bool,
    /// A NodePort, LoadBalancer or external address.
    pub external: bool,
    /// Only clients in the service's source ranges may use it.
    pub guarded: bool,
    /// Other ports of its address are rejected.
    pub closed: bool,
    /// A NodePort.
    pub node_port: bool,
}

/// Why a write did not happen, told apart by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The map has no room: the service is left as it was.
    #[error("map {map} is full at {capacity} entries; {}", advice(*setting))]
    Full {
        /// The map.
        map: &'static str,
        /// Its capacity in entries.
        capacity: u32,
        /// The agent's flag that sets it, if one does.
        setting: Option<&'static str>,
    },
    /// The kernel refused; worth trying again.
    #[error("map {map}: {source}")]
    Kernel {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl MapError {
    /// `map` has no room beyond its `capacity`.
    #[must_use]
    pub fn full(map: &'static str, capacity: u32) -> Self {
        Self::Full { map, capacity, setting: setting(map) }
    }

    /// The agent's flag that would make room, if that is what is missing.
    #[must_use]
    pub const fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Full { setting, .. } => *setting,
            Self::Kernel { .. } => None,
        }
    }
}

/// How many entries the maps have, or may have: the agent's settings `--max-…`.
///
/// Ids 0 of services and backends are never used, so one less of them fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Frontends per family.
    pub frontends: u32,
    /// Services of both families together.
    pub services: u32,
    /// Slots of all services.
    pub slots: u32,
    /// Backends per family.
    pub backends: u32,
    /// Flow entries per family.
    pub flows: u32,
    /// Prefixes of pods and addresses of the node, per family.
    pub clients: u32,
    /// Source ranges of all services, per family.
    pub source_ranges: u32,
    /// Entries for sockets that hold a backend, per family.
    pub sockets: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            frontends: capacity::FRONTENDS,
            services: capacity::SERVICES,
            slots: capacity::SLOTS,
            backends: capacity::BACKENDS,
            flows: capacity::FLOWS,
            clients: capacity::CLIENTS,
            source_ranges: capacity::SOURCE_RANGES,
            sockets: capacity::SOCKETS,
        }
    }
}

impl Capacities {
    /// That which the agent's flag `setting` sets.
    pub(crate) fn of_setting(&mut self, setting: &str) -> Option<&mut u32> {
        Some(match setting {
            "max-frontends" => &mut self.frontends,
            "max-services" => &mut self.services,
            "max-slots" => &mut self.slots,
            "max-backends" => &mut self.backends,
            "max-flows" => &mut self.flows,
            "max-clients" => &mut self.clients,
            "max-source-ranges" => &mut self.source_ranges,
            "max-sockets" => &mut self.sockets,
            _ => return None,
        })
    }
}

/// What the agent may do with the kernel's maps.
pub trait Maps {
    /// Makes one change. After an error nothing of it is visible, and it may be tried again.
    fn apply(&mut self, write: &Write) -> Result<(), MapError>;
}

/// Whether `address` is of `family`.
#[must_use]
pub fn is_of(family: Family, address: &IpAddr) -> bool {
    Family::of(address) == family
}

/// The name of the frontends' map of `family`.
#[must_use]
pub const fn frontends_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::FRONTENDS_V4,
        Family::V6 => map::FRONTENDS_V6,
    }
}

/// The name of the backends' map of `family`.
#[must_use]
pub const fn backends_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::BACKENDS_V4,
        Family::V6 => map::BACKENDS_V6,
    }
}

/// The name of the flows' map of `family`.
#[must_use]
pub const fn flows_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::FLOWS_V4,
        Family::V6 => map::FLOWS_V6,
    }
}

/// The name of the sockets' map of `family`.
#[must_use]
pub const fn sockets_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::SOCKETS_V4,
        Family::V6 => map::SOCKETS_V6,
    }
}

/// The name of the addresses' map of `family`.
#[must_use]
pub const fn addresses_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::ADDRESSES_V4,
        Family::V6 => map::ADDRESSES_V6,
    }
}

/// The name of the clients' map of `family`.
#[must_use]
pub const fn clients_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::CLIENTS_V4,
        Family::V6 => map::CLIENTS_V6,
    }
}

/// The name of the source ranges' map of `family`.
#[must_use]
pub const fn source_ranges_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::SOURCE_RANGES_V4,
        Family::V6 => map::SOURCE_RANGES_V6,
    }
}

/// The name of the service CIDRs' map of `family`.
#[must_use]
pub const fn service_cidrs_map(family: Family) -> &'static str {
    match family {
        Family::V4 => map::SERVICE_CIDRS_V4,
        Family::V6 => map::SERVICE_CIDRS_V6,
    }
}

/// The agent's flag that sets the capacity of `map`, if one does.
pub(crate) fn setting(map: &str) -> Option<&'static str> {
    let flag = match map {
        map::FRONTENDS_V4 | map::FRONTENDS_V6 | map::ADDRESSES_V4 | map::ADDRESSES_V6 => {
            "max-frontends"
        }
        map::SERVICES | map::SERVICE_NAMES | map::SERVICE_CARRIED => "max-services",
        map::SLOTS => "max-slots",
        map::BACKENDS_V4 | map::BACKENDS_V6 => "max-backends",
        map::FLOWS_V4 | map::FLOWS_V6 => "max-flows",
        map::CLIENTS_V4 | map::CLIENTS_V6 => "max-clients",
        map::SOURCE_RANGES_V4 | map::SOURCE_RANGES_V6 => "max-source-ranges",
        map::SOCKETS_V4 | map::SOCKETS_V6 => "max-sockets",
        _ => return None,
    };
    Some(flag)
}

/// What to do about a full map.
fn advice(setting: Option<&str>) -> String {
    let raise = |flag| format!("raise --{flag}");
    setting.map_or_else(|| "its size is fixed, so have fewer of them".to_owned(), raise)
}
