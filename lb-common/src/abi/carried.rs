//! `SVC_CARRIED`: what the flows of each service have carried.
//!
//! Packets and bytes are counted in the flow's own entries, which every packet touches anyway. They are
//! added here when such an entry ends: by the programs, which forget a flow or take its place, and by
//! the agent's collector. What a service has carried is therefore the sum here and that of its live
//! entries. What the kernel's LRU evicts takes its counts with it.
//!
//! Each field only grows, by atomic additions, for as long as its id names the same service.

use super::assert_layout;

/// Value of `SVC_CARRIED`, an array by service id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Flows that have begun: packets that were given a backend and entries.
    pub flows: u64,
    /// Connections of processes, and conversations by datagrams, that were given a backend at the
    /// socket. What they carry passes no program.
    pub sockets: u64,
    /// Packets of entries that have ended, both directions.
    pub packets: u64,
    /// Bytes of those packets, from the network header on.
    pub bytes: u64,
}

assert_layout!(Carried, 32, u64, u64, u64, u64);
