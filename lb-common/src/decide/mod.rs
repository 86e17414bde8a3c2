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
mod hint;
mod icmp;
mod leave;
mod masquerade;
mod ports;
mod probation;
mod removed;
mod select;
pub mod socket;
pub mod state;
mod stray;
mod tell;

use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::icmp::Messages;
use crate::packet::{Packet, Refused};
use crate::parse::{self, Headers, Link, Network, Skip, Wire};
use crate::reject::{self, Reply, Told};
use crate::rewrite;
use crate::tables::Tables;
use crate::verdict::Verdict;

pub use client::Client;
pub use select::List;

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
        Err(skip) => pass::<Addr4, T>(tables, skip, hook),
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
        Outcome::Message => match icmp::decide(packet, tables, network, hook) {
            Some(verdict) => verdict,
            None => icmp::reject_echo(packet, tables, network),
        },
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
    parse::bring_in::<A, P>(packet, network);
    let mut headers;
    let ports = match parse::headers::<A, P>(packet, network, hook) {
        Ok(found) => {
            headers = found;
            Ok(())
        }
        Err(Skip::Message) => return Outcome::Message,
        Err(Skip::Fragment) => {
            headers = Headers::default();
            fragment::headers(packet, tables, network, hook, &mut headers)
        }
        Err(skip) => return Outcome::Decided(pass::<A, T>(tables, skip, hook)),
    };
    let bytes = packet.len().wrapping_sub(headers.network);
    let mut new = headers.key;
    let translation = match ports {
        Ok(()) => translate(tables, &headers, &mut new, hook, bytes),
        Err(counter) => Translation::Counted(counter),
    };
    if let Translation::Counted(counter) = translation {
        tell::count(tables, counter, &headers.key, &new, headers.tcp_flags);
    }
    let done = carry_out(packet, &headers, &new, translation);
    Outcome::Decided(done.unwrap_or_else(|Refused| {
        tell::count(tables, Counter::DropRewrite, &headers.key, &new, headers.tcp_flags);
        Verdict::Drop(Counter::DropRewrite)
    }))
}

/// Does what was decided on the packet behind `headers`.
#[inline(always)]
fn carry_out<A: Reply, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    new: &FlowKey<A>,
    translation: Translation,
) -> Result<Verdict, Refused> {
    match translation.fate() {
        Fate::Pass => Ok(Verdict::Pass),
        Fate::Rewrite => rewrite::rewrite(packet, headers, new).map(|()| Verdict::Rewritten),
        Fate::Reject => reject::answer(packet, headers).map(|told| match told {
            Told::Answer => Verdict::Reject,
            Told::Nothing => translation.drop(),
        }),
        Fate::Drop => Ok(translation.drop()),
    }
}

/// What becomes of a packet's addresses and ports; fits into one register.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Translation {
    /// They stay: the packet is not ours.
    None,
    /// They become those of the key that was handed in.
    Rewrite,
    /// What [`Fate::of`] this counter says.
    Counted(Counter),
}

impl Translation {
    #[inline(always)]
    const fn fate(self) -> Fate {
        match self {
            Self::None => Fate::Pass,
            Self::Rewrite => Fate::Rewrite,
            Self::Counted(counter) => Fate::of(counter),
        }
    }

    #[inline(always)]
    const fn drop(self) -> Verdict {
        match self {
            Self::None | Self::Rewrite => Verdict::Pass,
            Self::Counted(reason) => Verdict::Drop(reason),
        }
    }
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes on as it is.
    Pass,
    /// It is translated.
    Rewrite,
    /// Its sender is told that nobody is there.
    Reject,
    /// It must not go on.
    Drop,
}

