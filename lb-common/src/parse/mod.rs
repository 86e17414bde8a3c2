//! From a packet's bytes to the key of its flow.
//!
//! Anything that is not a TCP, UDP or SCTP packet with readable ports is passed untouched; what is
//! malformed is counted as well (design §3.5).

mod v4;
mod v6;

use crate::abi::counter::Counter;
use crate::abi::flow::{FlowKey, Hook};
use crate::net::{Address, Port, protocol};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<A> {
    /// Who talks to whom, and at which hook.
    pub key: FlowKey<A>,
    /// Offset of the network header.
    pub network: u32,
    /// Offset of the transport header.
    pub transport: u32,
    /// Bits of [`tcp`]; for SCTP those of the segment that would mean the same, 0 for UDP.
    pub tcp_flags: u8,
    /// The last byte of a TCP sequence number, 0 for other protocols: tells the SYN of one connection
    /// from that of the next.
    pub opening: u8,
    /// It is a fragment behind the first: there is no transport header, its ports are borrowed.
    pub is_later: bool,
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
    /// It is a fragment.
    Fragment,
}

const MALFORMED: Skip = Skip::Unreadable(Counter::PassMalformed);

/// Of TCP without options, the longest of those that are looked at.
const TRANSPORT_LEN: u32 = 20;
/// Where all headers end that are looked at.
const HEADERS_END: u32 = 128;

const ETHERNET_LEN: u32 = 14;
const VLAN_LEN: u32 = 4;
const MAX_VLAN_TAGS: usize = 2;

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
pub trait Wire: Address + Default {
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

    /// Where the header of TCP or UDP starts, if it is right behind a header without options at
    /// `network`.
    fn plain<P: Packet>(packet: &P, network: u32) -> Option<u32>;

    /// Reads the network header at `network` of a fragment.
    fn fragment<P: Packet>(packet: &P, network: u32) -> Result<Fragment<Self>, Skip>;

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

/// What the network header of a fragment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<A> {
    /// The network header.
    pub ip: NetworkHeader<A>,
    /// The number of the packet it is of.
    pub id: u32,
    /// Whether the transport header is in it.
    pub is_first: bool,
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
    let transport = transport(packet, &ip)?;
    Ok(of(ip, transport, network, hook))
}

/// Brings in the headers of family `A` from offset `network` on, and no more where that is known
/// beforehand.
#[inline(always)]
pub fn bring_in<A: Wire, P: Packet>(packet: &P, network: u32) {
    packet.reach(match A::plain(packet, network) {
        Some(transport) => transport + TRANSPORT_LEN,
        None => HEADERS_END,
    });
}

/// What the datapath needs of a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Source and destination port, as they stand there.
    ports: [u16; 2],
    /// As [`Headers::tcp_flags`].
    tcp_flags: u8,
    /// As [`Headers::opening`].
    opening: u8,
}

/// The headers of a packet seen at `hook`.
#[inline(always)]
pub fn of<A: Wire>(
    ip: NetworkHeader<A>,
    transport: Transport,
    network: u32,
    hook: Hook,
) -> Headers<A> {
    let Transport { ports, tcp_flags, opening } = transport;
    let key = ip.key(ports, hook);
    Headers { key, network, transport: ip.transport, tcp_flags, opening, is_later: false }
}

/// Reads the transport header behind the network header `ip`.
#[inline(always)]
pub fn transport<A: Wire, P: Packet>(packet: &P, ip: &NetworkHeader<A>) -> Result<Transport, Skip> {
    let transport = ip.transport;
    let (ports, tcp_flags, opening, length) = match ip.protocol {
        protocol::TCP => {
            let header = packet.header::<20>(transport).ok_or(MALFORMED)?;
            let length = u32::from(header.u8::<12>() >> 4) * 4;
            if length < 20 {
                return Err(MALFORMED);
            }
            let ports = [header.u16::<0>(), header.u16::<2>()];
            (ports, header.u8::<13>(), header.u8::<7>(), length)
        }
        protocol::UDP => {
            let header = packet.header::<8>(transport).ok_or(MALFORMED)?;
            ([header.u16::<0>(), header.u16::<2>()], 0, 0, 8)
        }
        protocol::SCTP => {
            // With the head of the first chunk: there is always one.
            let header = packet.header::<16>(transport).ok_or(MALFORMED)?;
            (
                [header.u16::<0>(), header.u16::<2>()],
                FLAGS_OF_CHUNK[usize::from(header.u8::<12>())],
                0,
                16,
            )
        }
        other if other == A::ICMP => return Err(Skip::Message),
        _ => return Err(Skip::NotOurs),
    };
    if transport + length > ip.end {
        return Err(MALFORMED);
    }
    Ok(Transport { ports, tcp_flags, opening })
}

/// The headers of a fragment behind the first, which had these ports.
#[inline(always)]
pub fn later<A: Wire>(
    ip: NetworkHeader<A>,
    network: u32,
    hook: Hook,
    src: Port,
    dst: Port,
) -> Headers<A> {
    let key = ip.key([src.word(), dst.word()], hook);
    Headers { key, network, transport: ip.transport, tcp_flags: 0, opening: 0, is_later: true }
}

/// Reads the headers that an ICMP error quotes from offset `network` on: of the transport header no
/// more than the first 8 bytes need be there (RFC 792).
#[inline(always)]
pub fn quoted<A: Wire, P: Packet>(
    packet: &P,
    network: u32,
    hook: Hook,
) -> Result<Headers<A>, Skip> {
    let ip = match A::parse(packet, network) {
        Err(Skip::Fragment) => first_fragment(packet, network)?,
        ip => ip?,
    };
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        return Err(Skip::NotOurs);
    }
    let transport = ip.transport;
    let header = packet.header::<8>(transport).ok_or(MALFORMED)?;
    let key = ip.key([header.u16::<0>(), header.u16::<2>()], hook);
    Ok(Headers { key, network, transport, tcp_flags: 0, opening: 0, is_later: false })
}

#[inline(always)]
fn first_fragment<A: Wire, P: Packet>(packet: &P, network: u32) -> Result<NetworkHeader<A>, Skip> {
    let fragment = A::fragment(packet, network)?;
    if fragment.is_first { Ok(fragment.ip) } else { Err(Skip::Unreadable(Counter::PassFragment)) }
}
