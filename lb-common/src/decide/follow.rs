//! The fast path: what an entry of `FLOWS` says about a packet.

use super::state;
use crate::abi::counter::Counter;
use crate::abi::flow::{Flow, FlowKey};
use crate::net::{Address, protocol};
use crate::tables::{FlowEntry, Tables};

/// What the flow table says.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// Apply the entry's rewrite.
    Rewrite,
    /// There is an entry, but the packet belongs to a connection that is not ours.
    NotOurs,
    /// No entry, or one that must not be followed any more.
    Decide,
}

/// Looks `key` up and, on a hit, keeps the entry's books and puts its rewrite into `new`.
#[inline(always)]
pub(super) fn follow<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    tcp_flags: u8,
    bytes: u32,
) -> Follow {
    let Some(entry) = tables.flow(key) else { return Follow::Decide };
    let flow = entry.load();
    let is_reply = flow.is_reply();
    if is_reply && state::answers_another_connection(flow.state, tcp_flags) {
        forget(tables, key, &entry);
        return Follow::NotOurs;
    }
    if !is_reply && must_decide_anew(tables, key.protocol, &flow, tcp_flags) {
        return Follow::Decide;
    }
    let next = state::after(flow.state, is_reply, tcp_flags);
    if next != flow.state {
        entry.set_state(next);
        tell_partner(tables, key, &entry);
    }
    entry.record(bytes, tables.now());
    // Read again, not kept: a copy would lie on the stack across the calls above.
    entry.load().rewrite(new);
    Follow::Rewrite
}

/// Whether a packet from the client may not follow its entry: a new connection (or association) on a
/// flow that is closing or whose backend is gone, or a datagram to a backend that serves no more.
#[inline(always)]
fn must_decide_anew<A: Address, T: Tables<A>>(
    tables: &T,
    protocol: u8,
    flow: &Flow<A>,
    tcp_flags: u8,
) -> bool {
    if protocol != protocol::UDP {
        return state::is_syn(tcp_flags)
            && (state::is_closing(flow.state)
                || !tables.backend(flow.backend).is_some_and(|b| b.exists(flow.generation)));
    }
    !tables.backend(flow.backend).is_some_and(|b| b.serves(flow.generation))
}

/// Lets the entry of the other direction know what was seen in this one.
///
/// Rare, and a call of its own: the fast path need not carry its stack.
#[inline(never)]
fn tell_partner<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let flow = entry.load();
    if let Some(partner) = tables.flow(&flow.partner(key)) {
        partner.set_state(partner.load().state | flow.state);
    }
}

/// Removes a flow in both directions: its port has been taken by another connection.
#[inline(never)]
fn forget<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let partner = entry.load().partner(key);
    tables.remove_flow(key);
    tables.remove_flow(&partner);
    tables.count(Counter::PassClosedFlow);
}
