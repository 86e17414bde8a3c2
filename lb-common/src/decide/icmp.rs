//! ICMP: errors about translated packets, and echo requests to services.
//!
//! An error travels against the packet that it quotes. So the entry for it is, at either hook and
//! whatever the entry says (DNAT, masquerade), that of packets in the error's own direction: what it
//! does to their source and destination must be done to the quoted destination and source.

use super::tell;
use crate::abi::address;
use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::abi::settings::echo;
use crate::icmp::{self, Messages};
use crate::net::{Address, Family};
use crate::packet::{Header as _, Packet, Refused};
use crate::parse::{self, Headers, NetworkHeader, Skip, Wire};
use crate::reject::{self, Reply, Told};
use crate::tables::{FlowEntry, Tables};
use crate::verdict::Verdict;

/// Decides on an ICMP packet; `None` if it is an echo request that [`reject_echo`] must answer, which
/// would not fit on the stack from here.
///
/// A call of its own: no packet of a service need carry its stack.
#[inline(never)]
pub(super) fn decide<A: Reply + Messages, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
    hook: Hook,
) -> Option<Verdict> {
    let ip = match A::parse(packet, network) {
        Ok(ip) => ip,
        Err(skip) => return Some(super::pass::<A, T>(tables, skip, hook)),
    };
    if A::FAMILY == Family::V6 && ip.transport != network + u32::from(A::HEADER_LEN) {
        // Two walks over extension headers in a row, here and in what is quoted, are more paths than
        // the verifier should have to look at.
        return Some(super::pass::<A, T>(
            tables,
            Skip::Unreadable(Counter::PassExtensionHeaders),
            hook,
        ));
    }
    let is_cut_off = ip.end != u32::MAX && ip.end > packet.len();
    let Some(header) = packet.header::<8>(ip.transport).filter(|_| !is_cut_off) else {
        return Some(super::pass::<A, T>(tables, Skip::Unreadable(Counter::PassMalformed), hook));
    };
    let kind = header.u8::<0>();
    if A::is_error(kind) {
        return Some(error::<A, P, T>(packet, tables, network, &ip, hook));
    }
    if kind == A::ECHO_REQUEST && hook == Hook::Ingress {
        return echo(packet, tables, network, &ip);
    }
    Some(Verdict::Pass)
}

/// Translates an error about a packet of one of our flows; any other passes.
#[inline(always)]
fn error<A: Reply + Messages, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
    ip: &NetworkHeader<A>,
    hook: Hook,
) -> Verdict {
    let message = ip.transport;
    let quoted = match parse::quoted::<A, P>(packet, message + icmp::HEADER_LEN, hook) {
        // What lies behind the message's end is not quoted, and its checksum does not cover it.
        Ok(quoted) if quoted.transport + 8 <= ip.end => quoted,
        Ok(_) => {
            return super::pass::<A, T>(tables, Skip::Unreadable(Counter::PassMalformed), hook);
        }
        Err(skip) => return super::pass::<A, T>(tables, skip, hook),
    };
    let mut new = quoted.key;
    let translated = match rewrite_quoted(tables, &mut new, hook) {
        Quoted::Strange => return Verdict::Pass,
        Quoted::Ours => Ok(()),
        Quoted::Masqueraded => icmp::send_from(packet, network, message, &new.dst),
    };
    match translated.and_then(|()| icmp::translate(packet, network, message, &quoted, &new)) {
        Ok(()) => {
            tables.count(Counter::ErrorTranslated);
            Verdict::Rewritten
        }
        Err(Refused) => drop::<A, T>(tables, Counter::DropRewrite, hook),
    }
}

/// Whose packet an error quotes.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoted {
    /// None of ours.
    Strange,
    /// One of a flow of ours.
    Ours,
    /// An answer to a client that is masqueraded here. The backend knows of none but the node, so the
    /// error must come from there too: behind an overlay, whoever checks reverse paths would not take
    /// it from anybody else.
    Masqueraded,
}

/// Rewrites the flow of a quoted packet as the entry of its answers at `hook` says, if there is one.
///
/// A call of its own, for its stack.
#[inline(never)]
fn rewrite_quoted<A: Address, T: Tables<A>>(
    tables: &T,
    quoted: &mut FlowKey<A>,
    hook: Hook,
) -> Quoted {
    let mut answer = quoted.reversed(hook);
    let Some(entry) = tables.flow(&answer) else { return Quoted::Strange };
    let flow = entry.load();
    flow.rewrite(&mut answer);
    *quoted = answer.reversed(hook);
    let hides = hook == Hook::Egress && flow.is_leg() && flow.writes();
    if hides { Quoted::Masqueraded } else { Quoted::Ours }
}

/// Answers or drops an echo request to an address that only services have, or leaves it to be rejected,
/// as the setting says: nobody else would, and it would go round in circles.
#[inline(never)]
fn echo<A: Reply + Messages, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
    ip: &NetworkHeader<A>,
) -> Option<Verdict> {
    if tables.at(&ip.dst).is_none_or(|at| at & address::flags::CLOSED == 0) {
        return Some(Verdict::Pass);
    }
    Some(match tables.vip_echo() {
        echo::ANSWER => match icmp::answer_echo(packet, network, ip) {
            Ok(()) => {
                tables.count(Counter::EchoAnswered);
                Verdict::Reject
            }
            Err(Refused) => drop::<A, T>(tables, Counter::DropRewrite, Hook::Ingress),
        },
        // Like everything else with options, it is not answered.
        echo::REJECT if ip.transport == network + u32::from(A::HEADER_LEN) => return None,
        echo::REJECT => drop::<A, T>(tables, Counter::RejectEcho, Hook::Ingress),
        _ => drop::<A, T>(tables, Counter::DropEcho, Hook::Ingress),
    })
}

/// Tells the sender of the echo request at `network`, which has no options, that nobody is there.
///
/// A call of its own, for its stack.
#[inline(never)]
pub(super) fn reject_echo<A: Reply, P: Packet, T: Tables<A>>(
    packet: &mut P,
    tables: &T,
    network: u32,
) -> Verdict {
    let ends = A::load(packet, network + A::SRC_OFFSET)
        .and_then(|src| Ok((src, A::load(packet, network + A::DST_OFFSET)?)));
    let Ok((src, dst)) = ends else {
        return drop::<A, T>(tables, Counter::DropRewrite, Hook::Ingress);
    };
    let key =
        FlowKey { src, dst, protocol: A::ICMP, hook: Hook::Ingress as u8, ..FlowKey::default() };
    let transport = network + u32::from(A::HEADER_LEN);
    let headers = Headers { key, network, transport, ..Headers::default() };
    tell::count(tables, Counter::RejectEcho, &key, &key, 0);
    match reject::answer(packet, &headers) {
        Ok(Told::Answer) => Verdict::Reject,
        Ok(Told::Nothing) => Verdict::Drop(Counter::RejectEcho),
        Err(Refused) => drop::<A, T>(tables, Counter::DropRewrite, Hook::Ingress),
    }
}

#[inline(always)]
fn drop<A: Wire, T: Tables<A>>(tables: &T, reason: Counter, hook: Hook) -> Verdict {
    tell::count_unread(tables, reason, hook);
    Verdict::Drop(reason)
}
