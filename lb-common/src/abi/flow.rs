//! `FLOWS_*`: the match-action cache that is the datapath (design §3.2).
//!
//! An entry says what to do with the packets of one direction of one flow at one hook.

use super::assert_layout;
use crate::clock::Ticks;
use crate::net::{Addr4, Addr6, Address, Port};
use crate::tuple::Tuple;

/// Where a packet is seen, from the node's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// It enters the node.
    Ingress = 1,
    /// It leaves the node.
    Egress = 2,
}

impl Hook {
    /// The hook at which the answer is seen.
    #[must_use]
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// Key: the packet's tuple as it is before the rewrite, and the hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port, network order.
    pub src_port: Port,
    /// Destination port, network order.
    pub dst_port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Hook`] as a number.
    pub hook: u8,
    /// Always zero: the kernel hashes every byte.
    pub pad: [u8; 2],
}

impl<A: Address> FlowKey<A> {
    /// The key of `tuple` at `hook`.
    #[must_use]
    #[inline(always)]
    pub fn new(tuple: Tuple<A>, hook: Hook) -> Self {
        Self {
            src: tuple.src,
            dst: tuple.dst,
            src_port: tuple.src_port,
            dst_port: tuple.dst_port,
            protocol: tuple.protocol,
            hook: hook as u8,
            pad: [0; 2],
        }
    }

    /// The tuple in the key.
    #[must_use]
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<A> {
        Tuple {
            src: self.src,
            dst: self.dst,
            src_port: self.src_port,
            dst_port: self.dst_port,
            protocol: self.protocol,
        }
    }
}

/// Value: the rewrite, whose flow it is, and what has been seen of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<A> {
    /// Packets translated by this entry. Written without a lock: two CPUs at once may lose one.
    pub packets: u64,
    /// Bytes of those packets, from the network header on; as exact as `packets`.
    pub bytes: u64,
    /// The source address to write, if [`flags::SET_SRC`].
    pub src: A,
    /// The destination address to write, if [`flags::SET_DST`].
    pub dst: A,
    /// The source port to write with it, network order.
    pub src_port: Port,
    /// The destination port to write with it, network order.
    pub dst_port: Port,
    /// The backend that was chosen.
    pub backend: u32,
    /// The backend's generation when it was chosen.
    pub generation: u32,
    /// The service the flow belongs to.
    pub service: u32,
    /// When the last packet passed.
    pub seen: Ticks,
    /// Bits of [`flags`]; never change while the entry lives.
    pub flags: u16,
    /// Bits of [`state`].
    pub state: u8,
    /// Always zero.
    pub pad: u8,
}

impl<A: Address> Flow<A> {
    /// `tuple` after this entry's rewrite.
    #[must_use]
    #[inline(always)]
    pub fn rewrite(&self, tuple: Tuple<A>) -> Tuple<A> {
        let mut out = tuple;
        if self.flags & flags::SET_SRC != 0 {
            out.src = self.src;
            out.src_port = self.src_port;
        }
        if self.flags & flags::SET_DST != 0 {
            out.dst = self.dst;
            out.dst_port = self.dst_port;
        }
        out
    }

    /// The key of the entry that translates the answers, where `key` is this entry's own key.
    #[must_use]
    #[inline(always)]
    pub fn partner(&self, key: &FlowKey<A>) -> FlowKey<A> {
        let hook = match (self.flags & flags::FORWARD, key.hook == Hook::Ingress as u8) {
            (0, true) => Hook::Egress,
            _ => Hook::Ingress,
        };
        FlowKey::new(self.rewrite(key.tuple()).reversed(), hook)
    }

    /// Whether this entry translates answers: its packets come from the backend.
    #[must_use]
    #[inline(always)]
    pub fn is_reply(&self) -> bool {
        self.flags & flags::REPLY != 0
    }
}

/// Bits of [`Flow::flags`].
pub mod flags {
    /// Write the source address and port.
    pub const SET_SRC: u16 = 1 << 0;
    /// Write the destination address and port.
    pub const SET_DST: u16 = 1 << 1;
    /// Packets of this entry travel from the backend to the client.
    pub const REPLY: u16 = 1 << 2;
    /// The packet leaves from here, so both directions are seen at ingress (direct mode, XDP).
    pub const FORWARD: u16 = 1 << 3;
}

/// Bits of [`Flow::state`]: what has been seen of the flow so far, in either direction.
pub mod state {
    /// A reply was seen.
    pub const REPLIED: u8 = 1 << 0;
    /// The client sent a FIN.
    pub const CLIENT_FIN: u8 = 1 << 1;
    /// The backend sent a FIN.
    pub const SERVER_FIN: u8 = 1 << 2;
    /// Either side sent a RST.
    pub const RESET: u8 = 1 << 3;
}

assert_layout!(FlowKey<Addr4>, 16, Addr4, Addr4, Port, Port, u8, u8, [u8; 2]);
assert_layout!(FlowKey<Addr6>, 40, Addr6, Addr6, Port, Port, u8, u8, [u8; 2]);
assert_layout!(
    Flow<Addr4>,
    48,
    u64,
    u64,
    Addr4,
    Addr4,
    Port,
    Port,
    u32,
    u32,
    u32,
    Ticks,
    u16,
    u8,
    u8
);
assert_layout!(
    Flow<Addr6>,
    72,
    u64,
    u64,
    Addr6,
    Addr6,
    Port,
    Port,
    u32,
    u32,
    u32,
    Ticks,
    u16,
    u8,
    u8
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::protocol;

    const CLIENT: Addr4 = Addr4::from_octets([10, 1, 0, 2]);
    const VIP: Addr4 = Addr4::from_octets([10, 96, 0, 10]);
    const BACKEND: Addr4 = Addr4::from_octets([10, 1, 0, 3]);

    #[test]
    fn the_partner_of_the_partner_is_the_entry_itself() {
        let dialled = Tuple {
            src: CLIENT,
            dst: VIP,
            src_port: Port::from_host(40_000),
            dst_port: Port::from_host(80),
            protocol: protocol::TCP,
        };
        let request = Flow {
            packets: 0,
            bytes: 0,
            src: CLIENT,
            dst: BACKEND,
            src_port: Port::from_host(0),
            dst_port: Port::from_host(8080),
            backend: 1,
            generation: 1,
            service: 1,
            seen: Ticks(0),
            flags: flags::SET_DST,
            state: 0,
            pad: 0,
        };
        let key = FlowKey::new(dialled, Hook::Ingress);
        let reply_key = request.partner(&key);
        assert_eq!(reply_key.hook, Hook::Egress as u8);
        assert_eq!((reply_key.src, reply_key.dst), (BACKEND, CLIENT));
        let reply = Flow {
            src: VIP,
            src_port: Port::from_host(80),
            flags: flags::SET_SRC | flags::REPLY,
            ..request
        };
        assert_eq!(reply.partner(&reply_key), key);
    }
}
