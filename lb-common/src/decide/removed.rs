//! TCP connections whose endpoint is removed end, where the setting says so: their client is sent a
//! reset in answer to its next packet.
//!
//! Whoever is not looked at here lives on, as with kube-proxy. The backend is looked up once a tick, so
//! a busy connection ends within about a second, and the fast path pays nothing. The backend learns of
//! it when it speaks next: the client's own reset follows the flow's entry, as all its resets do.

use super::{entries, probation, state};
use crate::abi::flow::{Flow, FlowKey, state as seen};
use crate::clock::Ticks;
use crate::net::{Address, protocol};
use crate::parse::tcp;
use crate::tables::{FlowEntry, Tables};

/// Whether the backend of `flow`, an entry as it was before a packet at `now`, is to be looked up: a
/// request's first one in a tick, and all that come after the reset.
#[inline(always)]
pub(super) fn may_end<A: Address>(flow: &Flow<A>, now: Ticks) -> bool {
    (flow.seen != now || flow.state & seen::RESET != 0) && !flow.is_reply() && !flow.is_leg()
}

/// Whether a request ends its connection, whose entry is at `key`; all entries of the flow are told.
///
/// A direct connection that only got another source port ([`admit`](super::admit)) is nobody's to end.
#[inline(never)]
pub(super) fn ends<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    entry: &T::Entry,
    tcp_flags: u8,
) -> bool {
    let is_direct = entry.load().dst == key.dst && entry.load().dst_port == key.dst_port;
    if key.protocol != protocol::TCP || tcp_flags & tcp::RST != 0 || is_direct {
        return false;
    }
    let generation = entry.load().generation;
    if tables.backend(entry.load().backend).is_some_and(|it| it.exists(generation)) {
        return false;
    }
    let before = entry.load().state;
    let after = state::after(before, true, tcp::RST);
    if after != before {
        entry.set_state(after);
        entries::tell(tables, key, entry);
        if state::is_established(before) {
            probation::put_back(tables, key, entry);
        }
    }
    true
}
