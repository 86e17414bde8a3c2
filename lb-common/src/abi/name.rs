//! `SERVICE_NAMES`: whose number is this?
//!
//! For people, for bpftool, and for the agent, which keeps ids over a restart by reading it back (I5).

use super::assert_layout;
use crate::net::Family;

/// The longest name: three DNS labels, a protocol and what separates them.
pub const NAME_LEN: usize = 198;

/// Value, by service id: `namespace/name:port/protocol` and the family.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// 4 or 6.
    pub family: u8,
    /// How many bytes of `name` are used.
    pub length: u8,
    /// UTF-8, the rest zero.
    pub name: [u8; NAME_LEN],
}

impl ServiceName {
    /// `name` in `family`; `None` if it is longer than [`NAME_LEN`] bytes.
    #[must_use]
    pub fn new(name: &str, family: Family) -> Option<Self> {
        let mut bytes = [0; NAME_LEN];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        let family = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        Some(Self { family, length: u8::try_from(name.len()).ok()?, name: bytes })
    }

    /// The name and the family; `None` if these bytes were not written by [`Self::new`].
    #[must_use]
    pub fn parse(&self) -> Option<(&str, Family)> {
        let family = match self.family {
            4 => Family::V4,
            6 => Family::V6,
            _ => return None,
        };
        let name = self.name.get(..usize::from(self.length))?;
        Some((core::str::from_utf8(name).ok()?, family))
    }
}

assert_layout!(ServiceName, 200, u8, u8, [u8; NAME_LEN]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_map() {
        let name = "default/web:http/TCP";
        assert_eq!(ServiceName::new(name, Family::V6).unwrap().parse(), Some((name, Family::V6)));
    }

    #[test]
    fn the_longest_legal_name_fits_and_a_longer_one_is_refused() {
        let label = "x".repeat(63);
        assert!(ServiceName::new(&format!("{label}/{label}:{label}/SCTP"), Family::V4).is_some());
        assert!(ServiceName::new(&"x".repeat(NAME_LEN + 1), Family::V4).is_none());
    }
}
