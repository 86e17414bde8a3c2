//! Rewrites ICMP messages: errors together with the packet that they quote, and echo requests.
//!
//! What changes inside a message changes its checksum; a checksum that is changed to match makes up
//! for it. `ICMPv6` sums up its own addresses as well.

use crate::abi::flow::FlowKey;
use crate::csum;
use crate::net::{Addr4, Addr6, protocol};
use crate::packet::{Covers, Packet, Refused, TransportFix};
use crate::parse::{Headers, NetworkHeader, Wire};
use crate::reject::{halves, swap_link_addresses, word};
use crate::rewrite::{TCP_CHECKSUM, UDP_CHECKSUM, port_word};

/// Length of an ICMP header; what an error quotes starts behind it.
pub const HEADER_LEN: u32 = 8;
/// Offset of the checksum in an ICMP header.
const CHECKSUM: u32 = 2;
/// TTL and hop limit of answers.
const TTL: u8 = 64;

/// A family's message types.
pub trait Messages: Wire {
    /// Echo request.
    const ECHO_REQUEST: u8;
    /// Echo reply.
    const ECHO_REPLY: u8;
    /// Offset of the word with the TTL or hop limit, and of its byte in the word.
    const TTL: (u32, usize);

    /// Whether a message of this type quotes a packet that could not be delivered.
    fn is_error(kind: u8) -> bool;
}

impl Messages for Addr4 {
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const TTL: (u32, usize) = (8, 0);

    /// Unreachable (and "fragmentation needed"), time exceeded, parameter problem (RFC 792).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }
}

impl Messages for Addr6 {
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const TTL: (u32, usize) = (4, 3);

    /// Unreachable, too big, time exceeded, parameter problem (RFC 4443 §3).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }
}

/// Translates the error at `message` that quotes the packet behind `quoted`: that becomes `new`, and
/// so do the ends of the error itself where they are those of the quoted packet.
///
/// A call of its own, for its stack. After an error the packet may be half written and must not go
/// on.
#[inline(never)]
pub fn translate<A: Wire, P: Packet>(
    packet: &mut P,
    network: u32,
    message: u32,
    quoted: &Headers<A>,
    new: &FlowKey<A>,
) -> Result<(), Refused> {
    let end = network + A::length(packet, network)?;
    let inside = quote(packet, end, quoted, new)?;
    fix(packet, message + CHECKSUM, inside, Covers::Transport)?;
    let outside = envelope(packet, network, &quoted.key, new)?;
    fix_addresses::<A, P>(packet, network, message, outside)
}

/// Translates the quoted packet, of which bytes are there up to `end`; returns the difference that
/// this makes to the message.
///
/// The checksum of a quoted TCP or UDP packet is kept right where it is quoted. SCTP's is left: it
/// tells nothing without the data.
#[inline(always)]
fn quote<A: Wire, P: Packet>(
    packet: &mut P,
    end: u32,
    quoted: &Headers<A>,
    new: &FlowKey<A>,
) -> Result<u32, Refused> {
    let old = &quoted.key;
    new.src.store(packet, quoted.network + A::SRC_OFFSET)?;
    new.dst.store(packet, quoted.network + A::DST_OFFSET)?;
    let src = csum::difference(old.src.words(), new.src.words());
    let addresses = csum::join(src, csum::difference(old.dst.words(), new.dst.words()));
    let ports = csum::difference([port_word(old)], [port_word(new)]);
    packet.store(quoted.transport, [port_word(new)])?;
    let both = csum::join(addresses, ports);
    let sum = fix_quoted(packet, end, quoted.transport, old.protocol, both)?;
    match A::CHECKSUM_OFFSET {
        Some(offset) => {
            packet.fix_header_checksum(quoted.network + offset, addresses)?;
            Ok(csum::join(ports, sum))
        }
        None => Ok(csum::join(both, sum)),
    }
}

/// Applies a difference to the quoted transport checksum, if it is there; returns the difference
/// that this makes to the message.
#[inline(always)]
fn fix_quoted<P: Packet>(
    packet: &mut P,
    end: u32,
    transport: u32,
    protocol: u8,
    diff: u32,
) -> Result<u32, Refused> {
    let is_udp = protocol == protocol::UDP;
    let at = transport + if is_udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    if protocol == protocol::SCTP || at + 2 > end {
        return Ok(0);
    }
    let [word] = packet.load::<1>(at - 2)?;
    if is_udp && halves(word)[1] == 0 {
        return Ok(0);
    }
    let fix = TransportFix { covers: Covers::Transport, zero_is_none: is_udp };
    packet.fix_transport_checksum(at, diff, fix)?;
    Ok(!diff)
}

