//! Maps as bytes: what a new generation of maps takes over from the old one.
//!
//! Knows no layout but one rule: fields are appended, and zero means what was so before. A value that
//! has become longer is filled up with zeros, one that has become shorter is cut; so it goes in both
//! directions, upgrade and downgrade.
#![expect(unsafe_code, reason = "the kernel reads and writes through addresses in the command")]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::ptr::{from_mut, from_ref};

use aya::maps::{MapData, MapType};
use nix::libc;

use super::batch::{BatchCommand, ElementCommand, LOOKUP_BATCH, bpf};

/// `BPF_MAP_UPDATE_ELEM`.
const UPDATE: libc::c_long = 2;
/// `BPF_MAP_UPDATE_BATCH`, since Linux 5.6.
const UPDATE_BATCH: libc::c_long = 26;
/// `BPF_NOEXIST`: only if there is none.
const IF_ABSENT: u64 = 1;

/// Entries read by one call, unless more of them share a hash.
const COUNT: usize = 4096;
/// The fewest bytes of a place in a map: that in a hash map is a bucket's number.
const PLACE: usize = 4;

/// A map of any type whose entries can be read many at a time: hash maps, arrays, tries.
#[derive(Debug)]
pub struct RawMap {
    fd: OwnedFd,
    id: u32,
    kind: MapType,
    key: usize,
    value: usize,
    capacity: u32,
}

