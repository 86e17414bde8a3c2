//! Commands of bpf(2) on hash maps that aya 0.14 does not offer: reading many entries by one call,
//! and taking one out so that nobody else can change it in between. And on an array whose value has a
//! size that only the kernel knows.
#![expect(unsafe_code, reason = "the kernel reads and writes through addresses in the command")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::ptr::{from_mut, from_ref};

use aya::Pod;
use aya::maps::{MapData, MapType};
use nix::libc;

/// `BPF_MAP_LOOKUP_ELEM`.
const LOOKUP: libc::c_long = 1;
/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`; of hash maps since Linux 5.14.
const LOOKUP_AND_DELETE: libc::c_long = 21;
/// `BPF_MAP_LOOKUP_BATCH`, since Linux 5.6.
pub(super) const LOOKUP_BATCH: libc::c_long = 24;

/// Entries read by one call, unless more of them share a hash.
const COUNT: usize = 512;

/// A hash map and a place in it. Both calls leave the age of entries as it is (LRU).
#[derive(Debug)]
pub(super) struct Batches<K, V> {
    fd: OwnedFd,
    keys: Vec<K>,
    values: Vec<V>,
    place: Place,
}

/// Where a walk is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Beginning,
    /// Before this bucket.
    Bucket(u32),
    End,
}

/// `union bpf_attr`, the member `batch`.
#[repr(C)]
pub(super) struct BatchCommand {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

/// `union bpf_attr`, the member of commands on one element.
#[repr(C)]
pub(super) struct ElementCommand {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

impl<K: Pod, V: Pod> Batches<K, V> {
    /// At the beginning of `map`, whose keys and values must have the sizes of `K` and `V`.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let found = [info.key_size() as usize, info.value_size() as usize];
        if found != [size_of::<K>(), size_of::<V>()] {
            let message = format!("keys and values of {found:?} bytes are not of this version");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let fd = map.fd().as_fd().try_clone_to_owned()?;
        let mut new = Self { fd, keys: Vec::new(), values: Vec::new(), place: Place::Beginning };
        new.resize(COUNT);
        Ok(new)
    }

    /// The next entries, none or more; `None` at the end, after which it begins again. What is
    /// inserted or removed meanwhile may be missed or met; nothing is met twice.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<(K, V)>>> {
        if matches!(self.place, Place::End) {
            self.place = Place::Beginning;
            return Ok(None);
        }
        let count = loop {
            match self.read() {
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    self.resize(2 * self.keys.len());
                }
                other => break other?,
            }
        };
        let entries = self.keys.iter().copied().zip(self.values.iter().copied());
        Ok(Some(entries.take(count as usize).collect()))
    }

    /// Removes the entry at `key` and returns what it was at that moment.
    pub(super) fn take(&self, key: &K) -> io::Result<Option<V>> {
        // SAFETY: `V` is plain bytes of which every pattern is valid.
        let mut value: V = unsafe { zeroed() };
        let command = ElementCommand {
            map_fd: self.map_fd(),
            pad: 0,
            key: from_ref(key) as u64,
            value: from_mut(&mut value) as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads a key and writes a value, whose sizes were checked in `new`.
        match unsafe { bpf(LOOKUP_AND_DELETE, from_ref(&command).cast(), size_of_val(&command)) } {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fills the buffers from the next bucket on; returns with how many entries.
    fn read(&mut self) -> io::Result<u32> {
        let (mut before, mut out) = (0_u32, 0_u32);
        if let Place::Bucket(bucket) = self.place {
            before = bucket;
        }
        let is_beginning = matches!(self.place, Place::Beginning);
        let mut command = BatchCommand {
            in_batch: if is_beginning { 0 } else { from_mut(&mut before) as u64 },
            out_batch: from_mut(&mut out) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map_fd: self.map_fd(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values, whose sizes were checked in
        // `new`, into buffers with room for as many, a bucket into `out`, and `count` itself.
        match unsafe { bpf(LOOKUP_BATCH, from_mut(&mut command).cast(), size_of_val(&command)) } {
            Ok(()) => self.place = Place::Bucket(out),
            // These are the last.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.place = Place::End,
            Err(error) => return Err(error),
        }
        Ok(command.count)
    }

    fn resize(&mut self, count: usize) {
        // SAFETY: keys are plain bytes of which every pattern is valid.
        self.keys.resize(count, unsafe { zeroed() });
        // SAFETY: so are values.
        self.values.resize(count, unsafe { zeroed() });
    }

    fn map_fd(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }
}

/// The bytes of the first element of an array, which must not be one with a value for each CPU.
pub(crate) fn first_value(map: &MapData) -> io::Result<Vec<u8>> {
    let info = map.info().map_err(io::Error::other)?;
    let is_array = matches!(info.map_type(), Ok(MapType::Array));
    if !is_array || info.key_size() as usize != size_of::<u32>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an array"));
    }
    let (key, mut value) = (0_u32, vec![0; info.value_size() as usize]);
    let command = ElementCommand {
        map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        pad: 0,
        key: from_ref(&key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads a key of four bytes and writes a value, for which there is room.
    unsafe { bpf(LOOKUP, from_ref(&command).cast(), size_of_val(&command)) }?;
    Ok(value)
}

/// # Safety
///
/// `command` is a `union bpf_attr` of `size` bytes for `number`, and what its addresses point to
/// may be read and written as that command does.
pub(super) unsafe fn bpf(
    number: libc::c_long,
    command: *const libc::c_void,
    size: usize,
) -> io::Result<()> {
    // SAFETY: as promised by the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, number, command, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
