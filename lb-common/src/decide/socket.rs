//! The decisions at a socket: what a process dials becomes a backend before there is any packet.
//!
//! Frontends, policies, lists, affinity and selection are those of packets (I1). What differs:
//!
//! - There is no source port yet, so a random number takes the place of the flow's hash.
//! - Whoever dials is the node itself or one of its pods. The address is known only if the socket is
//!   bound to one. Affinity goes by that address, else by the namespace; source ranges by that
//!   address, else by the node's own. A pod without is left to the packets it will send.
//! - A process of the node reaches a NodePort at a loopback address too (kube-proxy-behaviour §4.12).
//! - Nobody waits: where a packet would be rejected or dropped, the call fails at once.
//!
//! Nothing is masqueraded: the kernel chooses the source towards the backend, and answers come back
//! to the socket by themselves.

mod books;
#[cfg(test)]
mod tests;
mod whose;

pub use books::release;
pub use whose::{is_mptcp, is_ours};

use self::books::{
    connection, disconnect, forget_answers, keep_answers, keep_asked, keep_peer, sticky,
};
use self::whose::is_exempt;
use super::client::{self, Client};
use super::{Fate, Translation, dial, select};
use crate::abi::carried::Carried;
use crate::abi::counter::Counter;
use crate::abi::flow::FlowKey;
use crate::abi::frontend::{Frontend, flags};
use crate::abi::interface::NODE;
use crate::abi::socket::{Role, Socket, SocketKey, halves};
use crate::net::{Addr4, Addr6, Address, Family, Port};
use crate::tables::{Sockets, Tables};

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller<A> {
    /// The socket's cookie.
    pub socket: u64,
    /// The cookie of its network namespace.
    pub netns: u64,
    /// Whether that is the node's own.
    pub is_host: bool,
    /// The address that the socket is bound to, if it is.
    pub bound: Option<A>,
    /// IP protocol number.
    pub protocol: u8,
}

/// Whom a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<A> {
    /// The address.
    pub addr: A,
    /// The port, network order.
    pub port: Port,
}

/// What becomes of a call.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on as it is.
    Untouched,
    /// It goes on to the peer that was handed in, which is another now.
    Translated,
    /// It fails: nobody is there (`ECONNREFUSED`), where a packet would be rejected.
    Refused,
    /// It fails: the way is closed (`EHOSTUNREACH`), where a packet would be dropped.
    Unreachable,
    /// It fails: the address is taken (`EADDRINUSE`).
    Taken,
}

/// Decides on a socket that is connected to `peer`.
#[inline(always)]
pub fn connect<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    caller: &Caller<A>,
    peer: &mut Peer<A>,
) -> Answer {
    disconnect(tables, caller.socket, caller.protocol);
    let decided = wanted(tables, caller, peer)
        .and_then(|frontend| choose(tables, caller, peer, frontend))
        .and_then(|socket| keep_peer(tables, caller.socket, &socket).map(|()| socket));
    answer(tables, decided, peer)
}

/// Decides on a datagram that is sent to `peer` by a socket that names it. The backend stays the same
/// while it serves.
#[inline(always)]
pub fn send<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    caller: &Caller<A>,
    peer: &mut Peer<A>,
) -> Answer {
    let frontend = match wanted(tables, caller, peer) {
        Ok(frontend) => frontend,
        Err(translation) => {
            // What this peer answers from now on, it answers for itself. (The kernel calls this a
            // naming too: an IPv4 address in disguise that the socket is connected to.)
            if connection(tables, caller.socket, peer).is_none() {
                forget_answers(tables, caller.socket, *peer);
            }
            return answer(tables, Err(translation), peer);
        }
    };
    if let Some(socket) = sticky(tables, caller.socket, *peer, frontend) {
        let decided = keep_answers(tables, caller.socket, &socket).map(|()| socket);
        return answer(tables, decided, peer);
    }
    let decided = choose(tables, caller, peer, frontend)
        .and_then(|socket| keep_asked(tables, caller.socket, socket).map(|()| socket));
    answer(tables, decided, peer)
}

/// Decides on a socket that a process of the node binds to `address`: a node port of a service is
/// taken, although no socket has it, for packets and calls to it would never come here.
#[inline(always)]
pub fn bind<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    caller: &Caller<A>,
    address: &Peer<A>,
) -> Answer {
    match dialled(tables, caller, address) {
        Ok(frontend) if caller.is_host && frontend.flags & flags::NODE_PORT != 0 => {
            tables.count(Counter::RejectBind);
            tables.tell_bind(frontend.service, address.port, caller.protocol);
            Answer::Taken
        }
        _ => Answer::Untouched,
    }
}

/// Turns the source of a datagram that was received into what the socket had dialled; tells whether
/// it had to.
#[inline(always)]
pub fn received<A: Address, T: Sockets<A>>(tables: &T, socket: u64, from: &mut Peer<A>) -> bool {
    match tables.socket(&SocketKey::new(socket, Role::Answers, from.addr, from.port)) {
        Some(entry) => {
            *from = Peer { addr: entry.dialled, port: entry.dialled_port };
            true
        }
        None => false,
    }
}

/// Turns the peer of a connected socket into what the socket had dialled; tells whether it had to.
#[inline(always)]
pub fn named<A: Address, T: Sockets<A>>(tables: &T, socket: u64, peer: &mut Peer<A>) -> bool {
    match connection(tables, socket, peer) {
        Some(entry) => {
            *peer = Peer { addr: entry.dialled, port: entry.dialled_port };
            true
        }
        None => false,
    }
}

