//! Rows of `SVC_CARRIED`.

use std::fmt;

use lb_common::abi::carried::Carried;
use lb_common::abi::map;
use serde::Serialize;

use crate::maps::ServiceId;

/// What a service has carried, but for its live flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CarriedRow {
    /// The service's id.
    pub id: ServiceId,
    /// Flows that have begun.
    pub flows: u64,
    /// Connections and conversations that have begun at sockets.
    pub sockets: u64,
    /// Packets of flows that are over, both directions.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

impl CarriedRow {
    /// The row of the service with this `id`.
    #[must_use]
    pub const fn new(id: ServiceId, sum: &Carried) -> Self {
        let Carried { flows, sockets, packets, bytes } = *sum;
        Self { id, flows, sockets, packets, bytes }
    }
}

impl fmt::Display for CarriedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, flows, sockets, packets, bytes } = self;
        let map = map::SERVICE_CARRIED;
        write!(f, "{map} {id} flows={flows} sockets={sockets} packets={packets} bytes={bytes}")
    }
}
