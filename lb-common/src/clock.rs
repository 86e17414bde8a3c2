//! Time as the datapath counts it.

/// Monotonic time in units of 2^30 ns, about 1.07 s.
///
/// A shift makes it from the kernel's coarse monotonic clock, where a division into seconds would
/// cost more than a map lookup. It wraps after 146 years.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u32);

impl Ticks {
    /// The tick that `ns`, nanoseconds of `CLOCK_MONOTONIC`, falls into.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "wraps after 146 years")]
    pub const fn from_ns(ns: u64) -> Self {
        Self((ns >> 30) as u32)
    }

    /// The number of ticks in `seconds`, rounded up.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a tick is longer than a second")]
    pub const fn in_seconds(seconds: u32) -> u32 {
        (seconds as u64 * 1_000_000_000).div_ceil(1 << 30) as u32
    }

    /// How many ticks ago `earlier` was.
    #[must_use]
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whole seconds in `ticks`.
    #[must_use]
    pub const fn to_seconds(ticks: u32) -> u64 {
        ((ticks as u64) << 30) / 1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_shorter_than_its_seconds() {
        for seconds in [1, 30, 180, 86_400] {
            assert!(Ticks::to_seconds(Ticks::in_seconds(seconds)) >= u64::from(seconds));
        }
    }
}