/// The frontend that is dialled, unless the caller is exempt: what it sends is translated where it
/// enters the node, as packets. The node's own packets enter nowhere, so its processes never are.
#[inline(always)]
fn wanted<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    caller: &Caller<A>,
    peer: &Peer<A>,
) -> Result<Frontend, Translation> {
    match dialled(tables, caller, peer) {
        Ok(_) if !caller.is_host && is_exempt(tables, caller.netns) => Err(Translation::None),
        found => found,
    }
}

/// The frontend that is dialled.
#[inline(always)]
fn dialled<A: Address, T: Tables<A>>(
    tables: &T,
    caller: &Caller<A>,
    peer: &Peer<A>,
) -> Result<Frontend, Translation> {
    let mut key = tuple(caller, peer, Port::default());
    if !is_this_host(peer.addr) {
        return dial::frontend(tables, &key);
    }
    if !caller.is_host {
        return Err(Translation::None);
    }
    key.dst = own(tables).ok_or(Translation::None)?;
    match dial::frontend(tables, &key) {
        Ok(frontend) if frontend.flags & flags::NODE_PORT != 0 => Ok(frontend),
        _ => Err(Translation::None),
    }
}

/// The call as a flow, from who calls as affinity knows him.
#[inline(always)]
fn tuple<A: Address>(caller: &Caller<A>, peer: &Peer<A>, src_port: Port) -> FlowKey<A> {
    FlowKey {
        src: match caller.bound {
            Some(addr) => addr,
            None => stand_in(caller.netns),
        },
        dst: peer.addr,
        src_port,
        dst_port: peer.port,
        protocol: caller.protocol,
        hook: 0,
        pad: [0; 2],
    }
}

/// Stands for the sockets of a namespace in `AFFINITY`: an address that no client can have, of
/// `0.0.0.0/8` (RFC 1122) or `100::/64` (RFC 6666), with the end of the cookie.
#[inline(always)]
fn stand_in<A: Address>(netns: u64) -> A {
    let [low, high] = halves(netns);
    let [_, a, b, c] = low.to_be_bytes();
    let v6 = Addr6::from_words([0x0100_0000_u32.to_be(), 0, high.to_be(), low.to_be()]);
    A::of_family(Addr4::from_octets([0, a, b, c]), v6)
}

/// Whether the address means the host of the socket, whatever its addresses: loopback or none.
#[inline(always)]
fn is_this_host<A: Address>(addr: A) -> bool {
    let [first, second, third, last] = addr.words();
    match A::FAMILY {
        Family::V4 => first == 0 || first.to_ne_bytes()[0] == 127,
        Family::V6 => first | second | third == 0 && (last == 0 || last == 1_u32.to_be()),
    }
}

/// The node's own address.
#[inline(always)]
fn own<A: Address, T: Tables<A>>(tables: &T) -> Option<A> {
    tables.interface(NODE)?.source()
}

/// Lets the caller in and chooses the backend: the list in use, then affinity or chance.
#[inline(always)]
fn choose<A: Address, T: Tables<A> + Sockets<A>>(
    tables: &T,
    caller: &Caller<A>,
    peer: &Peer<A>,
    frontend: Frontend,
) -> Result<Socket<A>, Translation> {
    let_in(tables, caller, frontend)?;
    let client = if caller.is_host { Client::NODE } else { Client::POD };
    let key = tuple(caller, peer, Port::from_host(tables.random()));
    let Some(service) = tables.service(frontend.service) else {
        return Err(Translation::Counted(Counter::RejectNoEndpoint));
    };
    let list = client.list(frontend);
    match select::select(tables, &key, frontend.service, &service, list) {
        Ok(chosen) => {
            tables.count(Counter::NewSocket);
            tables.add(frontend.service, &Carried { sockets: 1, ..Carried::default() });
            Ok(Socket {
                dialled: peer.addr,
                addr: chosen.backend.addr,
                earlier: A::of_family(Addr4::default(), Addr6::default()),
                dialled_port: peer.port,
                port: chosen.backend.port,
                earlier_port: Port::default(),
                protocol: caller.protocol,
                pad: 0,
                backend: chosen.id,
                generation: chosen.backend.generation,
                service: frontend.service,
                netns: halves(caller.netns),
            })
        }
        Err(reason) => Err(Translation::Counted(reason)),
    }
}

/// Refuses a caller that is in none of the source ranges.
#[inline(always)]
fn let_in<A: Address, T: Tables<A>>(
    tables: &T,
    caller: &Caller<A>,
    frontend: Frontend,
) -> Result<(), Translation> {
    if !client::is_guarded(frontend) {
        return Ok(());
    }
    let address = match caller.bound {
        Some(addr) => Some(addr),
        None if caller.is_host => own(tables),
        None => return Err(Translation::None),
    };
    let address = address.ok_or(Translation::Counted(Counter::DropSourceRange))?;
    client::let_in(tables, frontend, address).map_err(Translation::Counted)
}

/// Counts what was decided and puts the backend into `peer`.
#[inline(always)]
fn answer<A: Address, T: Tables<A>>(
    tables: &T,
    decided: Result<Socket<A>, Translation>,
    peer: &mut Peer<A>,
) -> Answer {
    match decided {
        Ok(socket) => {
            *peer = Peer { addr: socket.addr, port: socket.port };
            Answer::Translated
        }
        Err(Translation::Counted(reason)) => {
            tables.count(reason);
            match Fate::of(reason) {
                Fate::Reject => Answer::Refused,
                _ => Answer::Unreachable,
            }
        }
        Err(Translation::None | Translation::Rewrite) => Answer::Untouched,
    }
}
