//! Packets for tests: built and checked with etherparse, never with our own code.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header,
    Ipv6RawExtHeader, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpHeader,
    TransportSlice, VlanHeader, VlanId,
};

/// What a packet carries above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with these flags (byte 13 of the header).
    Tcp(u8),
    /// UDP.
    Udp,
    /// UDP without a checksum, which IPv4 allows.
    UdpUnsummed,
    /// SCTP; the payload is preceded by a chunk header of this type.
    Sctp(u8),
    /// The same with the checksum left to the device: zero.
    SctpUnsummed(u8),
}

/// What stands before the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Ethernet.
    Ethernet,
    /// Ethernet with one VLAN tag.
    Vlan,
    /// Ethernet with two VLAN tags.
    DoubleVlan,
    /// Nothing.
    Raw,
}

/// A packet in words; [`Packet::bytes`] makes it real, with both checksums right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address and port.
    pub src: SocketAddr,
    /// Destination address and port; of the source's family.
    pub dst: SocketAddr,
    /// TCP, UDP or SCTP.
    pub transport: Transport,
    /// Bytes behind the transport header.
    pub payload: Vec<u8>,
    /// What stands before the network header.
    pub framing: Framing,
    /// IPv4: this many 32-bit words of options; IPv6: this many extension headers.
    pub options: usize,
    /// The sequence number, of TCP: each connection begins at one of its own.
    pub sequence: u32,
}

/// A TCP packet from `src` to `dst`, each `address:port`.
#[must_use]
pub fn tcp(src: &str, dst: &str, flags: u8) -> Packet {
    packet(src, dst, Transport::Tcp(flags))
}

/// A UDP packet from `src` to `dst`, each `address:port`.
#[must_use]
pub fn udp(src: &str, dst: &str) -> Packet {
    packet(src, dst, Transport::Udp)
}

/// An SCTP packet from `src` to `dst`, each `address:port`, with one chunk of this type.
#[must_use]
pub fn sctp(src: &str, dst: &str, chunk: u8) -> Packet {
    packet(src, dst, Transport::Sctp(chunk))
}

fn packet(src: &str, dst: &str, transport: Transport) -> Packet {
    Packet {
        src: src.parse().expect("source is address:port"),
        dst: dst.parse().expect("destination is address:port"),
        transport,
        payload: b"the answer is 42.".to_vec(),
        framing: Framing::Ethernet,
        options: 0,
        sequence: 1000,
    }
}

impl Packet {
    /// The same packet from elsewhere.
    #[must_use]
    pub fn from(mut self, src: &str) -> Self {
        self.src = src.parse().expect("source is address:port");
        self
    }

    /// The same packet to elsewhere.
    #[must_use]
    pub fn to(mut self, dst: &str) -> Self {
        self.dst = dst.parse().expect("destination is address:port");
        self
    }

    /// The same packet of a connection with other sequence numbers.
    #[must_use]
    pub fn numbered(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self
    }

    /// The same packet in another frame.
    #[must_use]
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The same packet with IP options or extension headers.
    #[must_use]
    pub fn with_options(mut self, options: usize) -> Self {
        self.options = options;
        self
    }

    /// The same packet with this payload.
    #[must_use]
    pub fn with_payload(mut self, payload: Vec<u8>) -> Self {
        self.payload = payload;
        self
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let ip = self.ip();
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let step = match self.framing {
            Framing::Raw => PacketBuilder::ip(ip),
            Framing::Ethernet => ethernet.ip(ip),
            Framing::Vlan => ethernet
                .vlan(VlanHeader::Single(etherparse::SingleVlanHeader {
                    vlan_id: vlan(5),
                    ..Default::default()
                }))
                .ip(ip),
            Framing::DoubleVlan => ethernet.double_vlan(vlan(5), vlan(6)).ip(ip),
        };
        self.finish(step)
    }

    fn finish(&self, step: PacketBuilderStep<IpHeaders>) -> Vec<u8> {
        let (src, dst) = (self.src.port(), self.dst.port());
        let mut bytes = Vec::new();
        let written = match self.transport {
            Transport::Tcp(flags) => step
                .tcp_header(tcp_header(src, dst, flags, self.sequence))
                .write(&mut bytes, &self.payload),
            Transport::Udp | Transport::UdpUnsummed => {
                step.udp(src, dst).write(&mut bytes, &self.payload)
            }
            Transport::Sctp(chunk) | Transport::SctpUnsummed(chunk) => {
                let summed = matches!(self.transport, Transport::Sctp(_));
                let packet = super::sctp::packet((src, dst), chunk, &self.payload, summed);
                step.write(&mut bytes, IpNumber::SCTP, &packet)
            }
        };
        written.expect("the packet can be built");
        if self.transport == Transport::UdpUnsummed {
            let checksum = bytes.len() - self.payload.len() - 2;
            bytes[checksum..checksum + 2].fill(0);
        }
        bytes
    }

