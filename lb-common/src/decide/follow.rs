//! The fast path: what an entry of `FLOWS` says about a packet.

use super::{entries, probation, removed, state, tell};
use crate::abi::counter::Counter;
use crate::abi::flow::{Flow, FlowKey, Hook};
use crate::net::{Address, protocol};
use crate::tables::{FlowEntry, Tables};

/// What the flow table says.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// Apply the entry's rewrite.
    Rewrite,
    /// There is an entry, but the packet goes on as it is: it belongs to a connection that is not
    /// ours, or to one of ours that is not rewritten here.
    Leave,
    /// The connection ends: its endpoint was removed.
    End,
    /// No entry, or one that must not be followed any more.
    Decide,
}

/// Looks `key` up and, on a hit, keeps the entry's books and puts its rewrite into `new`.
#[inline(always)]
pub(super) fn follow<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    hook: Hook,
    tcp_flags: u8,
    bytes: u32,
) -> Follow {
    let Some(entry) = tables.flow(key) else { return Follow::Decide };
    let flow = entry.load();
    if !flow.is_leg() {
        let is_reply = flow.is_reply();
        if is_reply && state::answers_another_connection(flow.state, tcp_flags) {
            tell::count(tables, Counter::PassClosedFlow, key, key, tcp_flags);
            entries::forget(tables, key, &entry);
            return Follow::Leave;
        }
        if !is_reply && must_decide_anew(tables, key.protocol, &flow, tcp_flags) {
            if key.protocol == protocol::TCP {
                entries::forget(tables, key, &entry);
            } else {
                // Another takes its place, unless there is none to send to.
                entries::settle(tables, &entry);
            }
            return Follow::Decide;
        }
        let next = state::after(flow.state, is_reply, tcp_flags);
        if next != flow.state {
            entry.set_state(next);
            entries::tell(tables, key, &entry);
            if state::is_established(flow.state) && state::is_closed(next) {
                probation::put_back(tables, key, &entry);
            }
        }
    }
    let now = tables.now();
    entry.record(bytes, now);
    if tables.terminates_tcp()
        && hook == Hook::Ingress
        && removed::may_end(&flow, now)
        && removed::ends(tables, key, &entry, tcp_flags)
    {
        return Follow::End;
    }
    if flow.seen != now {
        entries::heal(tables, key, &entry);
    }
    // Read again, not kept: a copy would lie on the stack across the calls above.
    let flow = entry.load();
    flow.rewrite(new);
    if flow.writes() { Follow::Rewrite } else { Follow::Leave }
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
