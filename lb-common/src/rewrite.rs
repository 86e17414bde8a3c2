//! The only place that translates a packet: puts other addresses and ports into it and keeps both
//! checksums right. (Answers to refused clients are written by [`reject`](crate::reject).)

use crate::abi::flow::FlowKey;
use crate::crc32c;
use crate::csum;
use crate::net::{Address, Family, protocol};
use crate::packet::{Covers, Packet, Refused, TransportFix};
use crate::parse::{Headers, Wire};

/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: u32 = 16;
/// Offset of the checksum in a UDP header.
pub(crate) const UDP_CHECKSUM: u32 = 6;
/// Offset of the checksum in an SCTP header.
const SCTP_CHECKSUM: u32 = 8;

/// Rewrites the packet behind `headers` so that its flow is `new`; the protocol stays.
///
/// After an error the packet may be half written and must not go on.
#[inline(always)]
pub fn rewrite<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    new: &FlowKey<A>,
) -> Result<(), Refused> {
    addresses(packet, headers, new)?;
    ports(packet, headers, new)
}

#[inline(always)]
fn addresses<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    new: &FlowKey<A>,
) -> Result<(), Refused> {
    let old = &headers.key;
    let mut diff = 0;
    if new.src != old.src {
        new.src.store(packet, headers.network + A::SRC_OFFSET)?;
        diff = csum::difference(old.src.words(), new.src.words());
    }
    if new.dst != old.dst {
        new.dst.store(packet, headers.network + A::DST_OFFSET)?;
        diff = csum::join(diff, csum::difference(old.dst.words(), new.dst.words()));
    }
    if diff == 0 {
        return Ok(());
    }
    if let Some(offset) = A::CHECKSUM_OFFSET {
        packet.fix_header_checksum(headers.network + offset, diff)?;
    }
    if old.protocol == protocol::SCTP || headers.is_later {
        return Ok(());
    }
    let covers = match A::FAMILY {
        Family::V4 => Covers::PseudoHeaderV4,
        Family::V6 => Covers::PseudoHeaderV6,
    };
    fix_transport(packet, headers, diff, covers)
}

#[inline(always)]
fn ports<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    new: &FlowKey<A>,
) -> Result<(), Refused> {
    let old = &headers.key;
    if headers.is_later || new.src_port == old.src_port && new.dst_port == old.dst_port {
        return Ok(());
    }
    let protocol = old.protocol;
    let (old, new) = (port_word(old), port_word(new));
    packet.store(headers.transport, [new])?;
    if protocol == protocol::SCTP {
        return fix_sctp::<A, P>(packet, headers.network, headers.transport, old ^ new);
    }
    let diff = csum::difference([old], [new]);
    fix_transport(packet, headers, diff, Covers::Transport)
}

/// Both ports as they stand in the transport header, one word in memory order.
#[inline(always)]
pub(crate) fn port_word<A>(key: &FlowKey<A>) -> u32 {
    let ([a, b], [c, d]) = (key.src_port.bytes(), key.dst_port.bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Makes the checksum of the SCTP header at `transport` right after its ports were changed by
/// `change`. A sum of zero was left to the device, which wants to find it so.
///
/// Rare, and a call of its own: the fast path need not carry its stack.
#[inline(never)]
fn fix_sctp<A: Wire, P: Packet>(
    packet: &mut P,
    network: u32,
    transport: u32,
    change: u32,
) -> Result<(), Refused> {
    let length = A::length(packet, network)?.wrapping_sub(transport.wrapping_sub(network));
    let [sum] = packet.load::<1>(transport + SCTP_CHECKSUM)?;
    if sum == 0 {
        return Ok(());
    }
    let fixed = sum ^ crc32c::difference(u32::from_le(change), length).to_le();
    packet.store(transport + SCTP_CHECKSUM, [fixed])
}

#[inline(always)]
fn fix_transport<A: Address, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    diff: u32,
    covers: Covers,
) -> Result<(), Refused> {
    let udp = headers.key.protocol == protocol::UDP;
    let offset = if udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    packet.fix_transport_checksum(
        headers.transport + offset,
        diff,
        TransportFix { covers, zero_is_none: udp },
    )
}
