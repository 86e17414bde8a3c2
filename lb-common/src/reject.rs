//! Tells a client that nobody is there: the packet itself becomes the answer.
//!
//! TCP is answered by a reset (RFC 9293 §3.10.7.1), UDP, SCTP and echo requests by "port unreachable" of ICMP
//! (RFC 792) or `ICMPv6` (RFC 4443 §3.1), which quotes the IP header and the 8 bytes behind it. The
//! answer comes from the address that was dialled and goes back to the sender's link address; VLAN
//! tags stay.
//!
//! Nothing is answered to a reset, to a fragment but the first, nor to a packet with IPv4 options or IPv6 extension headers.
//!
//! A packet from a local socket may reach us with its transport checksum left to a device
//! ("partial"), and no BPF helper undoes that. So the answers are right whether or not some device
//! stores the sum of everything from the transport header on into the old checksum's place: for TCP
//! that is the checksum's place again, for ICMP see [`Reply::unreachable`]. Where the sum is SCTP's,
//! its place is in the quote, and the answer stays right only on its way back to the local socket,
//! whose devices leave such sums undone.

use crate::csum;
use crate::net::{Addr4, Addr6, Address, Family, protocol};
use crate::packet::{Covers, Packet, Refused, TransportFix};
use crate::parse::{Headers, Wire, tcp};

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The packet is the answer now.
    Answer,
    /// The packet is as it was, and must not go on.
    Nothing,
}

/// TTL and hop limit of answers.
const TTL: u8 = 64;
/// The IPv4 flag "don't fragment", with a fragment offset of 0.
const DONT_FRAGMENT: u16 = 0x4000_u16.to_be();
/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: u32 = 16;
/// Length of a TCP header without options, in bytes.
const TCP_LEN: u16 = 20;
/// Length of an ICMP header, in bytes.
const ICMP_LEN: u16 = 8;

/// Makes the packet behind `headers` the answer to itself.
///
/// A call of its own, for its stack. After an error the packet may be half written and must not go
/// on.
#[inline(never)]
pub fn answer<A: Reply, P: Packet>(packet: &mut P, headers: &Headers<A>) -> Result<Told, Refused> {
    if headers.is_later || headers.transport != headers.network + u32::from(A::HEADER_LEN) {
        return Ok(Told::Nothing);
    }
    if headers.key.protocol != protocol::TCP {
        A::unreachable(packet, headers)?;
    } else if headers.tcp_flags & tcp::RST == 0 {
        reset(packet, headers)?;
    } else {
        return Ok(Told::Nothing);
    }
    if headers.network != 0 {
        swap_link_addresses(packet)?;
    }
    Ok(Told::Answer)
}

/// An address family that answers can be written in.
pub trait Reply: Wire {
    /// Length of the network header without options, in bytes.
    const HEADER_LEN: u16;
    /// Type and code of "port unreachable".
    const PORT_UNREACHABLE: [u8; 2];

    /// Writes a network header in front of `length` bytes of `protocol`, back to the sender of the
    /// packet behind `headers`.
    fn write<P: Packet>(
        packet: &mut P,
        headers: &Headers<Self>,
        protocol: u8,
        length: u16,
    ) -> Result<(), Refused>;

    /// Makes the packet a "port unreachable".
    ///
    /// A device that still computes UDP's checksum stores it into bytes 6 and 7 of the ICMP header,
    /// which mean nothing here: it counts them in as they are, and its result is what they must be
    /// for the whole to come out right if they are zero (IPv4) or the sum of the pseudo header
    /// (IPv6). What they are else only [`unused`] knows.
    fn unreachable<P: Packet>(packet: &mut P, headers: &Headers<Self>) -> Result<(), Refused>;
}

impl Reply for Addr4 {
    const HEADER_LEN: u16 = 20;
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        headers: &Headers<Self>,
        protocol: u8,
        length: u16,
    ) -> Result<(), Refused> {
        let mut words = [
            word(0x4500_u16.to_be(), (Self::HEADER_LEN + length).to_be()),
            word(0, DONT_FRAGMENT),
            word(u16::from_ne_bytes([TTL, protocol]), 0),
            headers.key.dst.words()[0],
            headers.key.src.words()[0],
        ];
        let checksum = csum::apply(0, csum::total(words));
        words[2] = word(u16::from_ne_bytes([TTL, protocol]), checksum);
        packet.store(headers.network, words)
    }

    #[inline(always)]
    fn unreachable<P: Packet>(packet: &mut P, headers: &Headers<Self>) -> Result<(), Refused> {
        unreachable::<_, P, 7>(packet, headers)
    }
}

impl Reply for Addr6 {
    const HEADER_LEN: u16 = 40;
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        headers: &Headers<Self>,
        protocol: u8,
        length: u16,
    ) -> Result<(), Refused> {
        let start = [
            word(0x6000_u16.to_be(), 0),
            word(length.to_be(), u16::from_ne_bytes([protocol, TTL])),
        ];
        packet.store(headers.network, start)?;
        packet.store(headers.network + Self::SRC_OFFSET, headers.key.dst.words())?;
        packet.store(headers.network + Self::DST_OFFSET, headers.key.src.words())
    }

    #[inline(always)]
    fn unreachable<P: Packet>(packet: &mut P, headers: &Headers<Self>) -> Result<(), Refused> {
        unreachable::<_, P, 12>(packet, headers)
    }
}

