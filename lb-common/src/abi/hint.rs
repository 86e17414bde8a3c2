//! `HINTS`: which addresses and ports flows have had, as a row of bytes.
//!
//! Each address and port that was dialled through a frontend, or that a backend was given at, has its
//! byte here, which others may share. It is set before the first entry of such a flow is made, by
//! programs only, and never taken back. So a packet neither end of which is hinted at has no entry in
//! `FLOWS_*`, and two bytes tell: that is cheaper than any lookup of a key, however large the tables
//! are. One that is hinted at is looked up.

use crate::net::{Address, Family, Port};

/// How many bytes there are: one for each value of a [`place`].
pub const PLACES: usize = 1 << 16;

/// All of them, the map's only value. Zero means: not a flow has had it.
pub type Hints = [u8; PLACES];

/// Which byte speaks of this address and port. A hash: the upper bits of a product depend on all lower
/// ones (the constant is 2^64 over the golden ratio).
#[must_use]
#[inline(always)]
pub fn place<A: Address>(addr: A, port: Port, protocol: u8) -> u16 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let [first, second, third, last] = addr.words();
    let mut hash = u64::from(first) << 32;
    if A::FAMILY == Family::V6 {
        hash = (hash | u64::from(second)).wrapping_mul(GOLDEN);
        hash = (hash >> 32 ^ hash ^ u64::from(third) << 32 ^ u64::from(last)).wrapping_mul(GOLDEN);
        hash ^= hash >> 32;
    }
    hash ^= u64::from(port.word()) << 8 | u64::from(protocol);
    (hash.wrapping_mul(GOLDEN) >> 48) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::net::{Addr4, Addr6, protocol};

    /// How many places 1,000 neighbours have; at random it would be about 992.
    #[track_caller]
    fn spreads<A: Address>(neighbour: impl Fn(u16) -> (A, Port)) {
        let places: BTreeSet<_> = (0..1000)
            .map(|number| {
                let (addr, port) = neighbour(number);
                place(addr, port, protocol::TCP)
            })
            .collect();
        assert!(places.len() > 950, "{}", places.len());
    }

    #[test]
    fn neighbours_have_places_of_their_own() {
        let port = Port::from_host(80);
        spreads(|number| {
            let [high, low] = number.to_be_bytes();
            (Addr4::from_octets([10, 96, high, low]), port)
        });
        spreads(|number| (Addr4::from_octets([10, 96, 0, 1]), Port::from_host(30_000 + number)));
        spreads(|number| {
            let last = u32::from(number).to_be();
            (Addr6::from_words([0xfd00_u32.to_be() << 16, 0, 0, last]), port)
        });
        spreads(|number| {
            let second = u32::from(number).to_be();
            (Addr6::from_words([0xfd00_u32.to_be() << 16, second, 0, 0]), port)
        });
    }

    #[test]
    fn protocols_have_places_of_their_own() {
        let of = |protocol| place(Addr4::from_octets([10, 0, 0, 1]), Port::from_host(53), protocol);
        assert_ne!(of(protocol::TCP), of(protocol::UDP));
    }
}
