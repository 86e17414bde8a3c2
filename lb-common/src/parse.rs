//! From a packet's bytes to the key of its flow.
//!
//! Anything that is not a TCP, UDP or SCTP packet with readable ports is passed untouched; what is
//! malformed is counted as well (design §3.5).

use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::net::{Addr4, Addr6, Address, Port, protocol};
use crate::packet::{Header, Packet, Refused};

/// How a device frames its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// Network header first: tun, wireguard, ipip.
    Raw,
}

/// Where the network header starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// An IPv4 header at this offset.
    V4(u32),
    /// An IPv6 header at this offset.
    V6(u32),
}

/// What the datapath needs of a packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<A> {
    /// Who talks to whom, and at which hook.
    pub key: FlowKey<A>,
    /// Offset of the network header.
    pub network: u32,
    /// Offset of the transport header.
    pub transport: u32,
    /// Bits of [`tcp`]; for SCTP those of the segment that would mean the same, 0 for UDP.
    pub tcp_flags: u8,
}

/// TCP flags (RFC 9293 §3.1), as in byte 13 of the header.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// Types of SCTP chunks (RFC 9260 §3.2).
mod chunk {
    pub(super) const INIT: usize = 1;
    pub(super) const INIT_ACK: usize = 2;
    pub(super) const ABORT: usize = 6;
    pub(super) const SHUTDOWN: usize = 7;
    pub(super) const SHUTDOWN_ACK: usize = 8;
    pub(super) const SHUTDOWN_COMPLETE: usize = 14;
}

/// The flags of the TCP segment that means what an SCTP packet with a first chunk of this type means.
///
/// The first chunk is enough: those that start an association stand alone, and of those that end it
/// each side sends at least one first. A table, because the verifier would follow every branch of a
/// `match` to the end of the program.
static FLAGS_OF_CHUNK: [u8; 256] = {
    let mut flags = [tcp::ACK; 256];
    flags[chunk::INIT] = tcp::SYN;
    flags[chunk::INIT_ACK] = tcp::SYN | tcp::ACK;
    flags[chunk::ABORT] = tcp::RST;
    flags[chunk::SHUTDOWN] = tcp::FIN;
    flags[chunk::SHUTDOWN_ACK] = tcp::FIN;
    flags[chunk::SHUTDOWN_COMPLETE] = tcp::FIN;
    flags
};

/// Why a packet is passed untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It is none of our business.
    NotOurs,
    /// It cannot be read, for a reason that is counted.
    Unreadable(Counter),
    /// It is an ICMP message.
    Message,
}

const MALFORMED: Skip = Skip::Unreadable(Counter::PassMalformed);

const ETHERNET_LEN: u32 = 14;
const VLAN_LEN: u32 = 4;
const MAX_VLAN_TAGS: usize = 2;
const MAX_EXTENSION_HEADERS: usize = 6;

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();
/// 802.1Q and 802.1ad tags.
const ETHERTYPE_VLAN: u16 = 0x8100_u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8_u16.to_be();

/// Finds the network header behind the link header and its VLAN tags.
#[inline(always)]
pub fn network<P: Packet>(packet: &P, link: Link) -> Result<Network, Skip> {
    match link {
        Link::Ethernet => behind_ethernet(packet),
        // No network header is shorter than 20 bytes. Verifier: a check for one byte would become
        // `start >= end`, which proves nothing to it.
        Link::Raw => match packet.header::<20>(0).ok_or(MALFORMED)?.u8::<0>() >> 4 {
            4 => Ok(Network::V4(0)),
            6 => Ok(Network::V6(0)),
            _ => Err(Skip::NotOurs),
        },
    }
}

#[inline(always)]
fn behind_ethernet<P: Packet>(packet: &P) -> Result<Network, Skip> {
    let mut ethertype = packet.header::<14>(0).ok_or(MALFORMED)?.u16::<12>();
    let mut offset = ETHERNET_LEN;
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        ethertype = packet.header::<4>(offset).ok_or(MALFORMED)?.u16::<2>();
        offset += VLAN_LEN;
    }
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Network::V4(offset)),
        ETHERTYPE_IPV6 => Ok(Network::V6(offset)),
        _ => Err(Skip::NotOurs),
    }
}

/// An address family as it is laid out on the wire.
pub trait Wire: Address {
    /// Offset of the source address in the network header; the destination follows it.
    const SRC_OFFSET: u32;
    /// Offset of the destination address in the network header.
    const DST_OFFSET: u32;
    /// Offset of the header checksum, where the family has one.
    const CHECKSUM_OFFSET: Option<u32>;
    /// The protocol number of the family's ICMP.
    const ICMP: u8;

