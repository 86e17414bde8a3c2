//! Keys of the longest-prefix tries: `CLIENTS_*` and `SOURCE_RANGES_*`.
//!
//! The kernel reads the length first and compares so many bits of what follows.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Address, Family};

/// Key of `CLIENTS_*`: a prefix of client addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPrefix<A> {
    /// Bits of `addr` that count.
    pub length: u32,
    /// The prefix, the rest zero.
    pub addr: A,
}

/// Value of `CLIENTS_*`: what the addresses of a prefix are, as bits. Those of no prefix are
/// outside.
pub mod client {
    /// Pods.
    pub const POD: u32 = 1 << 0;
    /// This node itself.
    pub const NODE: u32 = 1 << 1;
    /// Nobody can tell pods from others in this family: no detector (kube-proxy-behaviour §4.3).
    /// The prefix of length 0 has it then, and so have the node's own addresses.
    pub const UNTOLD: u32 = 1 << 2;
}

/// What a source range is about, behind the length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranged<A> {
    /// The service.
    pub service: u32,
    /// The prefix, the rest zero.
    pub addr: A,
}

/// Key of `SOURCE_RANGES_*`: a prefix of addresses that may use a service. The value is 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRange<A> {
    /// 32 for the service, and the bits of the address that count.
    pub length: u32,
    /// The service and the prefix.
    pub range: Ranged<A>,
}

/// Bits of an address of `family`.
#[must_use]
pub const fn bits(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

impl<A: Address> ClientPrefix<A> {
    /// The key that finds the longest prefix with `addr` in it.
    #[must_use]
    #[inline(always)]
    pub fn of(addr: A) -> Self {
        Self { length: bits(A::FAMILY), addr }
    }
}

impl<A: Address> SourceRange<A> {
    /// The key that finds the longest range of `service` with `addr` in it.
    #[must_use]
    #[inline(always)]
    pub fn of(service: u32, addr: A) -> Self {
        Self { length: 32 + bits(A::FAMILY), range: Ranged { service, addr } }
    }
}

assert_layout!(ClientPrefix<Addr4>, 8, u32, Addr4);
assert_layout!(ClientPrefix<Addr6>, 20, u32, Addr6);
assert_layout!(Ranged<Addr4>, 8, u32, Addr4);
assert_layout!(Ranged<Addr6>, 20, u32, Addr6);
assert_layout!(SourceRange<Addr4>, 12, u32, Ranged<Addr4>);
assert_layout!(SourceRange<Addr6>, 24, u32, Ranged<Addr6>);
