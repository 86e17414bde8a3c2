//! The IPv4 header (RFC 791).

use super::{Fragment, MALFORMED, NetworkHeader, Skip, Wire};
use crate::net::{Addr4, Address as _, protocol};
use crate::packet::{Header as _, Packet, Refused};

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
        // Fragment offset or "more fragments": the ports are not to be had here.
        if u16::from_be(header.u16::<6>()) & 0x3fff != 0 {
            return Err(Skip::Fragment);
        }
        read4::<P>(header, network)
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: &P, network: u32) -> Option<u32> {
        let header = packet.header::<20>(network)?;
        let is_plain =
            header.u8::<0>() == 0x45 && matches!(header.u8::<9>(), protocol::TCP | protocol::UDP);
        is_plain.then_some(network + 20)
    }

    #[inline(always)]
    fn fragment<P: Packet>(packet: &P, network: u32) -> Result<Fragment<Self>, Skip> {
        let header = packet.header::<20>(network).ok_or(MALFORMED)?;
        Ok(Fragment {
            ip: read4::<P>(header, network)?,
            id: u32::from(header.u16::<4>()),
            is_first: u16::from_be(header.u16::<6>()) << 3 == 0,
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

/// What an IPv4 header at `network` says, fragment or not.
#[inline(always)]
fn read4<P: Packet>(header: P::Header, network: u32) -> Result<NetworkHeader<Addr4>, Skip> {
    let version_ihl = header.u8::<0>();
    let length = u32::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || length < 20 {
        return Err(MALFORMED);
    }
    // GSO packets above 64 KiB have no total length.
    let end = match u16::from_be(header.u16::<2>()) {
        0 => u32::MAX,
        total => network + u32::from(total),
    };
    Ok(NetworkHeader {
        src: Addr4::from_octets(header.u32::<12>().to_ne_bytes()),
        dst: Addr4::from_octets(header.u32::<16>().to_ne_bytes()),
        protocol: header.u8::<9>(),
        transport: network + length,
        end,
    })
}
