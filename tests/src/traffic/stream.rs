//! Bytes for bulk transfers, of any length, made and compared at the speed of memory.
//!
//! Checksums of a virtual link are never computed, so the receiver must look at every byte.

use std::sync::OnceLock;

use super::pattern;

/// After so many bytes the stream repeats itself. A prime, so that no segment, page or buffer that is
/// lost, doubled or swapped is made up for by the repetition.
const PERIOD: u32 = 1_048_573;

/// The most that [`bytes_at`] returns.
const CHUNK: usize = 256 << 10;

/// The bytes of the stream from `offset` on: some of them, but no more than `most`.
pub(super) fn bytes_at(offset: u64, most: u64) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let once = pattern(PERIOD);
        [&once[..], &once[..CHUNK]].concat()
    });
    let start = usize::try_from(offset % u64::from(PERIOD)).expect("less than the period");
    let length = usize::try_from(most).unwrap_or(CHUNK).min(CHUNK);
    &bytes[start..start + length]
}

/// Whether `bytes` are those of the stream from `offset` on.
pub(super) fn are_at(offset: u64, bytes: &[u8]) -> bool {
    let mut offset = offset;
    bytes.chunks(CHUNK).all(|chunk| {
        let wanted = bytes_at(offset, chunk.len() as u64);
        offset += chunk.len() as u64;
        chunk == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_knows_its_bytes_at_every_offset() {
        let whole: Vec<u8> =
            (0..12).flat_map(|n| bytes_at(n * CHUNK as u64, u64::MAX)).copied().collect();
        assert_eq!(whole.len(), 12 * CHUNK);
        assert!(are_at(0, &whole));
        assert!(are_at(1000, &whole[1000..]));
        assert!(are_at(u64::from(PERIOD) + 5, &whole[5..]));
    }

    #[test]
    fn a_stretch_that_is_lost_doubled_swapped_or_changed_shows() {
        let whole = bytes_at(0, 100_000);
        assert!(!are_at(0, &whole[1448..]), "lost");
        assert!(!are_at(0, &[&whole[..1448], whole].concat()), "doubled");
        let swapped = [&whole[1448..2896], &whole[..1448], &whole[2896..]].concat();
        assert!(!are_at(0, &swapped), "swapped");
        let mut changed = whole.to_vec();
        changed[70_000] ^= 1;
        assert!(!are_at(0, &changed), "changed");
    }
}
