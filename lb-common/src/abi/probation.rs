//! `PROBATION_*`: the flows that go first, so that the LRU of `FLOWS_*` never has to choose.
//!
//! A ring of keys of request entries, each with a mark of the flow where keys have zeros. A flow takes the next place when it is new, and again when it is
//! closed; whoever had that place is forgotten, unless its client has confirmed it meanwhile. So a
//! flood of requests, or the short connections of a busy hour, push out each other, and never a
//! connection that is established, however idle it is.

/// The part of a flow table, one in so many, that may be on probation: the up to four entries of each
/// such flow fill at most half of the table, and established flows have the other half.
const SHARE: u32 = 8;

/// A ring of fewer places would not last for the time that an answer takes.
const LEAST: u32 = 64;

/// How many places go with a flow table of `flows` entries.
#[must_use]
pub const fn places(flows: u32) -> u32 {
    let places = flows / SHARE;
    if places < LEAST { LEAST } else { places }
}

/// Elements of `PROBATION_TURN`, which count the places given out.
pub mod turn {
    /// Of `PROBATION_V4`.
    pub const V4: u32 = 0;
    /// Of `PROBATION_V6`.
    pub const V6: u32 = 1;
    /// How many elements there are.
    pub const COUNT: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_on_probation_fill_at_most_half_of_their_table() {
        for flows in [512, 4096, 262_144, 1_000_000] {
            assert!(4 * places(flows) <= flows / 2, "{flows}");
        }
        assert_eq!(places(4), LEAST);
    }
}
