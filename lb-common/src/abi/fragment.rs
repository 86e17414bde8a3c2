//! `FRAGMENTS_*`: the ports of fragmented packets, which stand in the first fragment only.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Port};

/// Key: what all fragments of a packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentKey<A> {
    /// Source address, as the fragment has it where it is seen.
    pub src: A,
    /// Destination address, likewise.
    pub dst: A,
    /// The packet's number, IPv6's 32 or IPv4's 16 bits, in memory order.
    pub id: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero: the kernel hashes every byte.
    pub pad: [u8; 3],
}

/// Value: the ports in the first fragment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Source port, network order.
    pub src: Port,
    /// Destination port, network order.
    pub dst: Port,
}

assert_layout!(FragmentKey<Addr4>, 16, Addr4, Addr4, u32, u8, [u8; 3]);
assert_layout!(FragmentKey<Addr6>, 40, Addr6, Addr6, u32, u8, [u8; 3]);
assert_layout!(FragmentPorts, 4, Port, Port);
