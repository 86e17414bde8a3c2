//! Rows of `SOCKETS_*`.

use std::fmt;
use std::net::SocketAddr;

use lb_common::abi::socket::{Role, Socket, SocketKey, whole};
use lb_common::net::{Address, Port, protocol};
use serde::Serialize;

use crate::maps::sockets_map;

/// What is kept of a socket: whom it has dialled, and the backend that it was given instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketRow {
    /// The map it is in.
    pub map: &'static str,
    /// The socket's cookie.
    pub cookie: u64,
    /// The cookie of its network namespace.
    pub netns: u64,
    /// What the entry is for: `peer`, `asked`, `answers` or `last`.
    pub role: &'static str,
    /// The IP protocol's name, or its number.
    pub protocol: String,
    /// What was dialled.
    pub dialled: SocketAddr,
    /// Where the backend listens.
    pub address: SocketAddr,
    /// The service's id.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation when it was chosen.
    pub generation: u32,
}

impl SocketRow {
    /// The row of one entry.
    pub fn new<A: Address>(key: &SocketKey<A>, socket: &Socket<A>) -> Self {
        let at = |addr: A, port: Port| SocketAddr::new(addr.to_ip(), port.to_host());
        Self {
            map: sockets_map(A::FAMILY),
            cookie: whole(key.cookie),
            netns: whole(socket.netns),
            role: role(key.role),
            protocol: protocol::name(socket.protocol)
                .map_or_else(|| socket.protocol.to_string(), str::to_owned),
            dialled: at(socket.dialled, socket.dialled_port),
            address: at(socket.addr, socket.port),
            service: socket.service,
            backend: socket.backend,
            generation: socket.generation,
        }
    }
}

/// `SOCKETS_V4 77 peer TCP 10.96.0.10:80 -> 10.1.0.3:8080 service=1 backend=2 generation=1 netns=1`.
impl fmt::Display for SocketRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, cookie, role, protocol, dialled, address, .. } = self;
        write!(f, "{map} {cookie} {role} {protocol} {dialled} -> {address}")?;
        let Self { service, backend, generation, netns, .. } = self;
        write!(f, " service={service} backend={backend} generation={generation} netns={netns}")
    }
}

fn role(number: u8) -> &'static str {
    let roles = [
        (Role::Peer, "peer"),
        (Role::Asked, "asked"),
        (Role::Answers, "answers"),
        (Role::Last, "last"),
    ];
    roles.iter().find(|(role, _)| *role as u8 == number).map_or("?", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use lb_common::abi::socket::halves;
    use lb_common::net::Addr4;

    use super::*;

    #[test]
    fn a_socket_reads_as_one_line() {
        let socket = Socket {
            dialled: Addr4::from_octets([10, 96, 0, 10]),
            addr: Addr4::from_octets([10, 1, 0, 3]),
            dialled_port: Port::from_host(80),
            port: Port::from_host(8080),
            protocol: protocol::TCP,
            backend: 2,
            generation: 1,
            service: 1,
            netns: halves(9),
            ..Socket::default()
        };
        assert_eq!(
            SocketRow::new(&SocketKey::of(77, Role::Peer), &socket).to_string(),
            "SOCKETS_V4 77 peer TCP 10.96.0.10:80 -> 10.1.0.3:8080 service=1 backend=2 \
             generation=1 netns=9"
        );
    }
}