/// Some entries of a map: keys and values, one behind the other.
#[derive(Debug, Default)]
struct Entries {
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl RawMap {
    /// The map that is pinned at `path`.
    pub fn from_pin(path: &Path) -> io::Result<Self> {
        let data = MapData::from_pin(path).map_err(io::Error::other)?;
        let info = data.info().map_err(io::Error::other)?;
        Ok(Self {
            fd: data.fd().as_fd().try_clone_to_owned()?,
            id: info.id(),
            kind: info.map_type().map_err(io::Error::other)?,
            key: info.key_size() as usize,
            value: info.value_size() as usize,
            capacity: info.max_entries(),
        })
    }

    /// The number that the kernel knows the map by.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// How many entries a map needs that is to hold the same: of an array, up to the last that is not
    /// zero.
    pub fn entries(&self) -> io::Result<u32> {
        let (mut read, mut needed) = (0, 0);
        self.for_each(|entries| {
            for value in entries.values.chunks(self.value) {
                read += 1;
                if self.kind != MapType::Array || value.iter().any(|byte| *byte != 0) {
                    needed = read;
                }
            }
            Ok(())
        })?;
        Ok(needed)
    }

    /// Makes the map hold those entries of `old` that are `wanted`, by their values; of an array those
    /// there is room for. Keys must be as long as its own.
    pub fn fill_from(&self, old: &Self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        old.for_each(|entries| {
            let mut chosen = Entries::default();
            for (key, value) in old.pairs(entries).filter(|(_, value)| wanted(value)) {
                if self.has_room(key) {
                    chosen.keys.extend(key);
                    chosen.values.extend(resized(value, self.value));
                }
            }
            self.put_all(&chosen)
        })
    }

    /// Adds those entries of `old` that are `wanted`, by their values, and that the map has not.
    pub fn add_from(&self, old: &Self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        old.for_each(|entries| {
            let mut wanted = old.pairs(entries).filter(|(_, value)| wanted(value));
            wanted.try_for_each(|(key, value)| {
                self.put_if_absent(key, &resized(value, self.value).collect::<Vec<_>>())
            })
        })
    }

    fn pairs<'a>(&self, entries: &'a Entries) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        entries.keys.chunks(self.key).zip(entries.values.chunks(self.value))
    }

    /// Of other maps the kernel itself says when they are full.
    fn has_room(&self, key: &[u8]) -> bool {
        let index = || key.try_into().map_or(u32::MAX, u32::from_ne_bytes);
        self.kind != MapType::Array || index() < self.capacity
    }

    fn for_each(&self, mut take: impl FnMut(&Entries) -> io::Result<()>) -> io::Result<()> {
        let (mut count, mut place) = (COUNT, None);
        loop {
            match self.read(place.as_deref(), count) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => count *= 2,
                Err(error) => return Err(error),
                Ok((entries, next)) => {
                    take(&entries)?;
                    if next.is_none() {
                        return Ok(());
                    }
                    place = next;
                }
            }
        }
    }

    /// At most `count` entries from `place` on, or from the beginning, and where to go on.
    fn read(&self, place: Option<&[u8]>, count: usize) -> io::Result<(Entries, Option<Vec<u8>>)> {
        let mut out = vec![0_u8; self.key.max(PLACE)];
        let mut entries =
            Entries { keys: vec![0; count * self.key], values: vec![0; count * self.value] };
        let mut command = BatchCommand {
            in_batch: place.map_or(0, |place| place.as_ptr() as u64),
            out_batch: out.as_mut_ptr() as u64,
            keys: entries.keys.as_mut_ptr() as u64,
            values: entries.values.as_mut_ptr() as u64,
            count: u32::try_from(count).map_err(io::Error::other)?,
            map_fd: self.number(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads a place and writes one, each at most as long as its buffer, at most
        // `count` keys and values of the sizes that it told itself, and `count`.
        let read =
            unsafe { bpf(LOOKUP_BATCH, from_mut(&mut command).cast(), size_of_val(&command)) };
        let next = match read {
            Ok(()) => Some(out),
            // These are the last.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        entries.keys.truncate(command.count as usize * self.key);
        entries.values.truncate(command.count as usize * self.value);
        Ok((entries, next))
    }

    fn put_all(&self, entries: &Entries) -> io::Result<()> {
        let count = entries.keys.len() / self.key;
        if count == 0 {
            return Ok(());
        }
        let mut command = BatchCommand {
            in_batch: 0,
            out_batch: 0,
            keys: entries.keys.as_ptr() as u64,
            values: entries.values.as_ptr() as u64,
            count: u32::try_from(count).map_err(io::Error::other)?,
            map_fd: self.number(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `count` keys and values of the map's sizes and writes `count`.
        unsafe { bpf(UPDATE_BATCH, from_mut(&mut command).cast(), size_of_val(&command)) }
    }

    fn put_if_absent(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match self.put(key, value, IF_ABSENT) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts an entry, by the flags of `BPF_MAP_UPDATE_ELEM`. Key and value must have the map's sizes.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        debug_assert_eq!((key.len(), value.len()), (self.key, self.value));
        let command = ElementCommand {
            map_fd: self.number(),
            pad: 0,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            flags,
        };
        // SAFETY: the kernel reads a key and a value, which have the map's sizes.
        unsafe { bpf(UPDATE, from_ref(&command).cast(), size_of_val(&command)) }
    }

    /// Every entry; of an array those that are not zero.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = std::collections::BTreeMap::new();
        let take = |entries: &Entries| {
            let pairs = self.pairs(entries).map(|(key, value)| (key.to_vec(), value.to_vec()));
            all.extend(pairs.filter(|(_, value)| value.iter().any(|byte| *byte != 0)));
            Ok(())
        };
        self.for_each(take).unwrap();
        all
    }

    fn number(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }
}

/// `value` as one of `size` bytes.
fn resized(value: &[u8], size: usize) -> impl Iterator<Item = u8> {
    value.iter().copied().chain(std::iter::repeat(0)).take(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &[u8], size: usize, expected: &[u8]) {
        assert_eq!(resized(value, size).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_longer_value_ends_with_zeros_and_a_shorter_one_is_cut() {
        check(&[1, 2], 3, &[1, 2, 0]);
        check(&[1, 2], 1, &[1]);
        check(&[1, 2], 2, &[1, 2]);
    }
}
