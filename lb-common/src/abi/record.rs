//! Records of ring buffers, as the agent finds them: bytes.

/// The record in `bytes`, which may lie anywhere; `None` if they are not as many as a `T` has, so of
/// another layout.
#[must_use]
pub fn read<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: as many bytes as a `T` has, and any pattern of them is one, since it is `Pod`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::bind::RefusedBind;

    #[test]
    fn a_record_is_read_from_any_place_if_it_has_the_right_length() {
        const LENGTH: usize = size_of::<RefusedBind>();
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        for at in 0..8 {
            let bind: RefusedBind = read(&bytes[at..at + LENGTH]).unwrap();
            assert_eq!(bind.pid, u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap()));
            assert_eq!(usize::from(bind.pad), at + LENGTH - 1);
        }
        assert_eq!(read::<RefusedBind>(&bytes[..LENGTH - 1]), None);
        assert_eq!(read::<RefusedBind>(&bytes[..=LENGTH]), None);
    }
}
