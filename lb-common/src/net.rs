//! Addresses, ports and protocols as they are on the wire.
//!
//! Byte order is a type here: everything is kept in network order and turned into host integers
//! only by the methods named so. All types are plain bytes, so every bit pattern is valid and
//! `bpftool map dump` prints them readably; their alignment lets the kernel side load them whole.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family, as Kubernetes counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An IP address of one family: the parameter that makes one code serve both.
pub trait Address: Copy + Eq + core::fmt::Debug + 'static {
    /// The family of all addresses of this type.
    const FAMILY: Family;

    /// The address as 32-bit words in memory order: for checksums and hashes, not for arithmetic.
    /// IPv4 fills the first word and leaves the others zero.
    fn words(self) -> [u32; 4];

    /// The address as the standard library's type.
    fn to_ip(self) -> IpAddr;

    /// The address of this family that `ip` is, if it is one.
    fn from_ip(ip: IpAddr) -> Option<Self>;

    /// Which of two addresses is of this family.
    fn of_family(v4: Addr4, v6: Addr6) -> Self;
}

/// An IPv4 address in network order.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default)]
pub struct Addr4 {
    octets: [u8; 4],
}

/// An IPv6 address in network order.
///
/// Kept as four groups, because the kernel side handles it in 32-bit words.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default)]
pub struct Addr6 {
    octets: [[u8; 4]; 4],
}

impl Addr4 {
    /// The address whose bytes on the wire are `octets`.
    #[must_use]
    #[inline(always)]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self { octets }
    }

    /// The bytes on the wire.
    #[must_use]
    #[inline(always)]
    pub const fn octets(self) -> [u8; 4] {
        self.octets
    }
}

impl Addr6 {
    /// The address whose bytes on the wire are `octets`.
    #[must_use]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let (groups, _) = octets.as_chunks();
        Self { octets: [groups[0], groups[1], groups[2], groups[3]] }
    }

    /// The bytes on the wire.
    #[must_use]
    #[expect(clippy::many_single_char_names, reason = "sixteen bytes in their order")]
    pub const fn octets(self) -> [u8; 16] {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = self.octets;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The address whose bytes on the wire are `words`, each in memory order.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self {
            octets: [
                words[0].to_ne_bytes(),
                words[1].to_ne_bytes(),
                words[2].to_ne_bytes(),
                words[3].to_ne_bytes(),
            ],
        }
    }
}

impl Address for Addr4 {
    const FAMILY: Family = Family::V4;

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [u32::from_ne_bytes(self.octets), 0, 0, 0]
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.octets))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(Self { octets: ip.octets() }),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn of_family(v4: Addr4, _: Addr6) -> Self {
        v4
    }
}

impl Address for Addr6 {
    const FAMILY: Family = Family::V6;

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [
            u32::from_ne_bytes(self.octets[0]),
            u32::from_ne_bytes(self.octets[1]),
            u32::from_ne_bytes(self.octets[2]),
            u32::from_ne_bytes(self.octets[3]),
        ]
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.octets()))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(Self::from_octets(ip.octets())),
        }
    }

    #[inline(always)]
    fn of_family(_: Addr4, v6: Addr6) -> Self {
        v6
    }
}

// SAFETY: four bytes without padding; every bit pattern is an address.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Addr4 {}

// SAFETY: sixteen bytes without padding; every bit pattern is an address.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Addr6 {}

// Equality by words, not by bytes: in the kernel a byte-wise comparison would become a call.
macro_rules! equal_by_words {
    ($address:ty) => {
        impl PartialEq for $address {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                let (a, b) = (self.words(), other.words());
                a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
            }
        }
        impl Eq for $address {}
        impl PartialOrd for $address {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $address {
            fn cmp(&self, other: &Self) -> core::cmp::Ordering {
                self.octets.cmp(&other.octets)
            }
        }
        impl Hash for $address {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.octets.hash(state);
            }
        }
        impl core::fmt::Debug for $address {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.to_ip().fmt(f)
            }
        }
    };
}
equal_by_words!(Addr4);
equal_by_words!(Addr6);

/// A port in network order.
#[repr(C, align(2))]
#[derive(Clone, Copy, Default, PartialOrd, Ord)]
pub struct Port {
    bytes: [u8; 2],
}

impl Port {
    /// The port that is written `port` by people.
    #[must_use]
    #[inline(always)]
    pub const fn from_host(port: u16) -> Self {
        Self { bytes: port.to_be_bytes() }
    }

    /// The number that people write.
    #[must_use]
    #[inline(always)]
    pub const fn to_host(self) -> u16 {
        u16::from_be_bytes(self.bytes)
    }

    /// The port whose bytes on the wire are `bytes`.
    #[must_use]
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self { bytes }
    }

    /// The bytes on the wire.
    #[must_use]
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 2] {
        self.bytes
    }

    /// The bytes as an integer in memory order: for checksums and hashes, not for arithmetic.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u16 {
        u16::from_ne_bytes(self.bytes)
    }
}

impl PartialEq for Port {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}
impl Eq for Port {}

impl Hash for Port {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl core::fmt::Debug for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.to_host().fmt(f)
    }
}

/// IP protocol numbers (IANA) that the datapath knows.
pub mod protocol {
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// SCTP.
    pub const SCTP: u8 = 132;

    /// The name that Kubernetes gives to `protocol`, if it has one.
    #[must_use]
    pub const fn name(protocol: u8) -> Option<&'static str> {
        match protocol {
            TCP => Some("TCP"),
            UDP => Some("UDP"),
            SCTP => Some("SCTP"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_keeps_network_order() {
        assert_eq!(Port::from_host(80).bytes(), [0, 80]);
        assert_eq!(Port::from_bytes([0x1f, 0x90]).to_host(), 8080);
    }

    #[test]
    fn an_address_survives_the_way_through_the_standard_library() {
        let ip: IpAddr = "fd00::1:2".parse().unwrap();
        assert_eq!(Addr6::from_ip(ip).map(Address::to_ip), Some(ip));
        assert_eq!(Addr4::from_ip(ip), None);
    }

    #[test]
    fn addresses_that_differ_in_one_byte_differ() {
        let a = Addr6::from_octets([7; 16]);
        for i in 0..16 {
            let mut octets = [7; 16];
            octets[i] = 8;
            assert_ne!(a, Addr6::from_octets(octets), "byte {i}");
        }
    }
}
