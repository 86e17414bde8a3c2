//! `FLOWS_*`: the match-action cache that is the datapath (design §3.2).
//!
//! An entry says what to do with the packets of one direction of one flow at one hook.

use super::assert_layout;
use crate::clock::Ticks;
use crate::mix::mix;
use crate::net::{Addr4, Addr6, Address, Family, Port};

/// Where a packet is seen, from the node's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// It enters the node.
    Ingress = 1,
    /// It leaves the node.
    Egress = 2,
}

/// Key: who talks to whom, as the packet says before the rewrite, and at which hook it is seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Zero wherever it is a key, for the kernel hashes every byte. In `PROBATION_*`, where it is a value,
    /// a mark of the flow.
    pub pad: [u8; 2],
}

impl<A: Address> FlowKey<A> {
    /// The tuple of the answer, at `hook`.
    #[must_use]
    #[inline(always)]
    pub fn reversed(&self, hook: Hook) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
            hook: hook as u8,
            pad: [0; 2],
        }
    }

    /// Makes `other` the tuple of the answer, at `hook`, in place.
    #[inline(always)]
    pub fn put_reversed(&self, hook: Hook, other: &mut Self) {
        other.src = self.dst;
        other.dst = self.src;
        other.src_port = self.dst_port;
        other.dst_port = self.src_port;
        other.protocol = self.protocol;
        other.hook = hook as u8;
        other.pad = [0; 2];
    }

    /// A hash over the tuple, the same on every node and in every run.
    ///
    /// Rounds of [`mix`].
    #[must_use]
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        let (s, d) = (self.src.words(), self.dst.words());
        let ports = u64::from(self.src_port.word()) << 16 | u64::from(self.dst_port.word());
        let mut h = mix(pair(s[0], d[0]) ^ 0x9e37_79b9_7f4a_7c15);
        if A::FAMILY == Family::V6 {
            h = mix(h ^ pair(s[1], d[1]));
            h = mix(h ^ pair(s[2], d[2]));
            h = mix(h ^ pair(s[3], d[3]));
        }
        (mix(h ^ (ports << 8) ^ u64::from(self.protocol)) >> 32) as u32
    }
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Value: the rewrite, whose flow it is, and what has been seen of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow<A> {
    /// Packets translated by this entry. Written without a lock: two CPUs at once may lose one.
    pub packets: u64,
    /// Bytes of those packets, from the network header on; as exact as `packets`.
    pub bytes: u64,
    /// The source address to write, if [`flags::SET_SRC`]. A leg's field that is not written holds
    /// what the client dialled.
    pub src: A,
    /// The destination address to write, if [`flags::SET_DST`]; else as with `src`.
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
    /// Of the packet that opened the flow: see [`Headers::opening`](crate::parse::Headers::opening).
    pub opening: u8,
}

impl<A: Address> Flow<A> {
    /// Makes `other` the other direction's entry, at [`partner`](Self::partner), where `key` is this
    /// entry's own key: it writes back what this one overwrites. No packet has met it yet.
    #[inline(always)]
    pub fn mirror(&self, key: &FlowKey<A>, other: &mut Self) {
        *other = *self;
        other.packets = 0;
        other.bytes = 0;
        other.src = self.dst;
        other.src_port = self.dst_port;
        other.dst = self.src;
        other.dst_port = self.src_port;
        other.flags = (self.flags & !(flags::SET_SRC | flags::SET_DST)) ^ flags::REPLY;
        if self.flags & flags::SET_DST != 0 {
            other.flags |= flags::SET_SRC;
            other.src = key.dst;
            other.src_port = key.dst_port;
        }
        if self.flags & flags::SET_SRC != 0 {
            other.flags |= flags::SET_DST;
            other.dst = key.src;
            other.dst_port = key.src_port;
        }
    }

    /// Puts this entry's rewrite into `key`.
    #[inline(always)]
    pub fn rewrite(&self, key: &mut FlowKey<A>) {
        if self.flags & flags::SET_SRC != 0 {
            key.src = self.src;
            key.src_port = self.src_port;
        }
        if self.flags & flags::SET_DST != 0 {
            key.dst = self.dst;
            key.dst_port = self.dst_port;
        }
    }

    /// The key of the entry that translates the answers, where `key` is this entry's own key.
    #[must_use]
    #[inline(always)]
    pub fn partner(&self, key: &FlowKey<A>) -> FlowKey<A> {
        let mut partner = *key;
        self.put_partner(key, &mut partner);
        partner
    }

