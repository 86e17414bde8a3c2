//! Real traffic: servers that say who they are and whom they see, clients that say where they got.
//!
//! A server and a client live in the namespace that they are started in. Answers carry both ends as
//! both sides see them, so that a test can tell a translation that shows from one that does not.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

mod daemon;
mod flood;
mod http_client;
mod http_server;
mod stream;
mod tagger;
mod udp;

pub(crate) use daemon::Daemon;
pub use flood::{Flood, SOURCES};
pub use http_client::{Answer, Connection, http_get};
pub use http_server::HttpServer;
pub use tagger::Tagger;
pub use udp::{UdpAnswer, UdpClient, UdpEcho};

/// What a server says to everybody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Greeting {
    /// The server's name, usually its pod's.
    name: String,
    /// Where the request came from, as the server sees it.
    peer: SocketAddr,
}

/// `length` bytes in which every stretch tells where it belongs: what is lost, doubled, swapped or
/// changed on the way shows.
#[must_use]
pub fn pattern(length: u32) -> Vec<u8> {
    // Knuth's multiplicative hash of the position.
    (0..length).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// An IPv4 address that a dual-stack socket wrote as IPv6 (`::ffff:10.0.0.1`), written as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The wildcard address of the family of `address`.
fn unspecified(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    SocketAddr::new(ip, 0)
}
