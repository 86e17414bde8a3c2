//! The slow path: a packet without a flow, decided once and remembered.
//!
//! [`let_in`] finds out who asks, once; [`judge`] chooses a backend and [`keep`] inserts the entries,
//! until they fit. Each is a call of its own: together their values would not fit on the 512 bytes of
//! stack next to the fast path's, which need not carry them either.

use super::client::Client;
use super::{Translation, dial, masquerade, select, state};
use crate::abi::counter::Counter;
use crate::abi::flow::{Flow, FlowKey, Hook, flags};
use crate::abi::frontend::{self, Frontend};
use crate::net::Address;
use crate::parse::Headers;
use crate::tables::{FlowEntry, Insert, InsertError, Tables};

/// How many backends are tried when a live flow of the same client port holds the first.
const ATTEMPTS: u32 = 4;

/// What is known and decided of a new flow, beyond its new destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Decision {
    /// What was dialled.
    frontend: Frontend,
    /// Who asks.
    client: Client,
    /// The backend's id.
    backend: u32,
    /// The backend's generation.
    generation: u32,
    /// Bits of [`flags`] besides those that say what is rewritten.
    flags: u16,
}

/// Decides on the first packet of a flow: whose it is, where it goes; inserts its entries.
///
/// The entry for the answers comes first, and without it the packet does not leave (I3).
#[inline(always)]
pub(super) fn admit<A: Address, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    bytes: u32,
) -> Translation {
    let key = &headers.key;
    let frontend = match dial::frontend(tables, key) {
        Ok(frontend) => frontend,
        Err(translation) => return translation,
    };
    let mut decision = Decision { frontend, ..Decision::default() };
    if let Err(reason) = let_in(tables, key, &mut decision) {
        return Translation::Drop(reason);
    }
    for attempt in 0..ATTEMPTS {
        if let Err(reason) = judge(tables, key, new, attempt, &mut decision) {
            return refusal(reason);
        }
        match keep(tables, key, new, &decision, headers.tcp_flags, bytes) {
            Ok(true) => return Translation::Rewrite,
            Ok(false) => {}
            Err(reason) => return Translation::Drop(reason),
        }
    }
    Translation::Drop(Counter::DropFlowClash)
}

#[inline(always)]
fn refusal(reason: Counter) -> Translation {
    match reason {
        Counter::RejectNoEndpoint => Translation::Reject(reason),
        _ => Translation::Drop(reason),
    }
}

/// Finds out who asks, and refuses a client that is in none of the source ranges.
#[inline(never)]
fn let_in<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    decision: &mut Decision,
) -> Result<(), Counter> {
    let frontend = decision.frontend;
    let guarded = frontend.flags & frontend::flags::SOURCE_RANGES != 0;
    if guarded && !tables.in_source_ranges(frontend.service, key.src) {
        return Err(Counter::DropSourceRange);
    }
    decision.client = Client::of(tables, key.src);
    Ok(())
}

/// Chooses the backend: the list in use, then affinity or the hash. Puts the new destination into
/// the second key.
#[inline(never)]
fn judge<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &mut FlowKey<A>,
    attempt: u32,
    decision: &mut Decision,
) -> Result<(), Counter> {
    let frontend = decision.frontend;
    let service = tables.service(frontend.service).ok_or(Counter::RejectNoEndpoint)?;
    let list = decision.client.list(frontend);
    let chosen = select::select(tables, key, frontend.service, &service, list, attempt)?;
    new.dst = chosen.backend.addr;
    new.dst_port = chosen.backend.port;
    decision.backend = chosen.id;
    decision.generation = chosen.backend.generation;
    let backend = chosen.backend.flags;
    let hides = new.dst == key.src || masquerade::hides(tables, decision.client, frontend, backend);
    decision.flags = if hides { flags::MASQUERADE } else { 0 };
    Ok(())
}

/// Inserts the entries of a flow from `key`, whose packets become `new`; `false` if the answers'
/// place is taken by a live flow through another frontend, which must not be overwritten.
#[inline(never)]
fn keep<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    new: &FlowKey<A>,
    decision: &Decision,
    tcp_flags: u8,
    bytes: u32,
) -> Result<bool, Counter> {
    let mut flow = Flow {
        packets: 0,
        bytes: 0,
        src: key.dst,
        dst: new.dst,
        src_port: key.dst_port,
        dst_port: new.dst_port,
        backend: decision.backend,
        generation: decision.generation,
        service: decision.frontend.service,
        seen: tables.now(),
        flags: decision.flags | flags::SET_SRC | flags::REPLY,
        // A packet that ends a connection we know nothing of must not look like the start of one.
        state: state::after(0, false, tcp_flags),
        pad: 0,
    };
    if !expect_answers(tables, &new.reversed(Hook::Egress), &flow)? {
        return Ok(false);
    }
    flow.flags = decision.flags | flags::SET_DST;
    flow.packets = 1;
    flow.bytes = u64::from(bytes);
    tables.count(match tables.insert_flow(key, &flow, Insert::Replace) {
        Ok(()) => Counter::NewFlow,
        Err(_) => Counter::FlowNotKept,
    });
    Ok(true)
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
