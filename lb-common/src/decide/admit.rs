//! The slow path: a packet without a flow, decided once and remembered.

use super::select;
use super::{Translation, state};
use crate::abi::counter::Counter;
use crate::abi::flow::{Flow, FlowKey, Hook, flags};
use crate::abi::frontend::{Frontend, FrontendKey};
use crate::net::Address;
use crate::tables::{FlowEntry, Insert, InsertError, Tables};

/// How many backends are tried when a live flow of the same client port holds the first.
const ATTEMPTS: u32 = 4;

/// Decides on the first packet of a flow: whose it is, where it goes; inserts its entries.
///
/// The entry for the answers comes first, and without it the packet does not leave (I3).
///
/// A call of its own: its entries would not fit on the 512 bytes of stack next to the fast path's,
/// and the fast path need not carry them.
#[inline(never)]
pub(super) fn admit<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    tcp_flags: u8,
    bytes: u32,
) -> Translation {
    let dialled = FrontendKey::new(key.dst, key.dst_port, key.protocol);
    let Some(frontend) = tables.frontend(&dialled) else { return Translation::None };
    // A packet that ends a connection we know nothing of must not look like the start of one.
    let state = state::after(0, false, tcp_flags);
    match open(tables, key, new, frontend, (state, bytes)) {
        Ok(()) => Translation::Rewrite,
        Err(reason) => Translation::Drop(reason),
    }
}

#[inline(always)]
fn open<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    frontend: Frontend,
    (state, bytes): (u8, u32),
) -> Result<(), Counter> {
    let service = tables.service(frontend.service).ok_or(Counter::DropNoBackend)?;
    let list = select::list(frontend, service);
    let hash = key.hash();
    let mut flow = Flow {
        packets: 0,
        bytes: 0,
        src: key.dst,
        dst: key.dst,
        src_port: key.dst_port,
        dst_port: key.dst_port,
        backend: 0,
        generation: 0,
        service: frontend.service,
        seen: tables.now(),
        flags: 0,
        state,
        pad: 0,
    };
    for attempt in 0..ATTEMPTS {
        let chosen = select::select(tables, list, hash, attempt)?;
        new.dst = chosen.backend.addr;
        new.dst_port = chosen.backend.port;
        flow.backend = chosen.id;
        flow.generation = chosen.backend.generation;
        flow.flags = flags::SET_SRC | flags::REPLY;
        if !expect_answers(tables, &new.reversed(Hook::Egress), &flow)? {
            continue;
        }
        flow.dst = new.dst;
        flow.dst_port = new.dst_port;
        flow.flags = flags::SET_DST;
        flow.packets = 1;
        flow.bytes = u64::from(bytes);
        tables.count(match tables.insert_flow(key, &flow, Insert::Replace) {
            Ok(()) => Counter::NewFlow,
            Err(_) => Counter::FlowNotKept,
        });
        return Ok(());
    }
    Err(Counter::DropFlowClash)
}

/// Inserts the entry `answer` that translates the answers; `false` if its place is taken by a live
/// flow through another frontend, which must not be overwritten.
#[inline(always)]
fn expect_answers<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    answer: &Flow<A>,
) -> Result<bool, Counter> {
    match tables.insert_flow(key, answer, Insert::IfAbsent) {
        Ok(()) => return Ok(true),
        Err(InsertError::Refused) => return Err(Counter::DropFlowTable),
        Err(InsertError::Exists) => {}
    }
    if is_taken(tables, key, answer) {
        return Ok(false);
    }
    match tables.insert_flow(key, answer, Insert::Replace) {
        Ok(()) => Ok(true),
        Err(_) => Err(Counter::DropFlowTable),
    }
}

/// Whether the entry at `key` belongs to another frontend's flow that is still alive.
#[inline(always)]
fn is_taken<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, answer: &Flow<A>) -> bool {
    tables.flow(key).is_some_and(|entry| {
        let there = entry.load();
        let same_frontend = there.src == answer.src && there.src_port == answer.src_port;
        !same_frontend && state::is_live(&there, key.protocol, answer.seen)
    })
}
