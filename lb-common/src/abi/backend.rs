//! `BACKENDS_*`: who serves.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Port};

/// Value, by backend id: one endpoint of one service.
///
/// Ids start at 1. An entry is written before any slot names it and stays until no slot does; an
/// id that is used again gets the next generation, so that a flow can tell its backend is gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend<A> {
    /// Where it listens.
    pub addr: A,
    /// In network order.
    pub port: Port,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Counts the endpoints that have had this id.
    pub generation: u32,
    /// The service it belongs to.
    pub service: u32,
}

impl<A> Backend<A> {
    /// Whether this is still the endpoint of `generation`, and it answers.
    #[inline(always)]
    #[must_use]
    pub const fn serves(&self, generation: u32) -> bool {
        self.generation == generation && self.flags & flags::SERVING != 0
    }

    /// Whether this is still the endpoint of `generation`, serving or not.
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self, generation: u32) -> bool {
        self.generation == generation && self.flags & flags::IN_USE != 0
    }
}

/// Bits of [`Backend::flags`].
pub mod flags {
    /// The entry describes an endpoint; without it the id is free.
    pub const IN_USE: u16 = 1 << 0;
    /// The endpoint answers (it may be terminating): UDP flows to it are kept.
    pub const SERVING: u16 = 1 << 1;
    /// The endpoint is on this node.
    pub const LOCAL: u16 = 1 << 2;
    /// The endpoint is in its service's cluster list.
    pub const IN_CLUSTER_LIST: u16 = 1 << 3;
    /// The endpoint is in its service's local list.
    pub const IN_LOCAL_LIST: u16 = 1 << 4;
}

assert_layout!(Backend<Addr4>, 16, Addr4, Port, u16, u32, u32);
assert_layout!(Backend<Addr6>, 28, Addr6, Port, u16, u32, u32);
