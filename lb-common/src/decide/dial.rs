//! What a packet without a flow dials: a frontend, a service's address with nothing at that port, an
//! address that no service has yet, or somebody else (kube-proxy-behaviour §4.6).

use super::Translation;
use crate::abi::address::flags;
use crate::abi::capacity;
use crate::abi::counter::Counter;
use crate::abi::flow::FlowKey;
use crate::abi::frontend::{Frontend, FrontendKey};
use crate::net::Address;
use crate::tables::Tables;

/// The frontend that `key` dials, else what becomes of the packet.
///
/// The address comes first: a packet to nobody's frontend costs one lookup in a hash here.
#[inline(always)]
pub(super) fn frontend<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
) -> Result<Frontend, Translation> {
    let Some(at) = tables.at(&key.dst) else {
        return Err(elsewhere(tables, &key.dst));
    };
    let dialled = FrontendKey::new(key.dst, key.dst_port, key.protocol);
    match tables.frontend(&dialled) {
        Some(frontend) => Ok(frontend),
        None if at & flags::CLOSED != 0 => Err(Translation::Counted(Counter::RejectUnknownPort)),
        None => Err(Translation::None),
    }
}

/// What becomes of a packet to an address that no frontend is at. One that is for ClusterIPs would
/// wander from router to router.
#[inline(always)]
fn elsewhere<A: Address, T: Tables<A>>(tables: &T, addr: &A) -> Translation {
    for index in 0..capacity::SERVICE_CIDRS {
        match tables.service_cidr(index) {
            Some(cidr) if cidr.is_used() => {
                if cidr.has(addr) {
                    return Translation::Counted(Counter::DropUnallocated);
                }
            }
            _ => break,
        }
    }
    Translation::None
}