/// Makes a TCP segment the reset that it asks for.
#[inline(always)]
fn reset<A: Reply, P: Packet>(packet: &mut P, headers: &Headers<A>) -> Result<(), Refused> {
    let [seq, ack, offset] = packet.load::<3>(headers.transport + 4)?;
    let (seq, ack, flags) = if headers.tcp_flags & tcp::ACK != 0 {
        (ack, 0, tcp::RST)
    } else {
        let data = u32::from(offset.to_ne_bytes()[0] >> 4) * 4 + u32::from(A::HEADER_LEN);
        let length = A::length(packet, headers.network)?.wrapping_sub(data);
        let flag = |flag| u32::from(headers.tcp_flags & flag != 0);
        let length = length.wrapping_add(flag(tcp::SYN)).wrapping_add(flag(tcp::FIN));
        (0, u32::from_be(seq).wrapping_add(length).to_be(), tcp::RST | tcp::ACK)
    };
    let key = &headers.key;
    let ports = word(key.dst_port.word(), key.src_port.word());
    let segment = [ports, seq, ack, u32::from_ne_bytes([5 << 4, flags, 0, 0]), 0];
    packet.resize(headers.transport + u32::from(TCP_LEN))?;
    A::write(packet, headers, protocol::TCP, TCP_LEN)?;
    packet.store(headers.transport, segment)?;
    let checksum = headers.transport + TCP_CHECKSUM;
    let pseudo = pseudo_header(headers, protocol::TCP, TCP_LEN);
    fix(packet, checksum, pseudo, pseudo_of::<A>())?;
    fix(packet, checksum, csum::total(segment), Covers::Transport)
}

/// Makes a packet a "port unreachable" that quotes its first `QUOTE` words from the network header
/// on: the whole network header and 8 bytes more.
#[inline(always)]
fn unreachable<A: Reply, P: Packet, const QUOTE: usize>(
    packet: &mut P,
    headers: &Headers<A>,
) -> Result<(), Refused> {
    let quote = packet.load::<QUOTE>(headers.network)?;
    let length = ICMP_LEN + A::HEADER_LEN + 8;
    let icmp = headers.transport;
    packet.resize(icmp + u32::from(length))?;
    A::write(packet, headers, A::ICMP, length)?;
    packet.store(icmp + u32::from(ICMP_LEN), quote)?;
    let (pseudo, unused) = match A::FAMILY {
        Family::V4 => (0, 0),
        Family::V6 => {
            let pseudo = pseudo_header(headers, A::ICMP, length);
            (pseudo, unused(packet, icmp + 4, pseudo)?)
        }
    };
    let kind = u16::from_ne_bytes(A::PORT_UNREACHABLE);
    let sum = csum::total([word(kind, 0), unused, csum::total(quote), pseudo]);
    packet.store(icmp, [word(kind, csum::apply(0, sum)), unused])
}

/// The second word of an `ICMPv6` header, at `offset`: zero, or with the sum of the pseudo header at
/// its end if a device is going to sum the message up.
///
/// The kernel tells that only by what it does to a checksum: of a sum that is left to the device it
/// changes nothing but the share of the pseudo header.
#[inline(always)]
fn unused<P: Packet>(packet: &mut P, offset: u32, pseudo: u32) -> Result<u32, Refused> {
    packet.store(offset, [0])?;
    fix(packet, offset + 2, pseudo, Covers::PseudoHeaderV6)?;
    fix(packet, offset + 2, !pseudo, Covers::Transport)?;
    let [word] = packet.load::<1>(offset)?;
    Ok(word)
}

/// The sum of the pseudo header in front of `length` bytes of `protocol`. Both families' comes to
/// the same: the same numbers stand at other places.
#[inline(always)]
fn pseudo_header<A: Address>(headers: &Headers<A>, protocol: u8, length: u16) -> u32 {
    let (a, b) = (headers.key.src.words(), headers.key.dst.words());
    let last = word(u16::from(protocol).to_be(), length.to_be());
    csum::total([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], last])
}

#[inline(always)]
fn pseudo_of<A: Address>() -> Covers {
    match A::FAMILY {
        Family::V4 => Covers::PseudoHeaderV4,
        Family::V6 => Covers::PseudoHeaderV6,
    }
}

#[inline(always)]
fn fix<P: Packet>(packet: &mut P, offset: u32, diff: u32, covers: Covers) -> Result<(), Refused> {
    packet.fix_transport_checksum(offset, diff, TransportFix { covers, zero_is_none: false })
}

/// Sends an Ethernet frame back to where it came from.
#[inline(always)]
pub(crate) fn swap_link_addresses<P: Packet>(packet: &mut P) -> Result<(), Refused> {
    let [one, two, three] = packet.load::<3>(0)?.map(halves);
    let words = [word(two[1], three[0]), word(three[1], one[0]), word(one[1], two[0])];
    packet.store(0, words)
}

/// Four bytes of two halves, all in memory order.
#[inline(always)]
pub(crate) fn word(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// The halves of four bytes, all in memory order.
#[inline(always)]
pub(crate) fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}
