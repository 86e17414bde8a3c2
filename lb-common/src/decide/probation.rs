//! Flows on probation ([`probation`](crate::abi::probation)): who is put there, and who goes for it.

use super::{entries, state};
use crate::abi::counter::Counter;
use crate::abi::flow::FlowKey;
use crate::net::{Address, Port};
use crate::tables::{FlowEntry, Tables};

/// Puts a new flow on probation, with its request's entry at `key`.
///
/// The flow of the same key before it may have a place too, older than this one: a port is used again,
/// or a client of datagrams has got another backend. The [`tag`] tells that place that it is not about
/// this flow. It stands where a key has zeros.
#[inline(never)]
pub(super) fn put<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, tag: u16) {
    let Some(mut place) = tables.place() else { return };
    vacate(tables, &mut place);
    *place = *key;
    place.pad = tag.to_ne_bytes();
}

/// Tells one flow from others of the same key: by its backend, and by the packet that opened it. Never
/// zero, which stands for each of them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both halves are in the lower one")]
pub(super) fn tag<A: Address>(backend: A, port: Port, opening: u8) -> u16 {
    let [first, second, third, last] = backend.words();
    let word = first ^ second ^ third ^ last;
    ((word ^ word >> 16) as u16 ^ port.word() ^ u16::from(opening) << 8).max(1)
}

/// Puts the flow with an entry at `key` on probation again, because it is over.
#[inline(never)]
pub(super) fn put_back<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, entry: &T::Entry) {
    let Some(mut place) = tables.place() else { return };
    vacate(tables, &mut place);
    *place = *key;
    if entry.load().is_reply() {
        entry.load().put_partner(key, &mut place);
    }
}

/// Forgets the flow that `place` is about, unless it is established.
#[inline(never)]
fn vacate<A: Address, T: Tables<A>>(tables: &T, place: &mut FlowKey<A>) {
    let tagged = u16::from_ne_bytes(core::mem::take(&mut place.pad));
    let key = &*place;
    let Some(entry) = tables.flow(key) else { return };
    let flow = entry.load();
    let state = flow.state;
    let is_another = tagged != 0 && tagged != tag(flow.dst, flow.dst_port, flow.opening);
    if is_another || state::is_established(state) {
        return;
    }
    if !state::is_closed(state) {
        tables.count(Counter::FlowDisplaced);
    }
    entries::forget(tables, key, &entry);
}
