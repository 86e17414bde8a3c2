//! UDP: a server that says its name and whom it sees, and a client that checks who answers.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Daemon, Greeting, canonical, unspecified};
use crate::lab::Namespace;

/// Answers every datagram on a port of a namespace: of every address of both families, or of one.
#[derive(Debug)]
pub struct UdpEcho {
    _daemon: Daemon,
}

impl UdpEcho {
    /// Listens when it returns; the port is free again when it is dropped.
    #[must_use]
    pub fn start(ns: &Namespace, name: &str, port: u16) -> Self {
        Self::at(ns, name, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// The same at one address. Where there are several, an answer of a socket without an address may
    /// come from another one than was asked.
    #[must_use]
    pub fn at(ns: &Namespace, name: &str, address: SocketAddr) -> Self {
        let socket = ns.run(|| UdpSocket::bind(address));
        let socket =
            socket.unwrap_or_else(|error| panic!("listen at {address} by UDP as {name}: {error}"));
        socket.set_nonblocking(true).expect("make a socket non-blocking");
        let name = name.to_owned();
        Self { _daemon: Daemon::start(|| serve(socket, name)) }
    }
}

async fn serve(socket: UdpSocket, name: String) {
    let socket = tokio::net::UdpSocket::from_std(socket).expect("listen inside the runtime");
    let mut datagram = vec![0; 65535];
    loop {
        // An error is that of an answer nobody took (ICMP): the next datagram is another matter.
        let Ok((length, peer)) = socket.recv_from(&mut datagram).await else { continue };
        let greeting = Greeting { name: name.clone(), peer: canonical(peer) };
        let mut answer = serde_json::to_vec(&greeting).expect("write a greeting");
        answer.resize(answer.len().max(length), b' ');
        socket.send_to(&answer, peer).await.ok();
    }
}

/// An answer and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpAnswer {
    /// The server's name.
    pub name: String,
    /// The client's address as the server sees it.
    pub seen_peer: SocketAddr,
    /// The source of the answer.
    pub from: SocketAddr,
    /// How many bytes came: as many as were sent, if that is more than the greeting takes.
    pub length: usize,
}

/// A UDP socket in a namespace.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    dst: SocketAddr,
    connected: bool,
}

impl UdpClient {
    /// A socket that names `dst` with each datagram (`sendto`), and takes answers from anybody.
    /// `timeout` is for each answer.
    pub fn open(
        from: &Namespace,
        dst: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let socket = from.run(|| UdpSocket::bind(bind.unwrap_or(unspecified(dst))))?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(Self { socket, dst, connected: false })
    }

    /// A socket that is connected to `dst`: the kernel refuses answers from elsewhere, and an ICMP
    /// error comes as `ConnectionRefused`.
    pub fn connect(
        from: &Namespace,
        dst: SocketAddr,
        bind: Option<SocketAddr>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let client = Self::open(from, dst, bind, timeout)?;
        from.run(|| client.socket.connect(dst))?;
        Ok(Self { connected: true, ..client })
    }

    /// The same socket, asking `dst` beside whom it asks already; for one that is not connected.
    pub fn also(&self, dst: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, dst, connected: false })
    }

    /// Sends a short datagram and waits for its answer. One from another address than the one
    /// dialled is an error that names it.
    pub fn ask(&self) -> io::Result<UdpAnswer> {
        self.ask_with(b"who are you?")
    }

    /// Sends a datagram and waits for its answer, which is at least as long.
    pub fn ask_with(&self, datagram: &[u8]) -> io::Result<UdpAnswer> {
        self.send(datagram)?;
        let answer = self.receive()?;
        if answer.from != self.dst {
            let (dst, from) = (self.dst, answer.from);
            return Err(io::Error::other(format!("asked {dst} and got an answer from {from}")));
        }
        Ok(answer)
    }

    /// Sends a datagram and waits for nothing.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let sent = if self.connected {
            self.socket.send(datagram)?
        } else {
            self.socket.send_to(datagram, self.dst)?
        };
        assert_eq!(sent, datagram.len(), "a datagram is sent whole");
        Ok(())
    }

    /// Waits for one answer, from whomever.
    pub fn receive(&self) -> io::Result<UdpAnswer> {
        let mut buffer = vec![0; 65535];
        let (length, from) = loop {
            match self.socket.recv_from(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received?,
            }
        };
        let greeting: Greeting = serde_json::from_slice(&buffer[..length])?;
        Ok(UdpAnswer { name: greeting.name, seen_peer: greeting.peer, from, length })
    }

    /// The socket, for what is rarely asked of it: `local_addr`, `peer_addr`.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}
