//! The slow path of packets that leave: one without an entry of its own may belong to a flow whose
//! other entries are there.
//!
//! The first request of a masqueraded flow is met here and given its source, which only the
//! interface that it leaves by can tell. So is any later one whose entry was evicted.

use super::{Translation, entries, ports, state};
use crate::abi::counter::Counter;
use crate::abi::flow::{Flow, FlowKey, Hook, flags};
use crate::abi::interface::NODE;
use crate::net::{Address, Port, protocol};
use crate::parse::Headers;
use crate::tables::{FlowEntry, Insert, Tables};

/// Packets after which a flow is worth a spare entry: short flows do not pay for it.
const LONG: u64 = 16;

/// Decides on a packet that leaves without an entry.
#[inline(never)]
pub(super) fn leave<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    bytes: u32,
) -> Translation {
    let key = &headers.key;
    let Some(entry) = tables.flow(&key.reversed(Hook::Egress)) else {
        return without_any(tables, headers);
    };
    let flow = entry.load();
    if flow.is_leg() {
        return restore_answer(tables, key, new, &entry, headers.tcp_flags);
    }
    if flow.flags & flags::MASQUERADE != 0 {
        return match masquerade(tables, key, new, &entry, bytes) {
            Ok(()) => Translation::Counted(Counter::Masqueraded),
            Err(counter) => Translation::Counted(counter),
        };
    }
    if flow.packets >= LONG && flow.flags & flags::SET_DST == 0 {
        keep_spare(tables, key, &entry);
    }
    Translation::None
}

/// Gives a request of the flow with the entry `answer` its source, and keeps it.
///
/// The entry for the answers to that source comes first (I3). Without the other one the packet leaves
/// all the same: [`Counter::FlowNotKept`].
#[inline(never)]
fn masquerade<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    answer: &T::Entry,
    bytes: u32,
) -> Result<(), Counter> {
    let mut draft = tables.draft().ok_or(Counter::DropFlowTable)?;
    let draft = &mut *draft;
    let leg = &mut draft.flow;
    make_leg(leg, tables, answer);
    leg.flags |= flags::SET_SRC;
    leg.src = source(tables).ok_or(Counter::DropMasqueradeAddress)?;
    leg.packets = 1;
    leg.bytes = u64::from(bytes);
    entries::mirror(key, draft);
    for attempt in 0..ports::ATTEMPTS {
        let port = match attempt {
            0 if ports::has(tables, key.src_port) => key.src_port,
            _ => ports::offer(tables, key, attempt),
        };
        draft.partner.dst_port = port;
        if entries::claim(tables, draft)? {
            draft.flow.src_port = port;
            draft.flow.rewrite(new);
            let kept = tables.insert_flow(key, &draft.flow, Insert::Replace);
            return kept.map_err(|_| Counter::FlowNotKept);
        }
    }
    Err(Counter::DropMasqueradePorts)
}

/// The address of the interface that the packet leaves by, else of the node.
#[inline(always)]
fn source<A: Address, T: Tables<A>>(tables: &T) -> Option<A> {
    let own = tables.interface(tables.ifindex()).and_then(|it| it.source());
    own.or_else(|| tables.interface(NODE)?.source())
}

/// Keeps a leg that writes nothing, from which the entry `answer` can be made again.
#[inline(never)]
fn keep_spare<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, answer: &T::Entry) {
    let Some(mut draft) = tables.draft() else { return };
    make_leg(&mut draft.flow, tables, answer);
    tables.insert_flow(key, &draft.flow, Insert::IfAbsent).ok();
}

/// Makes `leg` the request's leg of the flow with the entry `answer`, without a rewrite. It remembers
/// what was dialled, unless the client's port was changed as well: there is no room for both.
#[inline(always)]
fn make_leg<A: Address, T: Tables<A>>(leg: &mut Flow<A>, tables: &T, answer: &T::Entry) {
    *leg = answer.load();
    leg.packets = 0;
    leg.bytes = 0;
    leg.seen = tables.now();
    leg.dst = leg.src;
    leg.dst_port = if leg.flags & flags::SET_DST == 0 { leg.src_port } else { Port::default() };
    leg.flags = (leg.flags & flags::MASQUERADE) | flags::LEG;
}

/// Translates an answer whose entry was evicted, and makes the entry again from the request's leg.
#[inline(never)]
fn restore_answer<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    leg: &T::Entry,
    tcp_flags: u8,
) -> Translation {
    let Some(mut draft) = tables.draft() else { return Translation::None };
    let answer = &mut draft.flow;
    *answer = leg.load();
    if answer.dst_port == Port::default()
        || state::answers_another_connection(answer.state, tcp_flags)
    {
        return Translation::None;
    }
    answer.src = answer.dst;
    answer.src_port = answer.dst_port;
    answer.dst = key.dst;
    answer.dst_port = key.dst_port;
    answer.flags = (answer.flags & flags::MASQUERADE) | flags::SET_SRC | flags::REPLY;
    answer.state = state::after(answer.state, true, tcp_flags);
    answer.packets = 0;
    answer.bytes = 0;
    answer.seen = tables.now();
    answer.rewrite(new);
    match tables.insert_flow(key, answer, Insert::IfAbsent) {
        Ok(()) => Translation::Rewrite,
        Err(_) => Translation::Counted(Counter::FlowNotKept),
    }
}

/// What becomes of a packet of which nothing is known. The node resets what comes to a port that
/// it has no socket at; that may be the answer to a masqueraded client whose entry was evicted, and
/// the next packet of the client puts it back, unless the backend has been told to give up.
#[inline(always)]
pub(super) fn without_any<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
) -> Translation {
    let key = &headers.key;
    let stray = key.protocol == protocol::TCP
        && state::is_bare_reset(headers.tcp_flags)
        && tables.is_own()
        && ports::has(tables, key.src_port)
        && source(tables) == Some(key.src);
    if stray { Translation::Counted(Counter::DropStrayReset) } else { Translation::None }
}
