//! Opening maps by their names, and what the kernel's refusals mean.

use std::io;

use aya::Pod;
use aya::maps::{IterableMap, Map, MapData};
use nix::libc;

use super::super::batch::Batches;
use super::super::mmap::MappedArray;
use crate::maps::MapError;

/// `BPF_NOEXIST`: only if there is none.
pub(super) const IF_ABSENT: u64 = 1;

/// Who finds a map by its name.
pub(crate) type Open<'a> = dyn FnMut(&'static str) -> Result<MapData, aya::maps::MapError> + 'a;

pub(in crate::maps) fn mapped<T: Pod>(
    open: &mut Open<'_>,
    name: &'static str,
) -> Result<MappedArray<T>, MapError> {
    let map = open(name).map_err(refused(name))?;
    MappedArray::new(&map).map_err(|source| MapError::Kernel { map: name, source })
}

pub(crate) fn typed<M>(open: &mut Open<'_>, name: &'static str) -> Result<M, MapError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    Ok(sized(open, name)?.0)
}

/// The map and its capacity.
pub(crate) fn sized<M>(open: &mut Open<'_>, name: &'static str) -> Result<(M, u32), MapError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    let data = open(name).map_err(refused(name))?;
    let capacity = data.info().map_err(refused(name))?.max_entries();
    let map = Map::from_map_data(data).and_then(M::try_from).map_err(refused(name))?;
    Ok((map, capacity))
}

/// Hands every entry of the hash map called `name` to `take`, hundreds by one system call. Of entries
/// that come or go meanwhile some may be missed; none is met twice.
pub(super) fn each<K: Pod, V: Pod>(
    map: &impl IterableMap<K, V>,
    name: &'static str,
    mut take: impl FnMut(K, V),
) -> Result<(), MapError> {
    let kernel = |source| MapError::Kernel { map: name, source };
    let mut batches = Batches::new(map.map()).map_err(kernel)?;
    while let Some(entries) = batches.next().map_err(kernel)? {
        for (key, value) in entries {
            take(key, value);
        }
    }
    Ok(())
}

pub(crate) fn absent_is_fine(
    map: &'static str,
    removed: Result<(), aya::maps::MapError>,
) -> Result<(), MapError> {
    match removed.map_err(into_io) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|source| MapError::Kernel { map, source }),
    }
}

pub(crate) fn invalid(map: &'static str, message: &str) -> MapError {
    MapError::Kernel { map, source: io::Error::new(io::ErrorKind::InvalidInput, message) }
}

pub(crate) fn refused(map: &'static str) -> impl Fn(aya::maps::MapError) -> MapError {
    move |error| MapError::Kernel { map, source: into_io(error) }
}

/// A refused insertion into a map of `capacity` entries: no room, or something else.
pub(crate) fn refused_at(
    map: &'static str,
    capacity: u32,
) -> impl Fn(aya::maps::MapError) -> MapError {
    move |error| {
        let source = into_io(error);
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) => MapError::full(map, capacity),
            _ => MapError::Kernel { map, source },
        }
    }
}

fn into_io(error: aya::maps::MapError) -> io::Error {
    match error {
        aya::maps::MapError::IoError(error) => error,
        aya::maps::MapError::SyscallError(error) => error.io_error,
        aya::maps::MapError::KeyNotFound | aya::maps::MapError::ElementNotFound => {
            io::ErrorKind::NotFound.into()
        }
        error => io::Error::other(error),
    }
}
