//! The entries of one flow, which are up to four (ARCHITECTURE.md, "A packet's path"):
//!
//! | entry | key | writes |
//! |---|---|---|
//! | request | ingress, client → dialled | destination: the backend |
//! | answer | egress, backend → client | source: what was dialled |
//! | request's leg | egress, client → backend | source: the node |
//! | answer's leg | ingress, backend → node | destination: the client |
//!
//! Each of a pair is the other's partner ([`Flow::partner`](crate::abi::flow::Flow::partner)), and either can be made from the other
//! ([`Flow::mirror`](crate::abi::flow::Flow::mirror)). A flow whose client keeps its address has legs only as a spare of the
//! answer's entry: one, which writes nothing.

use super::state;
use crate::abi::carried::Carried;
use crate::abi::counter::Counter;
use crate::abi::draft::Draft;
use crate::abi::flow::{FlowKey, Hook, flags};
use crate::net::Address;
use crate::tables::{FlowEntry, Insert, InsertError, Tables};

/// Makes the partner of the entry `draft.flow` that is to be at `key`.
#[inline(never)]
pub(super) fn mirror<A: Address>(key: &FlowKey<A>, draft: &mut Draft<A>) {
    draft.flow.put_partner(key, &mut draft.partner);
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
        if !there.is_leg() {
            settle(tables, &entry);
        }
        vacate(tables, draft, &entry);
    }
    match tables.insert_flow(&draft.partner, &draft.mirrored, Insert::Replace) {
        Ok(()) => Ok(true),
        Err(_) => Err(Counter::DropFlowTable),
    }
}

/// Removes the other entries of the flow whose `answer` is at `draft.partner`: its next request must not
/// find its way back to a place that is another's.
#[inline(never)]
fn vacate<A: Address, T: Tables<A>>(tables: &T, draft: &mut Draft<A>, answer: &T::Entry) {
    answer.load().put_partner(&draft.partner, &mut draft.other);
    if let Some(request) = tables.flow(&draft.other) {
        if !request.load().is_leg() {
            settle(tables, &request);
        }
        tables.remove_flow(&draft.other);
    }
    draft.partner.put_reversed(Hook::Egress, &mut draft.other);
    tables.remove_flow(&draft.other);
}

/// Adds what an entry has counted to what its service has carried, before it goes. Not for legs: what
/// they have counted, the entries at the client's side have too.
#[inline(always)]
pub(super) fn settle<A: Address, T: Tables<A>>(tables: &T, entry: &T::Entry) {
    let (packets, bytes) = entry.take_counts();
    tables.add(entry.load().service, &Carried { packets, bytes, ..Carried::default() });
}

/// Lets the other entries of the flow know what was seen by the one at `key`.
///
/// Rare, and a call of its own: the fast path need not carry its stack.
#[inline(never)]
pub(super) fn tell<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    // Loaded anew each time: a copy would lie on the stack across the calls.
    entry.load().put_partner(key, &mut draft.partner);
    let (flags, state) = (entry.load().flags, entry.load().state);
    merge(tables, &draft.partner, state);
    if flags & flags::MASQUERADE == 0 && !state::is_closing(state) {
        return;
    }
    put_leg(flags, key, draft);
    if let Some(leg) = merge(tables, &draft.other, state)
        && leg.load().writes()
    {
        leg.load().put_partner(&draft.other, &mut draft.partner);
        merge(tables, &draft.partner, state);
    }
}

#[inline(always)]
fn merge<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, state: u8) -> Option<T::Entry> {
    let entry = tables.flow(key)?;
    entry.set_state(entry.load().state | state);
    Some(entry)
}

/// Removes the flow that the entry at `key` belongs to. What has become another flow's stays.
#[inline(never)]
pub(super) fn forget<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    entry.load().put_partner(key, &mut draft.partner);
    let flags = entry.load().flags;
    settle(tables, entry);
    tables.remove_flow(key);
    if let Some(partner) = tables.flow(&draft.partner) {
        if partner.load().answers(&draft.partner, key) {
            settle(tables, &partner);
            tables.remove_flow(&draft.partner);
        } else if flags & flags::REPLY == 0 {
            return;
        }
    }
    put_leg(flags, key, draft);
    let Some(leg) = tables.flow(&draft.other) else { return };
    leg.load().put_partner(&draft.other, &mut draft.partner);
    if leg.load().writes() {
        tables.remove_flow(&draft.partner);
    }
    tables.remove_flow(&draft.other);
}

/// Makes `draft.other` the key of the request's leg, of the flow with an entry with these `flags` at
/// `key` and its partner at `draft.partner`.
#[inline(always)]
fn put_leg<A: Address>(flags: u16, key: &FlowKey<A>, draft: &mut Draft<A>) {
    if flags & flags::REPLY != 0 {
        key.put_reversed(Hook::Egress, &mut draft.other);
    } else {
        draft.partner.put_reversed(Hook::Egress, &mut draft.other);
    }
}

/// Puts the partner of the entry at `key` back if it was evicted.
#[inline(never)]
pub(super) fn heal<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    let draft = &mut *draft;
    if !entry.load().writes() {
        return;
    }
    entry.load().put_partner(key, &mut draft.partner);
    if tables.flow(&draft.partner).is_none() {
        entry.load().mirror(key, &mut draft.mirrored);
        // One that is refused now is tried again in a while.
        tables.insert_flow(&draft.partner, &draft.mirrored, Insert::IfAbsent).ok();
    }
}
