//! The decisions of the datapath: one implementation each (I1).
//!
//! A packet is looked up in `FLOWS`; a hit is applied ([`follow`]), a miss at ingress is decided
//! once ([`admit`]) and remembered, a miss at egress may still be of a flow of ours ([`leave`]).
//! [`ingress`] and [`egress`] are the two questions that the hooks ask.

mod admit;
mod client;
mod dial;
mod entries;
mod follow;
mod fragment;
mod icmp;
mod leave;
mod masquerade;
mod ports;
mod select;
pub mod socket;
pub mod state;

use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::icmp::Messages;
use crate::packet::{Packet, Refused};
use crate::parse::{self, Headers, Link, Network, Skip, Wire};
use crate::reject::{self, Reply, Told};
use crate::rewrite;
use crate::tables::Tables;
use crate::verdict::Verdict;

use crate::net::{Addr4, Addr6};
use follow::Follow;

/// All tables of both families.
pub trait AllTables: Tables<Addr4> + Tables<Addr6> {}
impl<T: Tables<Addr4> + Tables<Addr6>> AllTables for T {}

/// Decides on a packet that enters the node and translates it.
#[inline(always)]
pub fn ingress<P: Packet, T: AllTables>(packet: &mut P, tables: &T, link: Link) -> Verdict {
    decide(packet, tables, link, Hook::Ingress)
}

/// Decides on a packet that leaves the node and translates it.
#[inline(always)]
pub fn egress<P: Packet, T: AllTables>(packet: &mut P, tables: &T, link: Link) -> Verdict {
    decide(packet, tables, link, Hook::Egress)
}

#[inline(always)]
fn decide<P: Packet, T: AllTables>(packet: &mut P, tables: &T, link: Link, hook: Hook) -> Verdict {
    match parse::network(packet, link) {
        Ok(Network::V4(offset)) => {
            let offset = packet.blurred(offset);
            decide_in::<Addr4, P, T>(packet, tables, offset, hook)
        }
        Ok(Network::V6(offset)) => {
            let offset = packet.blurred(offset);
            decide_in::<Addr6, P, T>(packet, tables, offset, hook)
        }
        Err(skip) => pass::<Addr4, T>(tables, skip),
    }
}

/// Messages about flows are not decided below [`decide_family`], so that they need not share its
/// stack.
#[inline(always)]
fn decide_in<A: Reply + Messages, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
    hook: Hook,
) -> Verdict {
    match decide_family(packet, tables, network, hook) {
        Outcome::Decided(verdict) => verdict,
        Outcome::Message => icmp::decide(packet, tables, network, hook),
    }
}

/// What one family's decision came to; fits into the one register that a BPF function returns.
#[must_use]
enum Outcome {
    /// A verdict.
    Decided(Verdict),
    /// It is an ICMP message.
    Message,
}

/// The families are calls of their own, so that neither carries the other's stack.
#[inline(never)]
fn decide_family<A: Reply, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
    hook: Hook,
) -> Outcome {
    let mut headers = Headers::default();
    match parse::headers::<A, P>(packet, network, hook, &mut headers) {
        Ok(()) => {}
        Err(Skip::Message) => return Outcome::Message,
        Err(Skip::Fragment) => {
            if let Err(verdict) = fragment::headers(packet, tables, network, hook, &mut headers) {
                return Outcome::Decided(verdict);
            }
        }
        Err(skip) => return Outcome::Decided(pass::<A, T>(tables, skip)),
    }
    Outcome::Decided(carry_out(packet, tables, &headers, hook))
}

/// Decides on the packet behind `headers`, and does it.
#[inline(always)]
fn carry_out<A: Reply, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    headers: &Headers<A>,
    hook: Hook,
) -> Verdict {
    let bytes = packet.len().wrapping_sub(headers.network);
    let mut new = headers.key;
    match translate(tables, headers, &mut new, hook, bytes) {
        Translation::None => Verdict::Pass,
        Translation::Rewrite => match rewrite::rewrite(packet, headers, &new) {
            Ok(()) => Verdict::Rewritten,
            Err(Refused) => drop(tables, Counter::DropRewrite),
        },
        Translation::Reject(reason) => {
            tables.count(reason);
            match reject::answer(packet, headers) {
                Ok(Told::Answer) => Verdict::Reject,
                Ok(Told::Nothing) => Verdict::Drop(reason),
                Err(Refused) => drop(tables, Counter::DropRewrite),
            }
        }
        Translation::Drop(reason) => drop(tables, reason),
    }
}

/// What becomes of a packet's addresses and ports.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Translation {
    /// They stay: the packet is not ours.
    None,
    /// They become those of the key that was handed in.
    Rewrite,
    /// The client must be told that nobody is there.
    Reject(Counter),
    /// The packet must not go on.
    Drop(Counter),
}

/// Decides on a packet; `new` starts as the packet's own key and becomes what it is rewritten to.
#[inline(always)]
fn translate<A: Wire, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    hook: Hook,
    bytes: u32,
) -> Translation {
    match follow::follow(tables, &headers.key, new, headers.tcp_flags, bytes) {
        Follow::Rewrite => Translation::Rewrite,
        Follow::Leave => Translation::None,
        Follow::Decide => match hook {
            Hook::Ingress => admit::admit(tables, headers, new, bytes),
            Hook::Egress => leave::leave(tables, headers, new, bytes),
        },
    }
}

#[inline(always)]
fn pass<A: Wire, T: Tables<A>>(tables: &T, skip: Skip) -> Verdict {
    if let Skip::Unreadable(counter) = skip {
        tables.count(counter);
    }
    Verdict::Pass
}

#[inline(always)]
fn drop<A: Wire, T: Tables<A>>(tables: &T, reason: Counter) -> Verdict {
    tables.count(reason);
    Verdict::Drop(reason)
}
