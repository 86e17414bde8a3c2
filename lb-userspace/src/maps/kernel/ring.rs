//! A ring buffer of records of one kind. It has one reader's position, so two readers would each get a
//! part.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};

use aya::Pod;
use aya::maps::{MapData, RingBuf};
use lb_common::abi::record;

use super::access::{Open, typed};
use crate::maps::MapError;

/// The reader's end of a ring buffer of `T`s.
pub(super) struct Ring<T> {
    map: RingBuf<MapData>,
    records: PhantomData<T>,
}

impl<T: Pod> Ring<T> {
    /// For what is told from now on: what is left of earlier times is thrown away.
    pub(super) fn open(open: &mut Open<'_>, name: &'static str) -> Result<Self, MapError> {
        let mut map: RingBuf<MapData> = typed(open, name)?;
        while map.next().is_some() {}
        Ok(Self { map, records: PhantomData })
    }

    /// The next that was told, if any is left. What is no record of this version is left out.
    pub(super) fn take(&mut self) -> Option<T> {
        loop {
            let record = self.map.next()?;
            if let Some(record) = record::read(&record) {
                return Some(record);
            }
        }
    }
}

impl<T> AsRawFd for Ring<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.map.as_raw_fd()
    }
}
