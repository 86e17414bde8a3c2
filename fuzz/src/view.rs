//! Reads a packet, written from the RFCs without a look at `lb_common::parse`: the second opinion.
//!
//! It is lenient: it reads what is there. Whether the datapath should have read it is not asked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use lb_common::parse::Link;

/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// SCTP.
pub const SCTP: u8 = 132;
/// ICMP.
pub const ICMP: u8 = 1;
/// `ICMPv6`.
pub const ICMPV6: u8 = 58;

/// Where things are in a packet, and who talks to whom. Offsets count from its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The network header.
    pub network: usize,
    /// The header behind the network header and its extensions.
    pub transport: usize,
    /// The end that the network header declares; may lie behind the last byte.
    pub end: usize,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What the transport header is.
    pub protocol: u8,
    /// Which part of a packet it is.
    pub part: Part,
    /// Source and destination port, if this part has them.
    pub ports: Option<(u16, u16)>,
}

/// Which part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First,
    /// A later fragment: no transport header.
    Later,
}

impl View {
    /// Reads a packet of a device framed by `link`.
    #[must_use]
    pub fn of(bytes: &[u8], link: Link) -> Option<Self> {
        let mut network = 0;
        if link == Link::Ethernet {
            network = 14;
            for _ in 0..2 {
                match number(bytes, network - 2)? {
                    0x8100 | 0x88a8 => network += 4,
                    _ => break,
                }
            }
            match (number(bytes, network - 2)?, bytes.get(network)? >> 4) {
                (0x0800, 4) | (0x86dd, 6) => {}
                _ => return None,
            }
        }
        Self::at(bytes, network)
    }

    /// Reads the packet whose network header is at `network`.
    #[must_use]
    pub fn at(bytes: &[u8], network: usize) -> Option<Self> {
        let view = match bytes.get(network)? >> 4 {
            4 => Self::v4(bytes, network)?,
            6 => Self::v6(bytes, network)?,
            _ => return None,
        };
        Some(view.with_ports(bytes))
    }

    fn v4(bytes: &[u8], network: usize) -> Option<Self> {
        let header = bytes.get(network..network + 20)?;
        let length = usize::from(header[0] & 0xf) * 4;
        let total = usize::from(number(header, 2)?);
        let fragment = number(header, 6)?;
        Some(Self {
            network,
            transport: network + length,
            end: if total == 0 { bytes.len() } else { network + total },
            src: Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?).into(),
            dst: Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?).into(),
            protocol: header[9],
            part: part(fragment & 0x1fff, fragment & 0x2000 != 0),
            ports: None,
        })
    }

    fn v6(bytes: &[u8], network: usize) -> Option<Self> {
        let header = bytes.get(network..network + 40)?;
        let payload = usize::from(number(header, 4)?);
        let mut view = Self {
            network,
            transport: network + 40,
            end: if payload == 0 { bytes.len() } else { network + 40 + payload },
            src: Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?).into(),
            dst: Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?).into(),
            protocol: header[6],
            part: Part::Whole,
            ports: None,
        };
        while let (0 | 43 | 44 | 60, true) = (view.protocol, view.part != Part::Later) {
            let extension = bytes.get(view.transport..view.transport + 8)?;
            let mut length = 8;
            if view.protocol == 44 {
                let fragment = number(extension, 2)?;
                view.part = part(fragment >> 3, fragment & 1 != 0);
            } else {
                length += usize::from(extension[1]) * 8;
            }
            view.protocol = extension[0];
            view.transport += length;
        }
        Some(view)
    }

    fn with_ports(mut self, bytes: &[u8]) -> Self {
        if self.part != Part::Later && matches!(self.protocol, TCP | UDP | SCTP) {
            let ports = (number(bytes, self.transport), number(bytes, self.transport + 2));
            self.ports = ports.0.zip(ports.1);
        }
        self
    }

    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.src.is_ipv6()
    }

    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> Range<usize> {
        let at = self.network;
        if self.is_v6() { at + 8..at + 40 } else { at + 12..at + 20 }
    }

    /// The checksum of the network header.
    #[must_use]
    pub fn header_sum(&self) -> Option<Range<usize>> {
        (!self.is_v6()).then_some(self.network + 10..self.network + 12)
    }

    /// The checksum behind the network header, of a protocol that has one.
    #[must_use]
    pub fn transport_sum(&self) -> Option<Range<usize>> {
        let (at, length) = match self.protocol {
            TCP => (16, 2),
            UDP => (6, 2),
            SCTP => (8, 4),
            ICMP | ICMPV6 => (2, 2),
            _ => return None,
        };
        let at = self.transport + at;
        (self.part != Part::Later).then_some(at..at + length)
    }

    /// The packet that an ICMP error quotes.
    #[must_use]
    pub fn quoted(&self, bytes: &[u8]) -> Option<Self> {
        let kind = *bytes.get(self.transport)?;
        let is_error = match self.protocol {
            ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            ICMPV6 => kind < 128,
            _ => false,
        };
        (is_error && self.part != Part::Later).then(|| Self::at(bytes, self.transport + 8))?
    }
}

fn part(offset: u16, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// The 16-bit number at `at`.
#[must_use]
pub fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
