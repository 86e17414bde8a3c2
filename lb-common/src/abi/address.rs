//! `ADDRESSES_*` and `SVC_CIDRS_*`: what is at an address, whatever the port.
//!
//! Looked at before `FRONTENDS_*`, so that a packet that is no service's costs one lookup here, and
//! a packet to a service's address that no frontend is at does not wander through the network.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Address};

/// Value of `ADDRESSES_*`, by address: bits of [`flags`]. An address is in the map as long as some
/// frontend is at it.
pub type At = u32;

/// Bits of [`At`].
pub mod flags {
    /// Set in every entry.
    pub const SERVED: u32 = 1 << 0;
    /// The address exists for services alone (a ClusterIP or a LoadBalancer VIP that no node has):
    /// what is no frontend's is rejected.
    pub const CLOSED: u32 = 1 << 1;
}

/// Value of `SVC_CIDRS_*`: a prefix that ClusterIPs are allocated from. Used entries come first;
/// the first one whose mask is zero ends them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceCidr<A> {
    /// Ones where the address counts; never all zero in a used entry.
    pub mask: A,
    /// The prefix, the rest zero.
    pub addr: A,
}

impl<A: Address> ServiceCidr<A> {
    /// Whether the entry says anything.
    #[must_use]
    #[inline(always)]
    pub fn is_used(&self) -> bool {
        let mask = self.mask.words();
        mask[0] | mask[1] | mask[2] | mask[3] != 0
    }

    /// Whether `addr` is in the prefix.
    #[must_use]
    #[inline(always)]
    pub fn has(&self, addr: &A) -> bool {
        let (mask, prefix, addr) = (self.mask.words(), self.addr.words(), addr.words());
        addr[0] & mask[0] == prefix[0]
            && addr[1] & mask[1] == prefix[1]
            && addr[2] & mask[2] == prefix[2]
            && addr[3] & mask[3] == prefix[3]
    }
}

assert_layout!(ServiceCidr<Addr4>, 8, Addr4, Addr4);
assert_layout!(ServiceCidr<Addr6>, 32, Addr6, Addr6);