    /// How many bytes the packet has from its network header on, link padding not counted.
    fn length<P: Packet>(packet: &P, network: u32) -> Result<u32, Refused>;

    /// Reads the network header at `network`.
    fn parse<P: Packet>(packet: &P, network: u32) -> Result<NetworkHeader<Self>, Skip>;

    /// Reads the address at `offset`.
    fn load<P: Packet>(packet: &P, offset: u32) -> Result<Self, Refused>;

    /// Writes the address at `offset`.
    fn store<P: Packet>(self, packet: &mut P, offset: u32) -> Result<(), Refused>;
}

/// What a network header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkHeader<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// IP protocol number of what follows.
    pub protocol: u8,
    /// Offset of the transport header.
    pub transport: u32,
    /// Offset of the first byte that is not the packet's any more; `u32::MAX` if the header
    /// does not tell (jumbo and GSO packets).
    pub end: u32,
}

impl<A> NetworkHeader<A> {
    /// The flow, seen at `hook`, of a packet with these ports.
    #[inline(always)]
    fn key(self, ports: [u16; 2], hook: Hook) -> FlowKey<A> {
        FlowKey {
            src: self.src,
            dst: self.dst,
            src_port: Port::from_bytes(ports[0].to_ne_bytes()),
            dst_port: Port::from_bytes(ports[1].to_ne_bytes()),
            protocol: self.protocol,
            hook: hook as u8,
            pad: [0; 2],
        }
    }
}

/// Reads the headers of family `A` from offset `network` on, of a packet seen at `hook`.
#[inline(always)]
pub fn headers<A: Wire, P: Packet>(
    packet: &P,
    network: u32,
    hook: Hook,
) -> Result<Headers<A>, Skip> {
    let ip = A::parse(packet, network)?;
    let transport = ip.transport;
    let (ports, tcp_flags, length) = match ip.protocol {
        protocol::TCP => {
            let header = packet.header::<20>(transport).ok_or(MALFORMED)?;
            let length = u32::from(header.u8::<12>() >> 4) * 4;
            if length < 20 {
                return Err(MALFORMED);
            }
            ([header.u16::<0>(), header.u16::<2>()], header.u8::<13>(), length)
        }
        protocol::UDP => {
            let header = packet.header::<8>(transport).ok_or(MALFORMED)?;
            ([header.u16::<0>(), header.u16::<2>()], 0, 8)
        }
        protocol::SCTP => {
            // With the head of the first chunk: there is always one.
            let header = packet.header::<16>(transport).ok_or(MALFORMED)?;
            (
                [header.u16::<0>(), header.u16::<2>()],
                FLAGS_OF_CHUNK[usize::from(header.u8::<12>())],
                16,
            )
        }
        other if other == A::ICMP => return Err(Skip::Message),
        _ => return Err(Skip::NotOurs),
    };
    if transport + length > ip.end {
        return Err(MALFORMED);
    }
    Ok(Headers { key: ip.key(ports, hook), network, transport, tcp_flags })
}

/// Reads the headers that an ICMP error quotes from offset `network` on: of the transport header no
/// more than the first 8 bytes need be there (RFC 792).
#[inline(always)]
pub fn quoted<A: Wire, P: Packet>(
    packet: &P,
    network: u32,
    hook: Hook,
) -> Result<Headers<A>, Skip> {
    let ip = A::parse(packet, network)?;
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Err(Skip::NotOurs);
    }
    let transport = ip.transport;
    let header = packet.header::<8>(transport).ok_or(MALFORMED)?;
    let key = ip.key([header.u16::<0>(), header.u16::<2>()], hook);
    Ok(Headers { key, network, transport, tcp_flags: 0 })
}

