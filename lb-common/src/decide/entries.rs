//! The entries of one flow, which are up to four (ARCHITECTURE.md, "A packet's path"):
//!
//! | entry | key | writes |
//! |---|---|---|
//! | request | ingress, client → dialled | destination: the backend |
//! | answer | egress, backend → client | source: what was dialled |
//! | request's leg | egress, client → backend | source: the node |
//! | answer's leg | ingress, backend → node | destination: the client |
//!
//! Each of a pair is the other's partner ([`Flow::partner`]), and either can be made from the other
//! ([`Flow::mirror`]). A flow whose client keeps its address has legs only as a spare of the
//! answer's entry: one, which writes nothing.

use super::state;
use crate::abi::counter::Counter;
use crate::abi::flow::{Draft, Flow, FlowKey, Hook, flags};
use crate::net::Address;
use crate::tables::{FlowEntry, Insert, InsertError, Tables};

/// Makes the partner of the entry `draft.flow` that is to be at `key`.
#[inline(never)]
pub(super) fn mirror<A: Address>(key: &FlowKey<A>, draft: &mut Draft<A>) {
    draft.partner = draft.flow.partner(key);
    draft.flow.mirror(key, &mut draft.mirrored);
}

/// Inserts the partner in `draft`, which translates answers; `false` if its place is taken by another
/// live flow, which must not be overwritten.
#[inline(never)]
pub(super) fn claim<A: Address, T: Tables<A>>(
    tables: &T,
    draft: &mut Draft<A>,
) -> Result<bool, Counter> {
    let place = &draft.partner;
    if place.src == place.dst && place.src_port == place.dst_port {
        // Who dials himself from the very port that he listens at: both ways would look the same.
        return Ok(false);
    }
    match tables.insert_flow(place, &draft.mirrored, Insert::IfAbsent) {
        Ok(()) => return Ok(true),
        Err(InsertError::Refused) => return Err(Counter::DropFlowTable),
        Err(InsertError::Exists) => {}
    }
    if let Some(entry) = tables.flow(place) {
        let there = entry.load();
        if !there.writes_like(&draft.mirrored)
            && state::is_live(&there, place.protocol, draft.flow.seen)
        {
            return Ok(false);
        }
        draft.other = place.reversed(Hook::Egress);
        tables.remove_flow(&draft.other);
    }
    match tables.insert_flow(&draft.partner, &draft.mirrored, Insert::Replace) {
        Ok(()) => Ok(true),
        Err(_) => Err(Counter::DropFlowTable),
    }
}

/// Lets the other entries of the flow know what was seen by the one at `key`.
///
/// Rare, and a call of its own: the fast path need not carry its stack.
#[inline(never)]
pub(super) fn tell<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    let flow = entry.load();
    draft.partner = flow.partner(key);
    merge(tables, &draft.partner, flow.state);
    if flow.flags & flags::MASQUERADE == 0 && !state::is_closing(flow.state) {
        return;
    }
    draft.other = leg(&flow, key, &draft.partner);
    if let Some(leg) = merge(tables, &draft.other, flow.state)
        && leg.load().writes()
    {
        draft.partner = leg.load().partner(&draft.other);
        merge(tables, &draft.partner, flow.state);
    }
}

#[inline(always)]
fn merge<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, state: u8) -> Option<T::Entry> {
    let entry = tables.flow(key)?;
    entry.set_state(entry.load().state | state);
    Some(entry)
}

/// Removes the flow that the entry at `key` belongs to: its port has been taken by another
/// connection.
#[inline(never)]
pub(super) fn forget<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    let flow = entry.load();
    draft.partner = flow.partner(key);
    draft.other = leg(&flow, key, &draft.partner);
    tables.remove_flow(key);
    tables.remove_flow(&draft.partner);
    let Some(leg) = tables.flow(&draft.other) else { return };
    draft.partner = leg.load().partner(&draft.other);
    if leg.load().writes() {
        tables.remove_flow(&draft.partner);
    }
    tables.remove_flow(&draft.other);
}

/// The key of the request's leg, of the flow with an entry at `key` and its partner at `partner`.
#[inline(always)]
fn leg<A: Address>(flow: &Flow<A>, key: &FlowKey<A>, partner: &FlowKey<A>) -> FlowKey<A> {
    let answer = if flow.is_reply() { key } else { partner };
    answer.reversed(Hook::Egress)
}

/// Puts the partner of the entry at `key` back if it was evicted.
#[inline(never)]
pub(super) fn heal<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    if !entry.load().writes() {
        return;
    }
    draft.partner = entry.load().partner(key);
    if tables.flow(&draft.partner).is_none() {
        entry.load().mirror(key, &mut draft.mirrored);
        // One that is refused now is tried again in a while.
        tables.insert_flow(&draft.partner, &draft.mirrored, Insert::IfAbsent).ok();
    }
}