/// Gives the error itself the new ends: it goes to the quoted source, and it comes from the quoted
/// destination or from a router between, which keeps its address.
#[inline(always)]
fn envelope<A: Wire, P: Packet>(
    packet: &mut P,
    network: u32,
    old: &FlowKey<A>,
    new: &FlowKey<A>,
) -> Result<u32, Refused> {
    let dst = rename(packet, network + A::DST_OFFSET, old.src, new.src)?;
    let src = rename(packet, network + A::SRC_OFFSET, old.dst, new.dst)?;
    Ok(csum::join(dst, src))
}

/// Makes the error at `message` come from `src`, whoever sent it.
///
/// A call of its own, for its stack. After an error the packet may be half written and must not go
/// on.
#[inline(never)]
pub fn send_from<A: Wire, P: Packet>(
    packet: &mut P,
    network: u32,
    message: u32,
    src: &A,
) -> Result<(), Refused> {
    let old = A::load(packet, network + A::SRC_OFFSET)?;
    let diff = rename(packet, network + A::SRC_OFFSET, old, *src)?;
    fix_addresses::<A, P>(packet, network, message, diff)
}

/// Applies a difference of the error's own addresses to the checksum that covers them.
#[inline(always)]
fn fix_addresses<A: Wire, P: Packet>(
    packet: &mut P,
    network: u32,
    message: u32,
    diff: u32,
) -> Result<(), Refused> {
    match A::CHECKSUM_OFFSET {
        Some(offset) => packet.fix_header_checksum(network + offset, diff),
        None => fix(packet, message + CHECKSUM, diff, Covers::PseudoHeaderV6),
    }
}

/// Replaces the address at `offset` if it is `old`; returns the difference.
#[inline(always)]
fn rename<A: Wire, P: Packet>(packet: &mut P, offset: u32, old: A, new: A) -> Result<u32, Refused> {
    if old == new || A::load(packet, offset)? != old {
        return Ok(0);
    }
    new.store(packet, offset)?;
    Ok(csum::difference(old.words(), new.words()))
}

/// Makes the echo request behind the header `ip` its own answer.
///
/// After an error the packet may be half written and must not go on.
#[inline(always)]
pub fn answer_echo<A: Messages, P: Packet>(
    packet: &mut P,
    network: u32,
    ip: &NetworkHeader<A>,
) -> Result<(), Refused> {
    let message = ip.transport;
    ip.dst.store(packet, network + A::SRC_OFFSET)?;
    ip.src.store(packet, network + A::DST_OFFSET)?;
    let [start] = packet.load::<1>(message)?;
    let [request, sum] = halves(start);
    let reply = u16::from_ne_bytes([A::ECHO_REPLY, request.to_ne_bytes()[1]]);
    packet.store(message, [word(reply, sum)])?;
    let diff = csum::difference([word(request, 0)], [word(reply, 0)]);
    fix(packet, message + CHECKSUM, diff, Covers::Transport)?;
    renew::<A, P>(packet, network)?;
    if network == 0 {
        return Ok(());
    }
    swap_link_addresses(packet)
}

/// Sets the TTL or hop limit of an answer.
#[inline(always)]
fn renew<A: Messages, P: Packet>(packet: &mut P, network: u32) -> Result<(), Refused> {
    let [old] = packet.load::<1>(network + A::TTL.0)?;
    let mut bytes = old.to_ne_bytes();
    bytes[A::TTL.1] = TTL;
    let new = u32::from_ne_bytes(bytes);
    packet.store(network + A::TTL.0, [new])?;
    match A::CHECKSUM_OFFSET {
        Some(offset) => {
            packet.fix_header_checksum(network + offset, csum::difference([old], [new]))
        }
        None => Ok(()),
    }
}

#[inline(always)]
fn fix<P: Packet>(packet: &mut P, offset: u32, diff: u32, covers: Covers) -> Result<(), Refused> {
    packet.fix_transport_checksum(offset, diff, TransportFix { covers, zero_is_none: false })
}
