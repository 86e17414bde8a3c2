//! ICMP messages for tests, built with etherparse.

use std::net::IpAddr;

use etherparse::{IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, PacketBuilder};
use etherparse::{Ipv6Extensions, Ipv6Header};

/// An Ethernet frame with an ICMP message (`ICMPv6`, if the addresses are IPv6) of this type and code:
/// the four bytes behind its checksum, then `body`.
///
/// # Panics
///
/// If the addresses are no addresses of one family.
#[must_use]
pub fn icmp(src: &str, dst: &str, kind: [u8; 2], rest: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let parse = |addr: &str| addr.parse::<IpAddr>().expect("an address");
    match (parse(src), parse(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut ip = Ipv4Header::new(0, 64, IpNumber::ICMP, src.octets(), dst.octets())
                .expect("a short packet");
            ip.dont_fragment = false;
            let ip = IpHeaders::Ipv4(ip, Ipv4Extensions::default());
            ethernet.ip(ip).icmpv4_raw(kind[0], kind[1], rest).write(&mut bytes, body)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                hop_limit: 64,
                source: src.octets(),
                destination: dst.octets(),
                ..Default::default()
            };
            let ip = IpHeaders::Ipv6(header, Ipv6Extensions::default());
            ethernet.ip(ip).icmpv6_raw(kind[0], kind[1], rest).write(&mut bytes, body)
        }
        _ => panic!("{src} and {dst} are of two families"),
    }
    .expect("the packet can be built");
    bytes
}
