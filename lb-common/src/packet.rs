//! What the datapath may ask of a packet.
//!
//! The kernel answers from an skb, tests from a byte vector
//! ([`native`](crate::native)). Offsets count from the first byte that the hook sees: the link
//! header on devices that have one, else the network header.

/// A packet that can be read and rewritten in place.
pub trait Packet {
    /// Proof that some bytes are there.
    type Header: Header;

    /// The packet's length in bytes, from the first byte the hook sees.
    fn len(&self) -> u32;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same offset, below 32, by a way that the verifier cannot follow: it then looks once at what
    /// comes behind, not once for each number of VLAN tags.
    fn blurred(&mut self, offset: u32) -> u32 {
        offset
    }

    /// Makes the bytes before `end` readable by [`header`](Self::header), as far as the packet has them
    /// and headers are that long. Those before the transport header are, but for extension headers.
    ///
    /// What [`header`](Self::header) returned before must not be read any more.
    fn reach(&self, _end: u32) {}

    /// The `LEN` bytes from `offset` on; `None` if the packet ends before.
    ///
    /// What it returns must not be read after any of the methods that change the packet.
    fn header<const LEN: usize>(&self, offset: u32) -> Option<Self::Header>;

    /// `N` words of four bytes from `offset` on, in memory order.
    fn load<const N: usize>(&self, offset: u32) -> Result<[u32; N], Refused>;

    /// Cuts the packet off, or makes it longer by zeros, so that it has `len` bytes.
    ///
    /// What [`header`](Self::header) returned before must not be read any more.
    fn resize(&mut self, len: u32) -> Result<(), Refused>;

    /// Overwrites `N` words of four bytes at `offset`, given in memory order; checksums stay.
    fn store<const N: usize>(&mut self, offset: u32, words: [u32; N]) -> Result<(), Refused>;

    /// Applies a difference ([`csum::difference`](crate::csum::difference)) to the IPv4 header
    /// checksum at `offset`.
    fn fix_header_checksum(&mut self, offset: u32, diff: u32) -> Result<(), Refused>;

    /// Applies a difference to the transport checksum at `offset`.
    fn fix_transport_checksum(
        &mut self,
        offset: u32,
        diff: u32,
        fix: TransportFix,
    ) -> Result<(), Refused>;
}

/// What a difference to a transport checksum is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFix {
    /// The changed bytes are addresses: they count through the pseudo header only, also where the
    /// rest of the sum is left to the device.
    pub covers: Covers,
    /// UDP over IPv4: a checksum of zero means none and stays so; a computed zero is written as
    /// `0xffff` (RFC 768).
    pub zero_is_none: bool,
}

/// Which bytes changed under a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// IPv4 addresses, whose own header checksum was fixed as well.
    PseudoHeaderV4,
    /// IPv6 addresses, which no other checksum covers.
    PseudoHeaderV6,
    /// Bytes of the transport header itself.
    Transport,
}

/// The kernel would not change the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Some bytes of a packet that are known to be there.
///
/// `AT` counts from the offset that was asked for and stays below the length that was asked for:
/// the kernel's verifier refuses a program that reads further, the native one panics.
pub trait Header: Copy {
    /// The byte at `AT`.
    fn u8<const AT: usize>(&self) -> u8;
    /// Two bytes at `AT`, in memory order.
    fn u16<const AT: usize>(&self) -> u16;
    /// Four bytes at `AT`, in memory order.
    fn u32<const AT: usize>(&self) -> u32;
}
