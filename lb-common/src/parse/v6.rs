//! The IPv6 header and its extension headers (RFC 8200).

use super::{Fragment, MALFORMED, NetworkHeader, Skip, Wire};
use crate::abi::counter::Counter;
use crate::net::{Addr6, Address as _, protocol};
use crate::packet::{Header as _, Packet, Refused};

const MAX_EXTENSION_HEADERS: usize = 6;

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
    fn plain<P: Packet>(packet: &P, network: u32) -> Option<u32> {
        let header = packet.header::<40>(network)?;
        matches!(header.u8::<6>(), protocol::TCP | protocol::UDP).then_some(network + 40)
    }

    /// Only if the fragment header is the first extension header.
    #[inline(always)]
    fn fragment<P: Packet>(packet: &P, network: u32) -> Result<Fragment<Self>, Skip> {
        let header = packet.header::<48>(network).ok_or(MALFORMED)?;
        if header.u8::<6>() != extension::FRAGMENT {
            return Err(Skip::Unreadable(Counter::PassFragment));
        }
        let ip = NetworkHeader {
            src: address6::<P, 8>(header),
            dst: address6::<P, 24>(header),
            protocol: header.u8::<40>(),
            transport: network + 48,
            end: network + 40 + u32::from(u16::from_be(header.u16::<4>())),
        };
        let is_first = u16::from_be(header.u16::<42>()) >> 3 == 0;
        Ok(Fragment { ip, id: header.u32::<44>(), is_first })
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
            extension::FRAGMENT => return Err(Skip::Fragment),
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
        extension::FRAGMENT => Err(Skip::Fragment),
        transport => Ok((transport, offset)),
    }
}
