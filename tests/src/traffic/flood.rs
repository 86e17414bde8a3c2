//! A flood: as many flows as packets, from sources that do not exist.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, send,
    socket,
};

use crate::lab::Namespace;

/// Where the packets seem to come from, IPv4 first: what is set aside for benchmarks (RFC 2544 and
/// RFC 5180). Somebody should throw the answers away.
pub const SOURCES: [&str; 2] = ["198.18.0.0/15", "2001:2::/48"];

/// The same packet over and over, each time from elsewhere.
#[derive(Debug)]
pub struct Flood {
    dst: SocketAddr,
    packet: Vec<u8>,
    offsets: Offsets,
}

/// Where packets differ. What the source adds to the checksum, a field that nobody looks at takes
/// away again by having its complement: so the checksum stays the same.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    /// The last 32 bits of the source address.
    address: usize,
    /// The source port.
    port: usize,
    /// The complement of what was put into the address.
    against_address: usize,
    /// The complement of the port.
    against_port: usize,
}

impl Flood {
    /// SYNs to `dst`, each of a connection that goes no further.
    #[must_use]
    pub fn of_syns(dst: SocketAddr) -> Self {
        let mut packet = Vec::new();
        let tcp = ip_header(dst).tcp(0, dst.port(), u32::MAX, u16::MAX).syn();
        tcp.write(&mut packet, &[]).expect("write a SYN");
        // The sequence number and the window.
        Self::new(dst, packet, [4, 14])
    }

    /// Datagrams to `dst`.
    #[must_use]
    pub fn of_datagrams(dst: SocketAddr) -> Self {
        let mut packet = Vec::new();
        let udp = ip_header(dst).udp(0, dst.port());
        udp.write(&mut packet, &[u8::MAX; 6]).expect("write a datagram");
        // The payload.
        Self::new(dst, packet, [8, 12])
    }

    fn new(dst: SocketAddr, packet: Vec<u8>, against: [usize; 2]) -> Self {
        let (address, port) = if dst.is_ipv4() { (12, 20) } else { (20, 40) };
        let [against_address, against_port] = against.map(|offset| port + offset);
        Self { dst, packet, offsets: Offsets { address, port, against_address, against_port } }
    }

    /// Sends `count` packets as fast as possible; the same ones in every run.
    pub fn send(mut self, from: &Namespace, count: u32) {
        let socket = from.run(|| raw_socket(self.dst.ip()));
        for number in 0..count {
            self.put_source(number);
            send(socket.as_raw_fd(), &self.packet, MsgFlags::empty()).expect("send a packet");
        }
    }

    fn put_source(&mut self, number: u32) {
        let (network, hosts) =
            if self.dst.is_ipv4() { (0xc612_0000, 0x1_ffff) } else { (0, u32::MAX) };
        // Knuth's multiplicative hash again, of 64 bits.
        let hash = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let address = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) & hosts;
        let port = u16::from_be_bytes([hash[4], hash[5] | 1]);
        let at = self.offsets;
        put(&mut self.packet, at.address, (network | address).to_be_bytes());
        put(&mut self.packet, at.against_address, (!address).to_be_bytes());
        put(&mut self.packet, at.port, port.to_be_bytes());
        put(&mut self.packet, at.against_port, (!port).to_be_bytes());
    }
}

fn put<const N: usize>(packet: &mut [u8], offset: usize, bytes: [u8; N]) {
    packet[offset..offset + N].copy_from_slice(&bytes);
}

/// The header of a packet to `dst` from the first of [`SOURCES`].
fn ip_header(dst: SocketAddr) -> PacketBuilderStep<IpHeaders> {
    match dst.ip() {
        IpAddr::V4(dst) => PacketBuilder::ipv4([198, 18, 0, 0], dst.octets(), 64),
        IpAddr::V6(dst) => {
            let src = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
            PacketBuilder::ipv6(src.octets(), dst.octets(), 64)
        }
    }
}

/// A socket that sends whole packets to `dst`, whatever source they name.
fn raw_socket(dst: IpAddr) -> OwnedFd {
    let family = if dst.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw);
    let socket = socket.expect("make a raw socket");
    let dst = SockaddrStorage::from(SocketAddr::new(dst, 0));
    connect(socket.as_raw_fd(), &dst).expect("connect a raw socket");
    socket
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use etherparse::Ipv4Header;

    use super::*;
    use crate::datapath::{Framing, assert_checksums};

    /// The kernel sums up the IPv4 header of what is sent.
    fn as_sent(mut packet: Vec<u8>) -> Vec<u8> {
        if let Ok((mut header, payload)) = Ipv4Header::from_slice(&packet) {
            header.header_checksum = header.calc_header_checksum();
            packet = [&header.to_bytes(), payload].concat();
        }
        packet
    }

    #[track_caller]
    fn check(mut flood: Flood) {
        let mut sources = BTreeSet::new();
        for number in 0..1000 {
            flood.put_source(number);
            assert_checksums(&as_sent(flood.packet.clone()), Framing::Raw);
            let address = flood.offsets.address;
            sources.insert(flood.packet[address..address + 4].to_vec());
        }
        assert!(sources.len() > 950, "{} sources", sources.len());
    }

    #[test]
    fn packets_come_from_everywhere_and_their_checksums_are_right() {
        for dst in ["192.168.0.11:30080", "[fd00:c0::11]:30080"] {
            let dst = dst.parse().unwrap();
            check(Flood::of_syns(dst));
            check(Flood::of_datagrams(dst));
        }
    }
}
