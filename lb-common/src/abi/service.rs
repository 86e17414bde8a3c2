//! `SERVICES` and `SLOTS`: how a service is balanced.
//!
//! A list of a service is a range of slots. The agent writes a new list into free slots and then
//! swaps the one `u64` that names the range, so that a reader sees the old list or the new one,
//! never a mix (I4).

use super::assert_layout;

/// A range of `SLOTS`, packed so that one store publishes it: offset in the lower half, count in
/// the upper half, both in slots.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRange(pub u64);

impl SlotRange {
    /// No slots.
    pub const EMPTY: Self = Self(0);

    /// `count` slots from `offset` on.
    #[must_use]
    pub const fn new(offset: u32, count: u32) -> Self {
        Self((count as u64) << 32 | offset as u64)
    }

    /// The first slot.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// How many slots.
    #[must_use]
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Value of `SERVICES`: one port of a Kubernetes Service in one address family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The list for traffic policy `Cluster`.
    pub cluster: SlotRange,
    /// The list for traffic policy `Local`.
    pub local: SlotRange,
    /// Bits of [`flags`].
    pub flags: u32,
    /// How long a client sticks to its backend, in seconds; 0 = no affinity.
    pub affinity_s: u32,
}

/// Bits of [`Service::flags`].
pub mod flags {
    /// The entry describes a service; without it the entry is free.
    pub const IN_USE: u32 = 1 << 0;
    /// Some endpoint could be used, on whatever node: an empty list drops instead of rejecting
    /// (kube-proxy-behaviour §3.4).
    pub const USABLE: u32 = 1 << 1;
}

/// Value of `SLOTS`: a backend id of the service's family; 0 where nothing was ever written.
pub type Slot = u32;

assert_layout!(Service, 24, SlotRange, SlotRange, u32, u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_back_what_it_was_made_of() {
        let range = SlotRange::new(u32::MAX, 7);
        assert_eq!((range.offset(), range.count()), (u32::MAX, 7));
        assert_eq!(SlotRange::EMPTY.count(), 0);
    }
}
