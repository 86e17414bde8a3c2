//! `SOCKETS_*` of one family: which sockets hold which backends; removal of those that are closed.

use std::collections::HashSet;
use std::path::Path;

use aya::Pod;
use aya::maps::MapData;
use lb_common::abi::backend::Backend;
use lb_common::abi::socket::{Role, Socket, SocketKey, whole};
use lb_common::net::Address;

use super::super::batch::Batches;
use super::super::mmap::MappedArray;
use super::access::{mapped, refused};
use crate::maps::{MapError, backends_map, sockets_map};

/// The sockets of one family, which come and go while they are looked at.
#[derive(Debug)]
pub struct KernelSockets<A> {
    batches: Batches<SocketKey<A>, Socket<A>>,
    backends: MappedArray<Backend<A>>,
}

/// A socket that sends to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder<A> {
    /// The socket's cookie, by which `sock_diag(7)` knows it too.
    pub cookie: u64,
    /// The cookie of its network namespace.
    pub netns: u64,
    /// Whether it is connected; else it names an address with each datagram, and is given another
    /// backend with the next.
    pub is_connected: bool,
    /// What was dialled, the backend and its generation.
    pub socket: Socket<A>,
}

impl<A: Address> KernelSockets<A>
where
    SocketKey<A>: Pod,
    Socket<A>: Pod,
    Backend<A>: Pod,
{
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        let name = sockets_map(A::FAMILY);
        let data = MapData::from_pin(directory.join(name)).map_err(refused(name))?;
        let batches = Batches::new(&data).map_err(kernel::<A>)?;
        let mut open = |name: &str| MapData::from_pin(directory.join(name));
        let backends = mapped(&mut open, backends_map(A::FAMILY))?;
        Ok(Self { batches, backends })
    }

    /// The sockets whose entries are wanted, given what is now at their backends' ids; one row for
    /// each address that a socket has dialled.
    pub fn holders(
        &mut self,
        is_wanted: impl Fn(&Socket<A>, &Backend<A>) -> bool,
    ) -> Result<Vec<Holder<A>>, MapError> {
        let mut holders = Vec::new();
        while let Some(entries) = self.batches.next().map_err(kernel::<A>)? {
            let rows = entries.iter().filter_map(|(key, socket)| holder(key, *socket));
            // The backend is read after its holder: a new one is described before anybody holds it.
            holders.extend(rows.filter(|row| {
                let backend = self.backends.load(row.socket.backend);
                backend.is_some_and(|backend| is_wanted(&row.socket, &backend))
            }));
        }
        Ok(holders)
    }

    /// Tells `meet` the cookie of each entry's socket and that of its network namespace.
    pub fn each(&mut self, mut meet: impl FnMut(u64, u64)) -> Result<(), MapError> {
        while let Some(entries) = self.batches.next().map_err(kernel::<A>)? {
            for (key, socket) in entries {
                meet(whole(key.cookie), whole(socket.netns));
            }
        }
        Ok(())
    }

    /// Removes all entries of sockets with these cookies; returns how many.
    pub fn forget(&mut self, cookies: &HashSet<u64>) -> Result<usize, MapError> {
        let mut removed = 0;
        while let Some(entries) = self.batches.next().map_err(kernel::<A>)? {
            for (key, _) in entries.iter().filter(|(key, _)| cookies.contains(&whole(key.cookie))) {
                removed += usize::from(self.batches.take(key).map_err(kernel::<A>)?.is_some());
            }
        }
        Ok(removed)
    }
}

fn kernel<A: Address>(source: std::io::Error) -> MapError {
    MapError::Kernel { map: sockets_map(A::FAMILY), source }
}

fn holder<A>(key: &SocketKey<A>, socket: Socket<A>) -> Option<Holder<A>> {
    let is_connected = key.role == Role::Peer as u8;
    let is_asked = key.role == Role::Asked as u8;
    let (cookie, netns) = (whole(key.cookie), whole(socket.netns));
    (is_connected || is_asked).then_some(Holder { cookie, netns, is_connected, socket })
}