impl Fate {
    /// That of a packet for which `counter` is counted.
    #[inline(always)]
    const fn of(counter: Counter) -> Self {
        match counter {
            Counter::NewFlow | Counter::FlowNotKept | Counter::Masqueraded => Self::Rewrite,
            Counter::PassMalformed
            | Counter::PassFragment
            | Counter::PassExtensionHeaders
            | Counter::PassClosedFlow
            | Counter::PassBegunElsewhere => Self::Pass,
            Counter::RejectNoEndpoint
            | Counter::RejectUnknownPort
            | Counter::RejectEcho
            | Counter::RejectBind
            | Counter::RejectRemovedEndpoint => Self::Reject,
            _ => Self::Drop,
        }
    }
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
    let is_hinted = hint::is_hinted(tables, &headers.key);
    if is_hinted {
        match follow::follow(tables, &headers.key, new, hook, headers.tcp_flags, bytes) {
            Follow::Rewrite => return Translation::Rewrite,
            Follow::Leave => return Translation::None,
            Follow::End => return Translation::Counted(Counter::RejectRemovedEndpoint),
            Follow::Decide => {}
        }
    }
    match hook {
        Hook::Ingress => enter(tables, headers, new, is_hinted, bytes),
        Hook::Egress if is_hinted => leave::leave(tables, headers, new, bytes),
        Hook::Egress => leave::without_any(tables, headers),
    }
}

/// Decides on a packet that enters without an entry. One that is nobody's needs no call.
#[inline(always)]
fn enter<A: Wire, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &mut FlowKey<A>,
    is_hinted: bool,
    bytes: u32,
) -> Translation {
    let translation = match dial::frontend(tables, &headers.key) {
        Err(Translation::None) if !is_hinted => return Translation::None,
        Err(Translation::None) if state::is_syn(headers.tcp_flags) => {
            admit::pass_by(tables, headers, new, bytes)
        }
        Err(Translation::None) => Translation::None,
        // Also what would be rejected: a frontend that kube-proxy knows may not be ours yet.
        _ if tables.takes_over() && state::is_begun(headers.key.protocol, headers.tcp_flags) => {
            Translation::Counted(Counter::PassBegunElsewhere)
        }
        Ok(frontend) => admit::admit(tables, headers, new, &frontend, bytes),
        Err(translation) => translation,
    };
    // Here, where the stack of what was done so far is free again.
    afterwards(tables, headers, new, translation)
}

/// What the slow path leaves to be done for a packet that enters.
#[inline(always)]
fn afterwards<A: Wire, T: Tables<A>>(
    tables: &T,
    headers: &Headers<A>,
    new: &FlowKey<A>,
    translation: Translation,
) -> Translation {
    match translation {
        Translation::Counted(Counter::PassClosedFlow) => {
            admit::clear_the_way(tables, &headers.key);
        }
        Translation::Counted(Counter::NewFlow | Counter::FlowNotKept) => {
            let tag = probation::tag(new.dst, new.dst_port, headers.opening);
            probation::put(tables, &headers.key, tag);
            stray::remember(tables, &headers.key, new);
        }
        Translation::None if stray::may_be(&headers.key, headers.tcp_flags) => {
            return stray::hold(tables, &headers.key);
        }
        _ => {}
    }
    translation
}

#[inline(always)]
fn pass<A: Wire, T: Tables<A>>(tables: &T, skip: Skip, hook: Hook) -> Verdict {
    if let Skip::Unreadable(counter) = skip {
        tell::count_unread(tables, counter, hook);
    }
    Verdict::Pass
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_meets_the_fate_that_its_counter_is_named_after() {
        for counter in Counter::ALL {
            let named = match counter.label().split('_').next().unwrap() {
                "pass" => Fate::Pass,
                "reject" => Fate::Reject,
                "drop" => Fate::Drop,
                _ => continue,
            };
            assert_eq!(Fate::of(*counter), named, "{counter:?}");
        }
        for counter in [Counter::NewFlow, Counter::FlowNotKept, Counter::Masqueraded] {
            assert_eq!(Fate::of(counter), Fate::Rewrite, "{counter:?}");
        }
    }
}
