//! `EVENTS` and `LISTENER`: what the programs tell `waggle trace`, while it listens.
//!
//! An event is told where something is decided or counted, never for a packet that follows its flow
//! or that is nobody's. Without a listener nothing is written.

use super::assert_layout;
use crate::clock::Ticks;
use crate::net::{Addr6, Port};

/// A record of the ring buffer `EVENTS`: one packet, and what was counted for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The packet's source as it came. Of an IPv4 address these are the first four bytes; the rest is
    /// zero, as are all addresses and ports of a packet whose headers cannot be read.
    pub src: Addr6,
    /// Its destination as it came, so what was dialled by one that enters. Fragments whose ports are
    /// not known have none.
    pub dst: Addr6,
    /// Its source after the translation, so this node's of a masqueraded flow.
    pub new_src: Addr6,
    /// Its destination after the translation, so the backend of a new flow.
    pub new_dst: Addr6,
    /// The source port, network order.
    pub src_port: Port,
    /// The destination port, network order.
    pub dst_port: Port,
    /// The port of `new_src`, network order.
    pub new_src_port: Port,
    /// The port of `new_dst`, network order.
    pub new_dst_port: Port,
    /// A [`Counter`](super::counter::Counter) as a number.
    pub counter: u32,
    /// The service that is dialled or that the flow belongs to; 0 if there is none.
    pub service: u32,
    /// The interface that the packet came by, or was to leave by.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number; 0 if the packet's headers cannot be read.
    pub protocol: u8,
    /// A [`Hook`](super::flow::Hook) as a number.
    pub hook: u8,
    /// Bits of [`tcp`](crate::parse::tcp).
    pub tcp_flags: u8,
}

/// The one element of `LISTENER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// The last tick in which somebody listens, who puts it off again and again: one who was killed is
    /// told nothing for long. Zero if nobody does.
    pub until: Ticks,
    /// The process that listens, or did last.
    pub pid: u32,
}

impl Listener {
    /// Whether somebody listens; the time is asked for only if somebody ever did.
    #[inline(always)]
    pub fn listens(&self, now: impl FnOnce() -> Ticks) -> bool {
        self.until != Ticks(0) && now() <= self.until
    }
}

assert_layout!(
    Event, 96, u64, Addr6, Addr6, Addr6, Addr6, Port, Port, Port, Port, u32, u32, u32, u8, u8, u8,
    u8
);
assert_layout!(Listener, 8, Ticks, u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(until: u32, now: u32, expected: bool) {
        assert_eq!(Listener { until: Ticks(until), pid: 1 }.listens(|| Ticks(now)), expected);
    }

    #[test]
    fn somebody_listens_until_the_end_of_a_tick_and_nobody_at_zero() {
        check(7, 6, true);
        check(7, 7, true);
        check(7, 8, false);
        check(0, 0, false);
    }
}