impl Wire for Addr4 {
    const SRC_OFFSET: u32 = 12;
    const DST_OFFSET: u32 = 16;
    const CHECKSUM_OFFSET: Option<u32> = Some(10);
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn length<P: Packet>(packet: &P, network: u32) -> Result<u32, Refused> {
        let [start] = packet.load::<1>(network)?;
        Ok(match u32::from_be(start) & 0xffff {
            0 => packet.len().wrapping_sub(network),
            total => total,
        })
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, network: u32) -> Result<NetworkHeader<Self>, Skip> {
        let header = packet.header::<20>(network).ok_or(MALFORMED)?;
        let version_ihl = header.u8::<0>();
        let length = u32::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || length < 20 {
            return Err(MALFORMED);
        }
        // Fragment offset or "more fragments": the ports are not to be had here.
        if u16::from_be(header.u16::<6>()) & 0x3fff != 0 {
            return Err(Skip::Unreadable(Counter::PassFragment));
        }
        // GSO packets above 64 KiB have no total length.
        let end = match u16::from_be(header.u16::<2>()) {
            0 => u32::MAX,
            total => network + u32::from(total),
        };
        Ok(NetworkHeader {
            src: Self::from_octets(header.u32::<12>().to_ne_bytes()),
            dst: Self::from_octets(header.u32::<16>().to_ne_bytes()),
            protocol: header.u8::<9>(),
            transport: network + length,
            end,
        })
    }

    #[inline(always)]
    fn load<P: Packet>(packet: &P, offset: u32) -> Result<Self, Refused> {
        let [word] = packet.load::<1>(offset)?;
        Ok(Self::from_octets(word.to_ne_bytes()))
    }

    #[inline(always)]
    fn store<P: Packet>(self, packet: &mut P, offset: u32) -> Result<(), Refused> {
        packet.store(offset, [self.words()[0]])
    }
}

/// IPv6 extension headers (RFC 8200 §4.1) that can stand before a transport header.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION: u8 = 60;
}

impl Wire for Addr6 {
    const SRC_OFFSET: u32 = 8;
    const DST_OFFSET: u32 = 24;
    const CHECKSUM_OFFSET: Option<u32> = None;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn length<P: Packet>(packet: &P, network: u32) -> Result<u32, Refused> {
        let [second] = packet.load::<1>(network + 4)?;
        Ok(match u32::from_be(second) >> 16 {
            0 => packet.len().wrapping_sub(network),
            payload => 40 + payload,
        })
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, network: u32) -> Result<NetworkHeader<Self>, Skip> {
        let header = packet.header::<40>(network).ok_or(MALFORMED)?;
        if header.u8::<0>() >> 4 != 6 {
            return Err(MALFORMED);
        }
        let first = network + 40;
        // Jumbograms and GSO packets above 64 KiB have no payload length.
        let end = match u16::from_be(header.u16::<4>()) {
            0 => u32::MAX,
            payload => first + u32::from(payload),
        };
        let src = address6::<P, 8>(header);
        let dst = address6::<P, 24>(header);
        let (protocol, transport) = match header.u8::<6>() {
            plain @ (protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMPV6) => {
                (plain, first)
            }
            next => behind_extensions(packet, first, next)?,
        };
        Ok(NetworkHeader { src, dst, protocol, transport, end })
    }

    #[inline(always)]
    fn load<P: Packet>(packet: &P, offset: u32) -> Result<Self, Refused> {
        Ok(Self::from_words(packet.load::<4>(offset)?))
    }

    #[inline(always)]
    fn store<P: Packet>(self, packet: &mut P, offset: u32) -> Result<(), Refused> {
        packet.store(offset, self.words())
    }
}

/// The address at `AT`, 8 or 24: both are read through the same four words.
#[inline(always)]
fn address6<P: Packet, const AT: usize>(header: P::Header) -> Addr6 {
    let words = if AT == 8 {
        [header.u32::<8>(), header.u32::<12>(), header.u32::<16>(), header.u32::<20>()]
    } else {
        [header.u32::<24>(), header.u32::<28>(), header.u32::<32>(), header.u32::<36>()]
    };
    Addr6::from_words(words)
}

/// Walks extension headers from `offset`, where a header of type `next` starts, to the transport
/// header.
#[inline(always)]
fn behind_extensions<P: Packet>(packet: &P, offset: u32, next: u8) -> Result<(u8, u32), Skip> {
    let (mut next, mut offset) = (next, offset);
    for _ in 0..MAX_EXTENSION_HEADERS {
        match next {
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {}
            extension::FRAGMENT => return Err(Skip::Unreadable(Counter::PassFragment)),
            transport => return Ok((transport, offset)),
        }
        let header = packet.header::<8>(offset).ok_or(MALFORMED)?;
        next = header.u8::<0>();
        offset += (u32::from(header.u8::<1>()) + 1) * 8;
    }
    match next {
        extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
            Err(Skip::Unreadable(Counter::PassExtensionHeaders))
        }
        extension::FRAGMENT => Err(Skip::Unreadable(Counter::PassFragment)),
        transport => Ok((transport, offset)),
    }
}
