//! `AFFINITY_*`: which backend a client was given last (kube-proxy-behaviour §4.8).

use super::assert_layout;
use crate::clock::Ticks;
use crate::net::{Addr4, Addr6};

/// Key: a client of a service. All frontends of the service share its entries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey<A> {
    /// The client's address, before any masquerade.
    pub client: A,
    /// The service.
    pub service: u32,
}

/// Value: the backend, and when a new flow was last sent to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Backend id of the service's family.
    pub backend: u32,
    /// The backend's generation at that time.
    pub generation: u32,
    /// When the last new flow was sent to it.
    pub used: Ticks,
}

assert_layout!(AffinityKey<Addr4>, 8, Addr4, u32);
assert_layout!(AffinityKey<Addr6>, 20, Addr6, u32);
assert_layout!(Affinity, 12, u32, u32, Ticks);
