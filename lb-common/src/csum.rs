//! Internet checksum arithmetic (RFC 1071), incremental (RFC 1624).
//!
//! A *difference* is what the kernel's checksum helpers take: the one's complement sum of what
//! goes (complemented) and what comes, folded to 32 bits, in memory order.

/// The difference that replacing the words `old` by `new` makes.
#[must_use]
#[inline(always)]
pub fn difference<const N: usize>(old: [u32; N], new: [u32; N]) -> u32 {
    let mut sum = 0u64;
    let mut i = 0;
    while i < N {
        sum += u64::from(!old[i]);
        sum += u64::from(new[i]);
        i += 1;
    }
    fold32(sum)
}

/// The difference that `a` and `b` make together.
#[must_use]
#[inline(always)]
pub fn join(a: u32, b: u32) -> u32 {
    fold32(u64::from(a) + u64::from(b))
}

/// The one's complement sum of `words`: the difference that writing them over zeros makes.
#[must_use]
#[inline(always)]
pub fn total<const N: usize>(words: [u32; N]) -> u32 {
    let mut sum = 0u64;
    let mut i = 0;
    while i < N {
        sum += u64::from(words[i]);
        i += 1;
    }
    fold32(sum)
}

/// `checksum` (memory order) after the difference `diff` was made to the bytes it covers.
#[must_use]
#[inline(always)]
pub fn apply(checksum: u16, diff: u32) -> u16 {
    !fold16(u64::from(!checksum) + u64::from(diff))
}

/// The one's complement sum of `bytes`, not yet complemented, added to `sum`.
///
/// An odd last byte counts as if a zero byte followed it.
#[must_use]
pub fn sum(bytes: &[u8], sum: u64) -> u64 {
    let mut sum = sum;
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(u16::from_ne_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// The checksum (memory order) of bytes whose one's complement sum is `sum`.
#[must_use]
pub fn finish(sum: u64) -> u16 {
    !fold16(sum)
}

/// `sum` folded to 32 bits with end-around carry.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the upper half was just folded in")]
fn fold32(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    (sum + (sum >> 32)) as u32
}

/// `sum` folded to 16 bits with end-around carry.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the upper bits were just folded in")]
fn fold16(sum: u64) -> u16 {
    let sum = u64::from(fold32(sum));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_incremental_change_equals_a_full_recomputation(
            old: [u32; 4], new: [u32; 4], rest in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let bytes = |words: [u32; 4]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>();
            let before = finish(sum(&rest, sum(&bytes(old), 0)));
            let after = finish(sum(&rest, sum(&bytes(new), 0)));
            let changed = apply(before, difference(old, new));
            // Zero has two representations in one's complement; which one comes out differs.
            prop_assert!(changed == after || changed ^ after == 0xffff && (changed == 0 || after == 0));
        }
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_holds() {
        let old = u32::from(u16::from_be_bytes([0x55, 0x55]).to_be());
        let new = u32::from(u16::from_be_bytes([0x32, 0x85]).to_be());
        assert_eq!(apply(0xdd2f_u16.to_be(), difference([old], [new])), 0x0000_u16.to_be());
    }
}