    fn ip(&self) -> IpHeaders {
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = Ipv4Header {
                    time_to_live: 64,
                    source: src.octets(),
                    destination: dst.octets(),
                    dont_fragment: true,
                    ..Default::default()
                };
                let options = vec![1; 4 * self.options];
                header.options = Ipv4Options::try_from(&options[..]).expect("at most 40 bytes");
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    hop_limit: 64,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Default::default()
                };
                IpHeaders::Ipv6(header, self.extensions())
            }
            _ => panic!("{self:?} mixes families"),
        }
    }

    fn extensions(&self) -> Ipv6Extensions {
        let header = |words: u8| {
            let body = vec![0; 6 + 8 * usize::from(words)];
            Ipv6RawExtHeader::new_raw(IpNumber::UDP, &body).expect("a legal length")
        };
        Ipv6Extensions {
            hop_by_hop_options: (self.options > 0).then(|| header(0)),
            destination_options: (self.options > 1).then(|| header(2)),
            ..Default::default()
        }
    }
}

fn vlan(id: u16) -> VlanId {
    VlanId::try_new(id).expect("12 bits")
}

fn tcp_header(src: u16, dst: u16, flags: u8, sequence: u32) -> TcpHeader {
    let mut header = TcpHeader::new(src, dst, sequence, 64_240);
    header.acknowledgment_number = 7;
    header.fin = flags & 0x01 != 0;
    header.syn = flags & 0x02 != 0;
    header.rst = flags & 0x04 != 0;
    header.psh = flags & 0x08 != 0;
    header.ack = flags & 0x10 != 0;
    header.set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1460)]).expect("fits");
    header
}

/// Source and destination of a well-formed packet with ports.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn ends(bytes: &[u8], framing: Framing) -> (SocketAddr, SocketAddr) {
    let net = sliced(bytes, framing).net.expect("a network header");
    let (src, dst): (IpAddr, IpAddr) = match &net {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => panic!("ARP has no ports"),
    };
    let ports = net.ip_payload_ref().expect("an IP payload").payload;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    (SocketAddr::new(src, port(0)), SocketAddr::new(dst, port(2)))
}

fn sliced(bytes: &[u8], framing: Framing) -> SlicedPacket<'_> {
    match framing {
        Framing::Raw => SlicedPacket::from_ip(bytes),
        _ => SlicedPacket::from_ethernet(bytes),
    }
    .expect("a well-formed packet")
}

/// Panics unless the header checksum (IPv4) and the transport checksum of `bytes` are right,
/// recomputed in full.
#[track_caller]
pub fn assert_checksums(bytes: &[u8], framing: Framing) {
    let packet = sliced(bytes, framing);
    let net = packet.net.expect("a network header");
    let ip = net.ip_payload_ref().expect("an IP payload");
    if ip.ip_number == IpNumber::SCTP {
        super::sctp::assert_checksum(ip.payload);
        if let NetSlice::Ipv4(ip) = &net {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
        }
        return;
    }
    let transport = packet.transport.expect("a transport header");
    match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 checksum");
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
                    assert_eq!(Ok(tcp.checksum()), sum.map_err(drop), "TCP checksum");
                }
                TransportSlice::Udp(udp) if udp.checksum() == 0 => {}
                TransportSlice::Udp(udp) => {
                    let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                    assert_eq!(Ok(udp.checksum()), sum.map_err(drop), "UDP checksum");
                }
                other => panic!("unexpected transport {other:?}"),
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let sum = match &transport {
                TransportSlice::Tcp(tcp) => {
                    tcp.to_header().calc_checksum_ipv6(&header, tcp.payload())
                }
                TransportSlice::Udp(udp) => {
                    udp.to_header().calc_checksum_ipv6(&header, udp.payload())
                }
                other => panic!("unexpected transport {other:?}"),
            };
            let written = match &transport {
                TransportSlice::Tcp(tcp) => tcp.checksum(),
                TransportSlice::Udp(udp) => udp.checksum(),
                other => panic!("unexpected transport {other:?}"),
            };
            assert_eq!(Ok(written), sum.map_err(drop), "transport checksum");
        }
        NetSlice::Arp(_) => panic!("an ARP packet has no checksums"),
    }
}
