//! The packet that a person asks about, as bytes without a link header, and what one became.
//!
//! It is the one that begins a conversation: TCP's SYN, SCTP's INIT, a short datagram. Its checksums are
//! zero: the datapath changes them and never reads them.

use std::net::{IpAddr, SocketAddr};

use lb_common::net::protocol::{SCTP, TCP};
use lb_common::parse::tcp::SYN;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Hops that are left to the packet.
const TTL: u8 = 64;

/// The first packet from `src` to `dst`, `None` if they are of different families.
#[must_use]
pub fn first(src: SocketAddr, dst: SocketAddr, protocol: u8) -> Option<Vec<u8>> {
    let payload = transport(src.port(), dst.port(), protocol);
    let mut packet = match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = u16::try_from(V4_HEADER + payload.len()).ok()?.to_be_bytes();
            let start = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, TTL, protocol, 0, 0];
            [&start[..], &src.octets(), &dst.octets()].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let length = u16::try_from(payload.len()).ok()?.to_be_bytes();
            let start = [0x60, 0, 0, 0, length[0], length[1], protocol, TTL];
            [&start[..], &src.octets(), &dst.octets()].concat()
        }
        _ => return None,
    };
    packet.extend(payload);
    Some(packet)
}

/// Source and destination of such a packet.
#[must_use]
pub fn ends(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (src, dst, header): (IpAddr, IpAddr, usize) = match packet.first()? >> 4 {
        4 => {
            let (src, dst) = (array::<4>(packet, 12)?, array::<4>(packet, 16)?);
            (src.into(), dst.into(), V4_HEADER)
        }
        _ => (array::<16>(packet, 8)?.into(), array::<16>(packet, 24)?.into(), V6_HEADER),
    };
    let port = |at| array::<2>(packet, at).map(u16::from_be_bytes);
    Some((SocketAddr::new(src, port(header)?), SocketAddr::new(dst, port(header + 2)?)))
}

fn array<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

fn transport(src: u16, dst: u16, protocol: u8) -> Vec<u8> {
    let mut bytes = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    match protocol {
        // Sequence and acknowledgement, the length of the header in words, flags, the rest.
        TCP => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]),
        // Tag and checksum, then an INIT chunk (RFC 9260 §3.3.2): a tag, window, streams, a number.
        SCTP => {
            bytes.extend([0; 8]);
            bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
        }
        _ => bytes.extend([0, 8, 0, 0]),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use lb_common::net::protocol::UDP;

    use super::*;

    #[track_caller]
    fn check(src: &str, dst: &str, protocol: u8) {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        assert_eq!(ends(&first(src, dst, protocol).unwrap()), Some((src, dst)));
    }

    #[test]
    fn a_packet_has_the_ends_that_it_was_made_for() {
        for protocol in [TCP, UDP, SCTP] {
            check("10.1.0.2:40000", "10.96.0.10:80", protocol);
            check("[fd00::1]:40000", "[fd00::2]:80", protocol);
        }
    }

    #[test]
    fn nobody_asks_from_one_family_into_the_other() {
        let (src, dst) = ("10.1.0.2:1".parse().unwrap(), "[fd00::1]:80".parse().unwrap());
        assert_eq!(first(src, dst, TCP), None);
    }
}
