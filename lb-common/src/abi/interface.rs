//! `INTERFACES`: what is known of the node's devices, by ifindex.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Address};

/// Value of `INTERFACES`. Entry [`NODE`] stands for every interface without an entry of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Bits of [`flags`].
    pub flags: u32,
    /// The source that masqueraded packets get which leave here; all zero = none of this family.
    pub v4: Addr4,
    /// The same for IPv6.
    pub v6: Addr6,
}

impl Interface {
    /// The source that masqueraded packets of family `A` get which leave here, if there is one.
    #[must_use]
    #[inline(always)]
    pub fn source<A: Address>(&self) -> Option<A> {
        let source = A::of_family(self.v4, self.v6);
        let words = source.words();
        (words[0] | words[1] | words[2] | words[3] != 0).then_some(source)
    }
}

/// The ifindex that no interface has: its entry holds the node's own addresses.
pub const NODE: u32 = 0;

/// Bits of [`Interface::flags`].
pub mod flags {
    /// Pods of this node are behind it: whoever sends through it is a pod.
    pub const WORKLOAD: u32 = 1 << 0;
}

assert_layout!(Interface, 24, u32, Addr4, Addr6);
