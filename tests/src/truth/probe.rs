//! The packets that a question is asked with.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, PacketBuilder, SlicedPacket};
use lb_common::parse::tcp::SYN;

use crate::datapath::{Packet, tcp, udp};
use crate::objects::Protocol;

/// How many packets ask, from as many source ports: enough to find each of a few endpoints. The
/// same ports always reach the same endpoints.
const PACKETS: u16 = 64;
const FIRST_PORT: u16 = 40_000;

/// First packets of connections from `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The client's address.
    pub from: IpAddr,
    /// What it dials.
    pub to: SocketAddr,
    /// How.
    pub protocol: Protocol,
}

impl Probe {
    /// TCP connections from the address `from` to `to`, `address:port`.
    #[must_use]
    pub fn new(from: &str, to: &str) -> Self {
        let from = from.parse().expect("a client is an address");
        Self { from, to: to.parse().expect("dial address:port"), protocol: Protocol::Tcp }
    }

    /// The same question by another protocol.
    #[must_use]
    pub fn by(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Its packets, as bytes on the wire.
    pub(super) fn packets(self) -> impl Iterator<Item = Vec<u8>> {
        (FIRST_PORT..).take(PACKETS.into()).map(move |port| self.packet(port))
    }

    fn packet(self, port: u16) -> Vec<u8> {
        let (src, dst) = (SocketAddr::new(self.from, port), self.to);
        let text =
            |packet: fn(&str, &str) -> Packet| packet(&src.to_string(), &dst.to_string()).bytes();
        match self.protocol {
            Protocol::Tcp => text(|src, dst| tcp(src, dst, SYN)),
            Protocol::Udp => text(udp),
            Protocol::Sctp => sctp(src, dst),
        }
    }
}

/// An INIT (RFC 9260 §3.3.2). Its checksum is left zero: nothing on the way looks at it.
fn sctp(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    const INIT: [u8; 20] = [1, 0, 0, 20, 0, 0, 0, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    let frame = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let frame = match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frame.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => frame.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("{src} and {dst} are of different families"),
    };
    let ports = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    let payload = [&ports[..], &[0; 8], &INIT].concat();
    let mut bytes = Vec::new();
    frame.write(&mut bytes, IpNumber::SCTP, &payload).expect("the packet can be built");
    bytes
}

/// Where a packet goes, whatever its protocol.
///
/// # Panics
///
/// If it is not well-formed.
#[must_use]
pub fn destination(packet: &[u8]) -> SocketAddr {
    let packet = SlicedPacket::from_ethernet(packet).expect("a well-formed packet");
    let net = packet.net.expect("a network header");
    let payload = net.ip_payload_ref().expect("an IP packet").payload;
    let ip = match &net {
        etherparse::NetSlice::Ipv4(ip) => IpAddr::from(ip.header().destination()),
        etherparse::NetSlice::Ipv6(ip) => IpAddr::from(ip.header().destination()),
        etherparse::NetSlice::Arp(_) => panic!("an ARP packet has no destination"),
    };
    SocketAddr::new(ip, u16::from_be_bytes([payload[2], payload[3]]))
}
