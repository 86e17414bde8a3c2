//! What the benchmark tells its wrapper programs: the packet to restore, and how to walk flows.
//!
//! No part of the datapath: both sides of the benchmark share it, nobody else sees it.

use crate::abi::assert_layout;
use crate::net::{Addr4, Addr6, Port};

/// The fields of a packet that a rewrite changes, as they are before it, and the flows to walk.
///
/// Flow `i` is that of the client whose port is `i % 2^14` and whose address is `i / 2^14` above
/// those given here. Checksums are right for flow 0 and stay as they are for the others: no program
/// looks at them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Walk<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, network order.
    pub src_port: Port,
    /// Destination port, network order.
    pub dst_port: Port,
    /// The IPv4 header checksum, as it stands in memory.
    pub header_checksum: u16,
    /// The TCP checksum, as it stands in memory.
    pub tcp_checksum: u16,
    /// How many flows there are.
    pub flows: u32,
    /// How many flows further the next packet is; below `flows`.
    pub stride: u32,
    /// The flow of the next packet; the wrapper moves it on.
    pub next: u32,
    /// 1 if the client is the destination, else 0.
    pub to_client: u32,
}

/// How many bits of a flow's number go into the client's port.
pub const PORT_BITS: u32 = 14;

/// What the wrapper answers if it could not run the program.
pub const FAILED: i32 = 77;
/// What the reference program answers on a hit.
pub const HIT: i32 = 78;

assert_layout!(Walk<Addr4>, 32, Addr4, Addr4, Port, Port, u16, u16, u32, u32, u32, u32);
assert_layout!(Walk<Addr6>, 56, Addr6, Addr6, Port, Port, u16, u16, u32, u32, u32, u32);
