//! `EVENTS` and `LISTENER`: what the programs tell, to one listener at a time.
//!
//! A ring buffer has one reader's position, so two readers would each get a part. A lock on the
//! directory of the pins keeps the second out; the kernel releases it when its holder ends.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use aya::maps::{HashMap, MapData};
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::map;
use lb_common::abi::name::ServiceName;
use lb_common::clock::Ticks;

use super::access::{Open, mapped, typed};
use super::ring::Ring;
use crate::maps::MapError;
use crate::maps::mmap::MappedArray;

/// Why nobody can listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else does.
    #[error(
        "process {0} listens already, and events have one reader; stop it, or wait for its end"
    )]
    Taken(u32),
    /// The directory cannot be locked.
    #[error("lock the directory of the maps: {0}")]
    Lock(#[source] io::Error),
    /// A map cannot be used.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// The events of one datapath, and who listens to them.
pub struct Events {
    ring: Ring<Event>,
    listener: MappedArray<Listener>,
    names: HashMap<MapData, u32, ServiceName>,
    _lock: File,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Events {
    /// Becomes the listener to the programs whose maps are pinned in `directory`. What was told to an
    /// earlier one and not read is left out.
    pub fn open(directory: &Path) -> Result<Self, ListenError> {
        let open: &mut Open<'_> = &mut |name| MapData::from_pin(directory.join(name));
        let listener: MappedArray<Listener> = mapped(open, map::LISTENER)?;
        let lock = File::open(directory).map_err(ListenError::Lock)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                ListenError::Taken(listener.load(0).map_or(0, |other| other.pid))
            }
            TryLockError::Error(error) => ListenError::Lock(error),
        })?;
        let ring = Ring::open(open, map::EVENTS)?;
        Ok(Self { ring, listener, names: typed(open, map::SERVICE_NAMES)?, _lock: lock })
    }

    /// Lets the programs tell until the end of the tick `until`; [`Ticks`] zero ends it.
    pub fn listen(&self, until: Ticks) {
        self.listener.store(0, &Listener { until, pid: std::process::id() }, 0);
    }

    /// The next event that was told, if any is left. What is no event of this version is left out.
    pub fn take(&mut self) -> Option<Event> {
        self.ring.take()
    }

    /// The name of a service now: `namespace/name:port/protocol`.
    #[must_use]
    pub fn service_name(&self, id: u32) -> Option<String> {
        let name = self.names.get(&id, 0).ok()?;
        name.parse().map(|(name, _)| name.to_owned())
    }
}
