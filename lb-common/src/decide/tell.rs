//! Counts what became of a packet and, while somebody listens, tells it too.
//!
//! Both are for what is decided, refused or passed for a reason, never for a packet that follows its
//! flow. Calls of their own: the verifier looks at them once more for each call, so there are few, and
//! none of them lengthens the fast path. They are called where little of the stack is in use.

use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::abi::frontend::FrontendKey;
use crate::net::{Addr6, Address, Family};
use crate::parse::Wire;
use crate::tables::{FlowEntry, Tables};

/// Counts `counter` for the packet with `key`, which becomes that of `new`.
#[inline(never)]
pub(super) fn count<A: Address, T: Tables<A>>(
    tables: &T,
    counter: Counter,
    key: &FlowKey<A>,
    new: &FlowKey<A>,
    tcp_flags: u8,
) {
    tables.count(counter);
    if !tables.listener().listens(|| tables.now()) {
        return;
    }
    let service = service(tables, key);
    let told = tables.tell(|event| {
        event.src = wide(key.src);
        event.dst = wide(key.dst);
        event.new_src = wide(new.src);
        event.new_dst = wide(new.dst);
        event.src_port = key.src_port;
        event.dst_port = key.dst_port;
        event.new_src_port = new.src_port;
        event.new_dst_port = new.dst_port;
        event.counter = counter as u32;
        event.service = service;
        event.family = if A::FAMILY == Family::V4 { 4 } else { 6 };
        event.protocol = key.protocol;
        event.hook = key.hook;
        event.tcp_flags = tcp_flags;
    });
    if !told {
        tables.count(Counter::EventLost);
    }
}

/// Counts `counter` for a packet of which no key was read.
#[inline(never)]
pub(super) fn count_unread<A: Wire, T: Tables<A>>(tables: &T, counter: Counter, hook: Hook) {
    let key = FlowKey::<A> { hook: hook as u8, ..FlowKey::default() };
    count(tables, counter, &key, &key, 0);
}

/// The service whose frontend is dialled, else that of the flow; 0 if it is nobody's.
#[inline(always)]
fn service<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> u32 {
    let dialled = FrontendKey::new(key.dst, key.dst_port, key.protocol);
    match tables.frontend(&dialled) {
        Some(frontend) if key.hook == Hook::Ingress as u8 => frontend.service,
        _ => service_of_flow(tables, key).unwrap_or(0),
    }
}

/// The service of the flow that a packet is of, or that is in its way: its own entry's, or that of the
/// answers to it.
#[inline(always)]
fn service_of_flow<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> Option<u32> {
    if let Some(entry) = tables.flow(key) {
        return Some(entry.load().service);
    }
    let mut draft = tables.draft()?;
    key.put_reversed(Hook::Egress, &mut draft.other);
    Some(tables.flow(&draft.other)?.load().service)
}

#[inline(always)]
fn wide<A: Address>(addr: A) -> Addr6 {
    Addr6::from_words(addr.words())
}
