//! `FRONTENDS_*`: what clients dial.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Port};

/// Key: the address, port and protocol of a frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey<A> {
    /// What is dialled.
    pub addr: A,
    /// In network order.
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero: the kernel hashes every byte.
    pub pad: u8,
}

impl<A> FrontendKey<A> {
    /// The key of `addr`:`port`/`protocol`.
    #[must_use]
    #[inline(always)]
    pub const fn new(addr: A, port: Port, protocol: u8) -> Self {
        Self { addr, port, protocol, pad: 0 }
    }
}

/// Value: the service behind a frontend, and how this frontend uses it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// Index into `SERVICES`; never 0.
    pub service: u32,
    /// Bits of [`flags`].
    pub flags: u32,
}

/// Bits of [`Frontend::flags`].
pub mod flags {
    /// Balanced over the service's local list (a traffic policy `Local`), not its cluster list.
    pub const LOCAL: u32 = 1 << 0;
    /// A NodePort, LoadBalancer or external address: the external traffic policy applied.
    pub const EXTERNAL: u32 = 1 << 1;
    /// Only clients in the service's source ranges may use it (`SOURCE_RANGES_*`).
    pub const SOURCE_RANGES: u32 = 1 << 2;
    /// Its address exists for services alone: other ports of it are rejected (`ADDRESSES_*`).
    pub const CLOSED: u32 = 1 << 3;
    /// A NodePort: processes of the node reach it at a loopback address as well.
    pub const NODE_PORT: u32 = 1 << 4;
}

assert_layout!(FrontendKey<Addr4>, 8, Addr4, Port, u8, u8);
assert_layout!(FrontendKey<Addr6>, 20, Addr6, Port, u8, u8);
assert_layout!(Frontend, 8, u32, u32);
