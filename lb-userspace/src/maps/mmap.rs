//! Array maps in our own memory: a store takes nanoseconds instead of a system call.
//!
//! The kernel lays the elements of a `BPF_F_MMAPABLE` array out one behind the other, each rounded
//! up to 8 bytes, so every element is a run of 64-bit words. Both sides only ever see whole words:
//! each is stored with release ordering, so whoever sees one sees everything stored before it.
#![expect(unsafe_code, reason = "memory shared with the kernel is reached through raw pointers")]

use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Pod;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The most words an element may have.
const MAX_WORDS: usize = 4;

/// A mapped array of `T`.
#[derive(Debug)]
pub(super) struct MappedArray<T> {
    words: NonNull<[AtomicU64]>,
    capacity: u32,
    element: PhantomData<T>,
}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = {
        let words = size_of::<T>().div_ceil(size_of::<u64>());
        assert!(words <= MAX_WORDS);
        words
    };

    /// Maps `map`, which must be an array with `BPF_F_MMAPABLE` whose values have the size of `T`.
    /// The mapping outlives the file descriptor.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        if info.value_size() as usize != size_of::<T>() {
            let message =
                format!("values have {} bytes, not {}", info.value_size(), size_of::<T>());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let count = Self::WORDS * info.max_entries() as usize;
        let length = NonZeroUsize::new(count * size_of::<u64>())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no entries"))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no other memory.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map.fd(), 0) }?;
        let words = NonNull::slice_from_raw_parts(start.cast(), count);
        Ok(Self { words, capacity: info.max_entries(), element: PhantomData })
    }

    /// How many elements there are.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The element at `index`, if there is one: each word as it was at some moment of the call.
    pub(super) fn load(&self, index: u32) -> Option<T> {
        let mut buffer = [0u64; MAX_WORDS];
        for (copy, word) in buffer.iter_mut().zip(self.element(index)?) {
            *copy = word.load(Ordering::Acquire);
        }
        // SAFETY: `WORDS` guarantees that the buffer is no smaller than `T`, and `Pod` that every
        // bit pattern is a valid `T`.
        Some(unsafe { ptr::read_unaligned(buffer.as_ptr().cast()) })
    }

    /// Stores `value` at `index`, the word numbered `last` after all others. `None` if there is no
    /// such element.
    pub(super) fn store(&self, index: u32, value: &T, last: usize) -> Option<()> {
        let words = self.element(index)?;
        let buffer = Self::words_of(value);
        for at in (0..words.len()).filter(|at| *at != last).chain([last]) {
            words.get(at)?.store(buffer[at], Ordering::Release);
        }
        Some(())
    }

    /// Stores only the word numbered `word` of `value` at `index`.
    pub(super) fn store_word(&self, index: u32, value: &T, word: usize) -> Option<()> {
        self.element(index)?.get(word)?.store(Self::words_of(value)[word], Ordering::Release);
        Some(())
    }

    /// Adds each word of `more` to that of the element at `index`, whoever else adds meanwhile. `None`
    /// if there is no such element.
    pub(super) fn add(&self, index: u32, more: &T) -> Option<()> {
        for (word, more) in self.element(index)?.iter().zip(Self::words_of(more)) {
            word.fetch_add(more, Ordering::Relaxed);
        }
        Some(())
    }

    fn words_of(value: &T) -> [u64; MAX_WORDS] {
        let mut buffer = [0u64; MAX_WORDS];
        // SAFETY: `WORDS` guarantees that the buffer is no smaller than `T`, which is plain bytes.
        unsafe { ptr::write_unaligned(buffer.as_mut_ptr().cast(), *value) };
        buffer
    }

    fn element(&self, index: u32) -> Option<&[AtomicU64]> {
        let start = index as usize * Self::WORDS;
        // SAFETY: the mapping is as long as the slice, page aligned, and lives until `drop`; both
        // sides change it by atomic operations on whole words only.
        let words = unsafe { self.words.as_ref() };
        words.get(start..start + Self::WORDS)
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        let length = self.words.len() * size_of::<u64>();
        // SAFETY: this is the mapping made in `new`, and references to it end with `self`.
        let unmapped = unsafe { munmap(self.words.cast(), length) };
        debug_assert!(unmapped.is_ok(), "unmap a map: {unmapped:?}");
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and `new` is the only maker of it.
unsafe impl<T: Send> Send for MappedArray<T> {}
// SAFETY: shared access is by atomic operations only.
unsafe impl<T: Sync> Sync for MappedArray<T> {}
