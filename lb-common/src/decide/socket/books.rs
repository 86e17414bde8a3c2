//! What is kept of a socket in `SOCKETS`, so that it is told what it has dialled, and stays with its
//! backend.
//!
//! An answer is never a stranger's: without the entry that translates it, the datagram is not sent
//! (I3). All else the call can do without.

use super::Peer;
use crate::abi::counter::Counter;
use crate::abi::frontend::Frontend;
use crate::abi::socket::{Role, Socket, SocketKey};
use crate::decide::Translation;
use crate::net::{Address, protocol};
use crate::tables::{Sockets, Tables};

/// The most addresses of which a closing socket takes its entries along; others wait until the map
/// needs their room.
const REMEMBERED: u32 = 16;

/// Forgets a socket of `protocol` that is closed.
#[inline(always)]
pub fn release<A: Address, T: Sockets<A>>(tables: &T, socket: u64, protocol: u8) {
    disconnect(tables, socket, protocol);
    if protocol != protocol::UDP {
        return;
    }
    let key = SocketKey::of(socket, Role::Last);
    let Some(last) = tables.socket(&key) else { return };
    tables.forget_socket(&key);
    let mut asked = SocketKey::new(socket, Role::Asked, last.dialled, last.dialled_port);
    for _ in 0..REMEMBERED {
        let Some(entry) = tables.socket(&asked) else { return };
        forget_answers(tables, socket, Peer { addr: entry.addr, port: entry.port });
        tables.forget_socket(&asked);
        asked.addr = entry.earlier;
        asked.port = entry.earlier_port;
    }
}

/// What the last datagram to `peer` became, if that still holds.
#[inline(always)]
pub(super) fn sticky<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    socket: u64,
    peer: Peer<A>,
    frontend: Frontend,
) -> Option<Socket<A>> {
    let entry = tables.socket(&SocketKey::new(socket, Role::Asked, peer.addr, peer.port))?;
    let serves = tables.backend(entry.backend).is_some_and(|it| it.serves(entry.generation));
    (entry.service == frontend.service && serves).then_some(entry)
}

/// Remembers whom a socket is connected to.
#[inline(always)]
pub(super) fn keep_peer<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    socket: u64,
    entry: &Socket<A>,
) -> Result<(), Translation> {
    if entry.protocol == protocol::UDP {
        keep_answers(tables, socket, entry)?;
    }
    keep(tables, &SocketKey::of(socket, Role::Peer), entry);
    Ok(())
}

/// Remembers where datagrams to an address go, and instead of what they went before.
#[inline(always)]
pub(super) fn keep_asked<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    socket: u64,
    mut entry: Socket<A>,
) -> Result<(), Translation> {
    let asked = SocketKey::new(socket, Role::Asked, entry.dialled, entry.dialled_port);
    let last = SocketKey::of(socket, Role::Last);
    if let Some(before) = tables.socket(&asked) {
        forget_answers(tables, socket, Peer { addr: before.addr, port: before.port });
        entry.earlier = before.earlier;
        entry.earlier_port = before.earlier_port;
    } else {
        if let Some(before) = tables.socket(&last) {
            entry.earlier = before.dialled;
            entry.earlier_port = before.dialled_port;
        }
        keep(tables, &last, &entry);
    }
    keep_answers(tables, socket, &entry)?;
    keep(tables, &asked, &entry);
    Ok(())
}

/// Makes sure that what the backend answers will come from what was dialled. Without that, the
/// datagram is not sent.
#[inline(always)]
pub(super) fn keep_answers<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    socket: u64,
    entry: &Socket<A>,
) -> Result<(), Translation> {
    let key = SocketKey::new(socket, Role::Answers, entry.addr, entry.port);
    match tables.socket(&key) {
        Some(it) if it.dialled == entry.dialled && it.dialled_port == entry.dialled_port => Ok(()),
        _ => tables
            .keep_socket(&key, entry)
            .map_err(|_| Translation::Counted(Counter::DropSocketTable)),
    }
}

/// What was dialled to connect a socket to `peer`, if anything was.
#[inline(always)]
pub(super) fn connection<A: Address, T: Sockets<A>>(
    tables: &T,
    socket: u64,
    peer: &Peer<A>,
) -> Option<Socket<A>> {
    let entry = tables.socket(&SocketKey::of(socket, Role::Peer))?;
    (entry.addr == peer.addr && entry.port == peer.port).then_some(entry)
}

/// Forgets whom a socket of `protocol` was connected to. Only of datagrams are there answers.
#[inline(always)]
pub(super) fn disconnect<A: Address, T: Sockets<A>>(tables: &T, socket: u64, protocol: u8) {
    let key = SocketKey::of(socket, Role::Peer);
    if let Some(entry) = tables.socket(&key) {
        if protocol == protocol::UDP {
            forget_answers(tables, socket, Peer { addr: entry.addr, port: entry.port });
        }
        tables.forget_socket(&key);
    }
}

/// Looks first: to remove nothing costs a lock.
#[inline(always)]
pub(super) fn forget_answers<A: Address, T: Sockets<A>>(tables: &T, socket: u64, from: Peer<A>) {
    let key = SocketKey::new(socket, Role::Answers, from.addr, from.port);
    if tables.socket(&key).is_some() {
        tables.forget_socket(&key);
    }
}

/// Keeps what the call can do without.
#[inline(always)]
fn keep<A: Address, T: Tables<A> + Sockets<A>>(tables: &T, key: &SocketKey<A>, entry: &Socket<A>) {
    if tables.keep_socket(key, entry).is_err() {
        tables.count(Counter::SocketNotKept);
    }
}
