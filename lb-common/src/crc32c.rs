//! SCTP's checksum (RFC 9260 appendix A): `CRC32c`, changed without a look at the data.
//!
//! A CRC is linear: what a change of some bytes does to it is the CRC of the change alone, as far
//! back as bytes follow. Polynomials over two elements are kept with the coefficient of x^0 in the
//! highest bit, as `CRC32c` has them.

/// The polynomial of Castagnoli, without its x^32.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// How many bits a length may have.
const BITS: usize = 17;

/// What becomes of a polynomial that 2^bit bytes follow: times x^(8 * 2^bit), by its eight hexadecimal
/// digits, the lowest first. (Shifts and masks would need no table, but cost the verifier a hundred
/// times as much: it looks at each masked bit both ways.)
static FOLLOWED: [[[u32; 16]; 8]; BITS] = followed();

/// What changes in the `CRC32c` of a message of `length` bytes (below 128 KiB) when `change` is added
/// to its first four bytes, both as integers in little-endian order, as SCTP writes its checksum.
#[must_use]
#[inline(always)]
pub fn difference(change: u32, length: u32) -> u32 {
    let mut difference = change;
    let mut bit = 0;
    while bit < BITS {
        if length >> bit & 1 == 1 {
            difference = product(&FOLLOWED[bit], difference);
        }
        bit += 1;
    }
    difference
}

/// `polynomial` times the factor that `table` is made for.
#[inline(always)]
fn product(table: &[[u32; 16]; 8], polynomial: u32) -> u32 {
    let mut product = 0;
    let mut digit = 0;
    while digit < 8 {
        product ^= table[digit][(polynomial >> (4 * digit) & 0xf) as usize];
        digit += 1;
    }
    product
}

#[expect(clippy::cast_possible_truncation, reason = "the value of one digit")]
const fn followed() -> [[[u32; 16]; 8]; BITS] {
    let mut tables = [[[0; 16]; 8]; BITS];
    let mut factor = ONE >> 8;
    let mut entry = 0;
    while entry < BITS * 8 * 16 {
        let (bit, digit, value) = (entry / 128, entry / 16 % 8, entry % 16);
        tables[bit][digit][value] = multiply((value as u32) << (4 * digit), factor);
        entry += 1;
        if entry % 128 == 0 {
            factor = multiply(factor, factor);
        }
    }
    tables
}

/// The product of two polynomials.
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while a != 0 {
        if a & ONE != 0 {
            product ^= b;
        }
        a <<= 1;
        b = if b & 1 == 1 { b >> 1 ^ POLYNOMIAL } else { b >> 1 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The CRC bit by bit, over the whole message.
    fn crc32c(message: &[u8]) -> u32 {
        !message.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
            })
        })
    }

    #[track_caller]
    fn check(message: &[u8], start: u32) {
        let old = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
        let mut changed = message.to_vec();
        changed[..4].copy_from_slice(&start.to_le_bytes());
        let length = u32::try_from(message.len()).unwrap();
        assert_eq!(crc32c(&changed), crc32c(message) ^ difference(old ^ start, length), "{length}");
    }

    #[test]
    fn the_reference_gives_the_check_value_of_the_catalogue() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn a_changed_start_changes_the_sum_as_a_full_recomputation_does(
            message in proptest::collection::vec(any::<u8>(), 4..3000), start: u32
        ) {
            check(&message, start);
        }
    }

    #[test]
    fn every_bit_of_the_length_counts() {
        // Miri takes minutes for the reference over the long ones, which lead to the same instructions.
        let longest = if cfg!(miri) { 4096 } else { 131_071 };
        let lengths = [4, 15, 16, 255, 256, 4095, 4096, 65_535, 65_536, 131_071];
        for length in lengths.into_iter().filter(|length| *length <= longest) {
            check(&vec![0xa5; length], 0x1234_5678);
        }
    }
}
