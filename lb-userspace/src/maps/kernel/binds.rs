//! `BINDS`: who was refused a port. Of this ring buffer the agent is the only reader.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use aya::maps::MapData;
use lb_common::abi::bind::RefusedBind;
use lb_common::abi::map;

use super::access::Open;
use super::ring::Ring;
use crate::maps::MapError;

/// The refused binds of one datapath.
pub struct Binds(Ring<RefusedBind>);

impl fmt::Debug for Binds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binds").finish_non_exhaustive()
    }
}

impl AsRawFd for Binds {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Binds {
    /// Those that are told from now on to who has the maps in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        let open: &mut Open<'_> = &mut |name| MapData::from_pin(directory.join(name));
        Ring::open(open, map::BINDS).map(Self)
    }

    /// The next that was told, if any is left. What is no record of this version is left out.
    pub fn take(&mut self) -> Option<RefusedBind> {
        self.0.take()
    }
}
