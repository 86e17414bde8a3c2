//! `SOCKETS_*` of one family: which sockets hold which backends.

use std::path::Path;

use aya::Pod;
use aya::maps::MapData;
use lb_common::abi::socket::{Role, Socket, SocketKey, whole};
use lb_common::net::Address;

use super::super::batch::Batches;
use super::access::refused;
use crate::maps::{MapError, sockets_map};

/// The sockets of one family, which come and go while they are looked at.
#[derive(Debug)]
pub struct KernelSockets<A> {
    batches: Batches<SocketKey<A>, Socket<A>>,
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
{
    /// Those that are pinned in `directory`.
    pub fn from_pins(directory: &Path) -> Result<Self, MapError> {
        let name = sockets_map(A::FAMILY);
        let data = MapData::from_pin(directory.join(name)).map_err(refused(name))?;
        let batches =
            Batches::new(&data).map_err(|source| MapError::Kernel { map: name, source })?;
        Ok(Self { batches })
    }

    /// The sockets whose entries are wanted, one row for each address that a socket has dialled.
    pub fn holders(
        &mut self,
        is_wanted: impl Fn(&Socket<A>) -> bool,
    ) -> Result<Vec<Holder<A>>, MapError> {
        let map = sockets_map(A::FAMILY);
        let mut holders = Vec::new();
        while let Some(entries) =
            self.batches.next().map_err(|source| MapError::Kernel { map, source })?
        {
            let rows = entries.iter().filter_map(|(key, socket)| holder(key, *socket));
            holders.extend(rows.filter(|row| is_wanted(&row.socket)));
        }
        Ok(holders)
    }
}

fn holder<A>(key: &SocketKey<A>, socket: Socket<A>) -> Option<Holder<A>> {
    let is_connected = key.role == Role::Peer as u8;
    let is_asked = key.role == Role::Asked as u8;
    let (cookie, netns) = (whole(key.cookie), whole(socket.netns));
    (is_connected || is_asked).then_some(Holder { cookie, netns, is_connected, socket })
}
