//! Flows on probation ([`probation`](crate::abi::probation)): who is put there, and who goes for it.

use super::{entries, state};
use crate::abi::counter::Counter;
use crate::abi::flow::FlowKey;
use crate::net::Address;
use crate::tables::{FlowEntry, Tables};

/// Puts a new flow on probation, with its request's entry at `key`.
///
/// Who has reopened a closed flow is there twice, and may go a little early for the first of its
/// places; but not once it is established.
#[inline(never)]
pub(super) fn put<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) {
    let Some(mut place) = tables.place() else { return };
    vacate(tables, &place);
    *place = *key;
}

/// Puts the flow with an entry at `key` on probation again, because it is over.
#[inline(never)]
pub(super) fn put_back<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut place) = tables.place() else { return };
    vacate(tables, &place);
    *place = *key;
    if entry.load().is_reply() {
        entry.load().put_partner(key, &mut place);
    }
}

/// Forgets the flow with its request's entry at `key`, unless it is established.
#[inline(never)]
fn vacate<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) {
    let Some(entry) = tables.flow(key) else { return };
    let state = entry.load().state;
    if state::is_established(state) {
        return;
    }
    if !state::is_closed(state) {
        tables.count(Counter::FlowDisplaced);
    }
    entries::forget(tables, key, &entry);
}