    /// Makes `partner` the key of the entry that translates the answers, in place: a value returned
    /// would lie on the stack of a program first.
    #[inline(always)]
    pub fn put_partner(&self, key: &FlowKey<A>, partner: &mut FlowKey<A>) {
        partner.src = key.dst;
        partner.dst = key.src;
        partner.src_port = key.dst_port;
        partner.dst_port = key.src_port;
        partner.protocol = key.protocol;
        partner.pad = [0; 2];
        partner.hook = match (self.flags & flags::FORWARD, key.hook == Hook::Ingress as u8) {
            (0, true) => Hook::Egress as u8,
            _ => Hook::Ingress as u8,
        };
        if self.flags & flags::SET_DST != 0 {
            partner.src = self.dst;
            partner.src_port = self.dst_port;
        }
        if self.flags & flags::SET_SRC != 0 {
            partner.dst = self.src;
            partner.dst_port = self.src_port;
        }
    }

    /// Whether the entry at `other` may be this one's partner, where `key` is this entry's own key: its
    /// packets become answers to those of this one.
    #[must_use]
    #[inline(always)]
    pub fn answers(&self, key: &FlowKey<A>, other: &FlowKey<A>) -> bool {
        let is_source = if self.flags & flags::SET_DST != 0 {
            self.dst_port == other.src_port && self.dst == other.src
        } else {
            key.dst_port == other.src_port && key.dst == other.src
        };
        is_source
            && if self.flags & flags::SET_SRC != 0 {
                self.src_port == other.dst_port && self.src == other.dst
            } else {
                key.src_port == other.dst_port && key.src == other.dst
            }
    }

    /// Whether this entry rewrites anything.
    #[must_use]
    #[inline(always)]
    pub fn writes(&self) -> bool {
        self.flags & (flags::SET_SRC | flags::SET_DST) != 0
    }

    /// Whether this entry makes the same of a packet as `other` does.
    #[must_use]
    #[inline(always)]
    pub fn writes_like(&self, other: &Self) -> bool {
        self.src == other.src
            && self.dst == other.dst
            && self.src_port == other.src_port
            && self.dst_port == other.dst_port
    }

    /// Whether this entry belongs to the backend's side of a flow: between it and this node.
    #[must_use]
    #[inline(always)]
    pub fn is_leg(&self) -> bool {
        self.flags & flags::LEG != 0
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
    /// The backend must see an address of this node instead of the client's: decided here, done by
    /// an entry at the egress hook.
    pub const MASQUERADE: u16 = 1 << 4;
    /// The packet is between this node and the backend: requests leave, answers come. Its state is
    /// told by the entries at the client's side, which alone decide.
    pub const LEG: u16 = 1 << 5;
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
    /// The client was heard again after a reply: it is there, and not only somebody who uses its
    /// address. Of TCP and SCTP, anything but the request for a connection counts.
    pub const CONFIRMED: u8 = 1 << 4;
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

    const VIP: Addr4 = Addr4::from_octets([10, 96, 0, 10]);
    const BACKEND: Addr4 = Addr4::from_octets([10, 1, 0, 3]);

    fn dialled(client: u8, port: u16) -> FlowKey<Addr4> {
        FlowKey {
            src: Addr4::from_octets([10, 1, 0, client]),
            dst: VIP,
            src_port: Port::from_host(port),
            dst_port: Port::from_host(80),
            protocol: protocol::TCP,
            hook: Hook::Ingress as u8,
            pad: [0; 2],
        }
    }

    #[test]
    fn consecutive_ports_and_addresses_spread_evenly_over_ten_slots() {
        let mut shares = [0u32; 10];
        for client in 1..=100 {
            for port in 0..100 {
                let hash = dialled(client, 32_768 + port).hash();
                shares[usize::try_from((u64::from(hash) * 10) >> 32).unwrap()] += 1;
            }
        }
        assert!(shares.iter().all(|share| (880..=1120).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_answer_of_the_answer_is_the_question() {
        let key = dialled(1, 2);
        assert_eq!(key.reversed(Hook::Egress).reversed(Hook::Ingress), key);
        assert_ne!(key.reversed(Hook::Ingress), key);
    }

    #[test]
    fn the_partner_of_the_partner_is_the_entry_itself() {
        let key = dialled(2, 40_000);
        let request = Flow {
            packets: 0,
            bytes: 0,
            src: key.src,
            dst: BACKEND,
            src_port: key.src_port,
            dst_port: Port::from_host(8080),
            backend: 1,
            generation: 1,
            service: 1,
            seen: Ticks(0),
            flags: flags::SET_DST,
            state: 0,
            opening: 0,
        };
        let reply_key = request.partner(&key);
        assert_eq!(reply_key.hook, Hook::Egress as u8);
        assert_eq!((reply_key.src, reply_key.dst), (BACKEND, key.src));
        let reply = Flow {
            src: VIP,
            src_port: Port::from_host(80),
            flags: flags::SET_SRC | flags::REPLY,
            ..request
        };
        assert_eq!(reply.partner(&reply_key), key);
    }
}
