//! `SOCKETS_*`: what sockets have dialled, and which backends they were given instead.
//!
//! | role | key's address | for |
//! |---|---|---|
//! | [`Role::Peer`] | none | a connected socket |
//! | [`Role::Asked`] | what was dialled | datagrams of a socket that names an address with each |
//! | [`Role::Answers`] | the backend's | datagrams that come from there |
//! | [`Role::Last`] | none | the socket's newest `Asked`, from which the others are found |
//!
//! The agent reads it: who holds which backend. An entry is removed when its socket is closed, or
//! when the map needs the room; the cookie is never another socket's.

use super::assert_layout;
use crate::net::{Addr4, Addr6, Address, Port};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Whom a connected socket has dialled.
    Peer = 1,
    /// Where the datagrams to an address go.
    Asked = 2,
    /// Who was dialled by those datagrams that a backend answers.
    Answers = 3,
    /// The address that was dialled first most recently.
    Last = 4,
}

/// Key: a socket, and what the [`Role`] says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey<A> {
    /// The socket's cookie, lower half first.
    pub cookie: [u32; 2],
    /// An address, or all zero.
    pub addr: A,
    /// Its port, network order.
    pub port: Port,
    /// A [`Role`] as a number.
    pub role: u8,
    /// Always zero: the kernel hashes every byte.
    pub pad: u8,
}

impl<A: Address> SocketKey<A> {
    /// The key of the entry in `role` of the socket with this cookie.
    #[must_use]
    #[inline(always)]
    pub fn new(cookie: u64, role: Role, addr: A, port: Port) -> Self {
        Self { cookie: halves(cookie), addr, port, role: role as u8, pad: 0 }
    }

    /// The same for a role without address.
    #[must_use]
    #[inline(always)]
    pub fn of(cookie: u64, role: Role) -> Self {
        let nowhere = A::of_family(Addr4::default(), Addr6::default());
        Self::new(cookie, role, nowhere, Port::default())
    }
}

/// Value: what was dialled, and the backend that it became.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket<A> {
    /// The address that the process named.
    pub dialled: A,
    /// The backend's address.
    pub addr: A,
    /// The address in the key of the `Asked` before this one, if its port is not 0.
    pub earlier: A,
    /// The port that the process named, network order.
    pub dialled_port: Port,
    /// The backend's port, network order.
    pub port: Port,
    /// The port that belongs to `earlier`.
    pub earlier_port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
    /// Backend id.
    pub backend: u32,
    /// The backend's generation when it was chosen.
    pub generation: u32,
    /// The service.
    pub service: u32,
    /// Cookie of the socket's network namespace, lower half first.
    pub netns: [u32; 2],
}

/// A cookie as maps have it, lower half first.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
pub const fn halves(cookie: u64) -> [u32; 2] {
    [cookie as u32, (cookie >> 32) as u32]
}

/// The cookie of which these are the [`halves`].
#[must_use]
#[inline(always)]
pub const fn whole(halves: [u32; 2]) -> u64 {
    (halves[1] as u64) << 32 | halves[0] as u64
}

assert_layout!(SocketKey<Addr4>, 16, [u32; 2], Addr4, Port, u8, u8);
assert_layout!(SocketKey<Addr6>, 28, [u32; 2], Addr6, Port, u8, u8);
assert_layout!(
    Socket<Addr4>,
    40,
    Addr4,
    Addr4,
    Addr4,
    Port,
    Port,
    Port,
    u8,
    u8,
    u32,
    u32,
    u32,
    [u32; 2]
);
assert_layout!(
    Socket<Addr6>,
    76,
    Addr6,
    Addr6,
    Addr6,
    Port,
    Port,
    Port,
    u8,
    u8,
    u32,
    u32,
    u32,
    [u32; 2]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_survives_its_halves() {
        assert_eq!(halves(0x0102_0304_0506_0708), [0x0506_0708, 0x0102_0304]);
        assert_eq!(whole(halves(u64::MAX - 5)), u64::MAX - 5);
    }
}
