//! Sockets of one network namespace, as `sock_diag(7)` knows them: finding and destroying them.
//!
//! The namespace is that of the thread that opens a [`SockDiag`]. Of an answer only the header is
//! read: what else newer kernels tell cannot break it.

use std::io;
use std::net::IpAddr;

use lb_common::net::protocol;
use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Parseable as _,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// The sockets of a network namespace.
pub(crate) struct SockDiag(Socket);

/// The sort of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Domain {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`; its peer may be an IPv4 address in disguise.
    V6,
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Connected {
    domain: Domain,
    protocol: u8,
    id: SocketId,
}

impl SockDiag {
    /// Those of the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The sockets that are connected, or connecting, to `port` of whomever, by TCP or by UDP.
    pub(crate) fn connected(
        &self,
        domain: Domain,
        protocol: u8,
        port: u16,
    ) -> io::Result<Vec<Connected>> {
        let id = SocketId { destination_port: port, ..domain.nobody() };
        let asked = Connected { domain, protocol, id };
        self.send(SockDiagMessage::InetRequest(asked.request()), NLM_F_DUMP)?;
        let mut found = Vec::new();
        self.receive(|InetResponseHeader { socket_id: id, .. }| {
            found.push(Connected { domain, protocol, id });
        })?;
        Ok(found)
    }

    /// The cookies of all sockets of a protocol, TCP or UDP, that may have dialled anybody and are open.
    pub(crate) fn cookies(&self, domain: Domain, protocol: u8) -> io::Result<Vec<u64>> {
        let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT;
        let asked = request(domain, protocol, states, domain.nobody());
        self.send(SockDiagMessage::InetRequest(asked), NLM_F_DUMP)?;
        let mut found = Vec::new();
        self.receive(|InetResponseHeader { socket_id, .. }| found.push(cookie(&socket_id)))?;
        Ok(found)
    }

    /// Destroys a socket: its process hears `ECONNABORTED`, and may connect it again if it is of UDP.
    /// `false` if it is not there any more, or connected elsewhere.
    pub(crate) fn destroy(&self, socket: &Connected) -> io::Result<bool> {
        let request = SockDiagMessage::InetRequest(socket.request());
        self.send(SockDiagDestroy::new(request), NLM_F_ACK)?;
        match self.receive(|_| ()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    fn send<M: NetlinkSerializable>(&self, message: M, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.0.send(&buffer, 0).map(drop)
    }

    /// Takes the whole answer to what was sent.
    fn receive(&self, mut take: impl FnMut(InetResponseHeader)) -> io::Result<()> {
        loop {
            let (datagram, _) = self.0.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<Header>::deserialize(rest).map_err(io::Error::other)?;
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(Header(header)) => take(header),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

impl Domain {
    /// Matches every socket.
    fn nobody(self) -> SocketId {
        match self {
            Self::V4 => SocketId::new_v4(),
            Self::V6 => SocketId::new_v6(),
        }
    }
}

impl Connected {
    /// Its cookie.
    pub(crate) fn cookie(&self) -> u64 {
        cookie(&self.id)
    }

    /// The address that it is connected to; an IPv4 address without disguise.
    pub(crate) fn peer(&self) -> IpAddr {
        self.id.destination_address.to_canonical()
    }

    fn request(&self) -> InetRequest {
        let states = match self.protocol {
            // What a connected one is in, by the names of TCP.
            protocol::UDP => StateFlags::ESTABLISHED,
            _ => StateFlags::all() - StateFlags::LISTEN - StateFlags::CLOSE - StateFlags::TIME_WAIT,
        };
        request(self.domain, self.protocol, states, self.id.clone())
    }
}

fn request(domain: Domain, protocol: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    InetRequest {
        family: match domain {
            Domain::V4 => AF_INET,
            Domain::V6 => AF_INET6,
        },
        protocol,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

fn cookie(id: &SocketId) -> u64 {
    // The lower half comes first, as does the lower byte on every machine that this is built for.
    u64::from_le_bytes(id.cookie)
}

/// What is read of an answer.
struct Header(InetResponseHeader);

impl NetlinkDeserializable for Header {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        InetResponseHeader::parse(payload).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::netlink::namespace::{command, in_namespace};

    /// The only socket that is connected to `port`, and only as one of `domain`.
    #[track_caller]
    fn only(diag: &SockDiag, domain: Domain, protocol: u8, port: u16) -> Connected {
        let mut found = diag.connected(domain, protocol, port).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn connected_sockets_are_found_by_their_peers_port_and_hear_of_their_end() {
        in_namespace(|| {
            command("ip link set lo up");
            let diag = SockDiag::open().unwrap();
            for (bound, peer, domain) in [
                ("127.0.0.1:0", "127.0.0.1:9", Domain::V4),
                ("[::1]:0", "[::1]:9", Domain::V6),
                ("[::]:0", "[::ffff:127.0.0.1]:9", Domain::V6),
            ] {
                let socket = UdpSocket::bind(bound).unwrap();
                let peer: SocketAddr = peer.parse().unwrap();
                socket.connect(peer).unwrap();
                let found = only(&diag, domain, protocol::UDP, 9);
                assert_eq!(found.peer(), peer.ip().to_canonical());
                assert!(diag.connected(domain, protocol::UDP, 10).unwrap().is_empty());
                assert!(diag.destroy(&found).unwrap());
                assert!(!diag.destroy(&found).unwrap(), "it is connected to nobody now");
                let error = socket.recv(&mut [0; 8]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                socket.connect(peer).unwrap();
            }
        });
    }

    #[test]
    fn sockets_are_listed_until_they_are_closed() {
        in_namespace(|| {
            command("ip link set lo up");
            let diag = SockDiag::open().unwrap();
            let all = |protocol| {
                let domains = [Domain::V4, Domain::V6];
                domains.map(|domain| diag.cookies(domain, protocol).unwrap()).concat()
            };
            let unconnected = UdpSocket::bind("[::]:0").unwrap();
            assert_eq!(all(protocol::UDP).len(), 1);
            let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
            connected.connect("127.0.0.1:9").unwrap();
            let cookie = only(&diag, Domain::V4, protocol::UDP, 9).cookie();
            assert!(all(protocol::UDP).contains(&cookie));
            drop(unconnected);
            assert_eq!(all(protocol::UDP), [cookie]);
            drop(connected);
            assert_eq!(all(protocol::UDP), [0; 0]);

            let listener = TcpListener::bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(all(protocol::TCP), [0; 0], "nobody dials from there");
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let cookie = only(&diag, Domain::V4, protocol::TCP, port).cookie();
            assert!(all(protocol::TCP).contains(&cookie));
        });
    }

    #[test]
    fn a_destroyed_connection_is_aborted_and_a_listener_stays() {
        in_namespace(|| {
            command("ip link set lo up");
            let diag = SockDiag::open().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            let found = only(&diag, Domain::V4, protocol::TCP, address.port());
            assert!(diag.destroy(&found).unwrap());
            let error = client.peek(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            TcpStream::connect(address).unwrap();
        });
    }
}
