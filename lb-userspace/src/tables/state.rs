//! What one entry of a map is known to hold.
//!
//! The one place where bookkeeping meets a write. A write that failed may have happened all the
//! same, so an entry is *unknown* from before its write until the write has succeeded: whatever is
//! asked of it next is then written again.

use crate::maps::{MapError, Maps, Write};

/// An entry, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State<T> {
    /// It is not there.
    #[default]
    Absent,
    /// A write of it has failed: it may be there or not, old or new.
    Unknown,
    /// It holds this.
    Is(T),
}

impl<T: PartialEq> State<T> {
    /// Makes the entry hold `value` through `write`, unless it does already.
    pub(super) fn put<M: Maps>(
        &mut self,
        maps: &mut M,
        value: T,
        write: impl FnOnce() -> Write,
    ) -> Result<(), MapError> {
        if self.is(&value) {
            return Ok(());
        }
        *self = Self::Unknown;
        maps.apply(&write())?;
        *self = Self::Is(value);
        Ok(())
    }

    /// Makes the entry absent through `write`, unless it is already.
    pub(super) fn clear<M: Maps>(&mut self, maps: &mut M, write: &Write) -> Result<(), MapError> {
        if matches!(self, Self::Absent) {
            return Ok(());
        }
        *self = Self::Unknown;
        maps.apply(write)?;
        *self = Self::Absent;
        Ok(())
    }

    /// Takes in what the entry was found to hold; tells whether that is not what was known. It is
    /// unknown then.
    pub(super) fn confront(&mut self, found: Option<&T>) -> bool {
        let differs = match self {
            Self::Absent => found.is_some(),
            Self::Unknown => false,
            Self::Is(held) => found != Some(held),
        };
        if differs {
            *self = Self::Unknown;
        }
        differs
    }

    /// Whether the entry is known to hold `value`.
    pub(super) fn is(&self, value: &T) -> bool {
        matches!(self, Self::Is(held) if held == value)
    }

    /// Whether it is known what the entry holds.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Self::Is(_))
    }
}
