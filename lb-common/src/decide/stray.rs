//! Resets of what a client never asked for.
//!
//! If the entry for a flow's answers was evicted, an answer may reach the client as the backend sent it.
//! The client's kernel knows no such connection and resets it; at the backend, that would end the flow.
//! Such a reset has no acknowledgement, unlike that of a program that ends its own connection. It is
//! held back here, at the client's side; meanwhile the client's next packet, or the agent, puts the entry
//! back, and the backend's next attempt is translated.
//!
//! A client that talks to a backend directly resets its connections likewise. It is known by its SYN,
//! which came by; if that is forgotten, its resets are held back for a while and then pass.

use super::{Translation, entries, state};
use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook, flags};
use crate::abi::frontend::FrontendKey;
use crate::clock::Ticks;
use crate::net::{Address, protocol};
use crate::tables::{FlowEntry, Tables};

/// How long resets are held back: the agent has looked after all flows by then.
const HOLD: u32 = Ticks::in_seconds(30);
/// How long they pass then, which is longer than backends wait between two attempts (RFC 6298: 60 s
/// and more; Linux: 120 s).
const PASS: u32 = Ticks::in_seconds(3600);

/// Whether a packet past all frontends may be such a reset.
#[inline(always)]
pub(super) fn may_be<A>(key: &FlowKey<A>, tcp_flags: u8) -> bool {
    key.protocol == protocol::TCP && state::is_bare_reset(tcp_flags)
}

/// Remembers that flows are sent to the backend that `key` was rewritten to.
#[inline(never)]
pub(super) fn remember<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>, new: &FlowKey<A>) {
    if key.protocol == protocol::TCP && key.dst != new.dst {
        let dialled = FrontendKey::new(key.dst, key.dst_port, key.protocol);
        tables.remember_server(&FrontendKey::new(new.dst, new.dst_port, key.protocol), &dialled);
    }
}

/// Lets resets of the direct connection pass that is opened with `key`.
#[inline(never)]
pub(super) fn let_pass<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) {
    let at = FrontendKey::new(key.dst, key.dst_port, key.protocol);
    if tables.server(&at).is_some() {
        tables.let_resets_pass(key, tables.now());
    }
}

/// Decides on a reset with `key`, which is no frontend's.
#[inline(never)]
pub(super) fn hold<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> Translation {
    let at = FrontendKey::new(key.dst, key.dst_port, key.protocol);
    let Some(dialled) = tables.server(&at) else { return Translation::None };
    if is_answer(tables, key) {
        return Translation::None;
    }
    let is_held = match answered(tables, key) {
        Known::Unknown => match requested(tables, key, &dialled) {
            Known::Unknown => must_wait(tables, key),
            known => known == Known::Live,
        },
        known => known == Known::Live,
    };
    if is_held { Translation::Counted(Counter::DropStrayReset) } else { Translation::None }
}

/// What is known of a flow between client and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// There is none, or it cannot be found.
    Unknown,
    /// It goes on.
    Live,
    /// It is over: its own reset may come by here where a device stands on another.
    Over,
}

impl Known {
    #[inline(always)]
    const fn of(state: u8) -> Self {
        if state::is_closed(state) { Self::Over } else { Self::Live }
    }
}

/// Whether it comes from a backend, on its way to a client that dials from a port it serves at itself.
#[inline(never)]
fn is_answer<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> bool {
    tables.flow(&FlowKey { hook: Hook::Egress as u8, ..*key }).is_some()
}

/// What the entry for answers says.
#[inline(never)]
fn answered<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> Known {
    match tables.flow(&key.reversed(Hook::Egress)) {
        Some(entry) => Known::of(entry.load().state),
        None => Known::Unknown,
    }
}

/// What the entry for requests says that have dialled `dialled`; puts the one for answers back.
#[inline(never)]
fn requested<A: Address, T: Tables<A>>(
    tables: &T,
    key: &FlowKey<A>,
    dialled: &FrontendKey<A>,
) -> Known {
    let request = FlowKey { dst: dialled.addr, dst_port: dialled.port, ..*key };
    let Some(entry) = tables.flow(&request) else { return Known::Unknown };
    let flow = entry.load();
    let is_this = flow.flags & (flags::SET_DST | flags::SET_SRC) == flags::SET_DST
        && flow.dst_port == key.dst_port
        && flow.dst == key.dst;
    if !is_this {
        return Known::Unknown;
    }
    let known = Known::of(flow.state);
    if known == Known::Live {
        entries::heal(tables, &request, &entry);
    }
    known
}

/// Whether it is too early for resets with `key` to pass.
#[inline(never)]
fn must_wait<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> bool {
    let now = tables.now();
    if let Some(from) = tables.resets_pass(key) {
        if now.since(from) <= PASS {
            return false;
        }
        if from.since(now) <= HOLD {
            return true;
        }
    }
    tables.let_resets_pass(key, Ticks(now.0.wrapping_add(HOLD)));
    true
}
