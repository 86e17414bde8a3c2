//! Which source ports may stand for a client's own.

use crate::abi::flow::FlowKey;
use crate::net::{Address, Port};
use crate::tables::Tables;

/// How many ports are tried for a flow.
pub(super) const ATTEMPTS: u32 = 8;

/// Whether `port` is within the range of [`MASQUERADE_PORTS`](crate::abi::settings::MASQUERADE_PORTS).
#[inline(always)]
pub(super) fn has<A: Address, T: Tables<A>>(tables: &T, port: Port) -> bool {
    let (range, port) = (tables.masquerade_ports(), u32::from(port.to_host()));
    (range & 0xffff..=range >> 16).contains(&port)
}

/// The port of that range to try at `attempt` for the flow of `key`. The same flow is offered the
/// same ports, so that a lost entry is made again as it was.
#[inline(always)]
pub(super) fn offer<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, attempt: u32) -> Port {
    let range = tables.masquerade_ports();
    let lowest = range & 0xffff;
    let count = (range >> 16).wrapping_sub(lowest).wrapping_add(1);
    // Steps by the golden ratio spread over the whole range.
    let hash = key.hash().wrapping_add(attempt.wrapping_mul(0x9e37_79b9));
    let offset = ((u64::from(hash) * u64::from(count)) >> 32) as u32;
    Port::from_host(lowest.wrapping_add(offset) as u16)
}
