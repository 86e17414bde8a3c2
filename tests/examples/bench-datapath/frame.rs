//! The packets: who sends them, what they look like before and after a rewrite.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use lb_common::net::{Family, Port};

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

impl Party {
    /// The client of flow 0; those of the other flows follow it.
    pub(crate) const fn client(family: Family) -> Self {
        Self::new(family, 0, 16_384)
    }

    /// What clients dial.
    pub(crate) const fn frontend(family: Family) -> Self {
        Self::new(family, 96, 80)
    }

    /// The one backend of the service.
    pub(crate) const fn backend(family: Family) -> Self {
        Self::new(family, 200, 8080)
    }

    /// The node, as masqueraded requests of [`client`](Self::client) leave it.
    pub(crate) const fn node(family: Family) -> Self {
        Self::new(family, 202, Self::client(family).port)
    }

    /// Somebody who has nothing to do with services.
    pub(crate) const fn stranger(family: Family) -> Self {
        Self::new(family, 201, 443)
    }

    const fn new(family: Family, network: u8, port: u16) -> Self {
        let ip = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, network, 0, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, network as u16, 0, 0, 0, 1)),
        };
        Self { ip, port }
    }

    /// The port as the datapath keeps it.
    pub(crate) const fn wire_port(self) -> Port {
        Port::from_host(self.port)
    }
}

/// What a TCP segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// To open a connection.
    Syn,
    /// To carry data.
    Data,
}

/// An Ethernet frame with a TCP segment of 20 bytes: 74 bytes long, 94 with IPv6.
pub(crate) fn frame(from: Party, to: Party, segment: Segment) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let network = match (from.ip, to.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        families => panic!("a packet between two families: {families:?}"),
    };
    let tcp = network.tcp(from.port, to.port, 1, 65_000);
    let tcp = match segment {
        Segment::Syn => tcp.syn(),
        Segment::Data => tcp.ack(1).psh(),
    };
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &[0; 20]).expect("a vector takes every byte");
    bytes
}
