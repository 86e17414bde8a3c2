//! The hash behind what must be the same on every node and in every version.

/// A 64-bit finalizer (the constants are those of `MurmurHash3`'s): cheap without a 128-bit product,
/// which BPF has not, and every input bit changes half of the output.
#[must_use]
#[inline(always)]
pub fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}
