//! What a flow entry knows of its connection, and when it stops counting.
//!
//! The state is a set of events seen in either direction, so merging what two hooks saw is an OR.
//! There is no window tracking, hence nothing can be "invalid" (kube-proxy-behaviour §4.11). SCTP is
//! handled like TCP: the parser reads chunks as flags.

use crate::abi::flow::{Flow, state};
use crate::clock::Ticks;
use crate::net::protocol;
use crate::parse::tcp;

/// Ticks after the last packet in which a flow may still have packets to come. What is said of TCP
/// holds for SCTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of a TCP flow that was never answered.
    pub tcp_unanswered: u32,
    /// Of an established TCP flow.
    pub tcp_established: u32,
    /// Of a TCP flow that one side has closed.
    pub tcp_closing: u32,
    /// Of a TCP flow that both sides have closed: segments may still be repeated (RFC 9293, 2 MSL).
    pub tcp_closed: u32,
    /// Of a TCP flow that one side has reset.
    pub tcp_reset: u32,
    /// Of a UDP flow that was never answered.
    pub udp_unanswered: u32,
    /// Of one that was.
    pub udp_answered: u32,
}

impl Timeouts {
    /// conntrack's, with kube-proxy's for established and half-closed TCP.
    pub const DEFAULT: Self = Self {
        tcp_unanswered: Ticks::in_seconds(60),
        tcp_established: Ticks::in_seconds(24 * 3600),
        tcp_closing: Ticks::in_seconds(3600),
        tcp_closed: Ticks::in_seconds(120),
        tcp_reset: Ticks::in_seconds(10),
        udp_unanswered: Ticks::in_seconds(30),
        udp_answered: Ticks::in_seconds(180),
    };

    #[inline(always)]
    const fn of(&self, protocol: u8, state: u8) -> u32 {
        let replied = state & state::REPLIED != 0;
        match (protocol, replied) {
            (protocol::UDP, true) => self.udp_answered,
            (protocol::UDP, false) => self.udp_unanswered,
            _ if state & state::RESET != 0 => self.tcp_reset,
            _ if is_closed(state) => self.tcp_closed,
            _ if is_closing(state) => self.tcp_closing,
            (_, true) => self.tcp_established,
            (_, false) => self.tcp_unanswered,
        }
    }
}

/// The state after a packet with `tcp_flags` in the direction given by `is_reply`.
#[must_use]
#[inline(always)]
pub fn after(state: u8, is_reply: bool, tcp_flags: u8) -> u8 {
    let mut next = state;
    if is_reply {
        next |= state::REPLIED;
    } else if state & state::REPLIED != 0 && tcp_flags & tcp::SYN == 0 {
        next |= state::CONFIRMED;
    }
    if tcp_flags & tcp::FIN != 0 {
        next |= if is_reply { state::SERVER_FIN } else { state::CLIENT_FIN };
    }
    if tcp_flags & tcp::RST != 0 {
        next |= state::RESET;
    }
    next
}

/// Whether either side has begun to close.
#[must_use]
#[inline(always)]
pub const fn is_closing(state: u8) -> bool {
    state & (state::CLIENT_FIN | state::SERVER_FIN | state::RESET) != 0
}

/// Whether both sides have closed, or one has reset.
#[must_use]
#[inline(always)]
pub const fn is_closed(state: u8) -> bool {
    const BOTH: u8 = state::CLIENT_FIN | state::SERVER_FIN;
    state & state::RESET != 0 || state & BOTH == BOTH
}

/// Whether a flow in this state is worth a place that newer ones ask for: its client is there, and has
/// not ended it.
#[must_use]
#[inline(always)]
pub const fn is_established(state: u8) -> bool {
    state & state::CONFIRMED != 0 && !is_closed(state)
}

/// Whether a packet with these flags asks for a new connection.
#[must_use]
#[inline(always)]
pub fn is_syn(tcp_flags: u8) -> bool {
    tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Whether a packet with these flags belongs to a connection that was there before it.
#[must_use]
#[inline(always)]
pub fn is_begun(protocol: u8, tcp_flags: u8) -> bool {
    protocol != protocol::UDP && !is_syn(tcp_flags)
}

/// Whether a packet with these flags is a reset by somebody who knows nothing of the connection, and
/// only answers a segment with an acknowledgement (RFC 9293 §3.10.7.1).
#[must_use]
#[inline(always)]
pub fn is_bare_reset(tcp_flags: u8) -> bool {
    tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) == tcp::RST
}

/// Whether a packet with these flags accepts a new connection.
#[must_use]
#[inline(always)]
pub fn is_syn_ack(tcp_flags: u8) -> bool {
    tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK
}

/// Whether an answer with these flags, met on a flow in this state, belongs to another connection:
/// one that the client opened to the backend directly, from the port it had used through us.
#[must_use]
#[inline(always)]
pub fn answers_another_connection(state: u8, tcp_flags: u8) -> bool {
    is_closing(state) && is_syn_ack(tcp_flags) || is_closed(state) && tcp_flags & tcp::RST != 0
}

/// Whether the entry has seen no packet for so long at `now` that none will come.
#[must_use]
#[inline(always)]
pub fn is_expired<A>(flow: &Flow<A>, protocol: u8, now: Ticks, timeouts: &Timeouts) -> bool {
    const IN_THE_FUTURE: u32 = 1 << 31;
    let age = now.since(flow.seen);
    // Another CPU, or the kernel while we look, may have seen a packet after `now`.
    age > timeouts.of(protocol, flow.state) && age < IN_THE_FUTURE
}

/// Whether the flow at `now` keeps others from its place.
#[must_use]
#[inline(always)]
pub fn is_live<A>(flow: &Flow<A>, protocol: u8, now: Ticks) -> bool {
    let is_closed = protocol != protocol::UDP && is_closed(flow.state);
    !is_closed && !is_expired(flow, protocol, now, &Timeouts::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Addr4, Port};

    #[track_caller]
    fn check(events: &[(bool, u8)], closing: bool, closed: bool) {
        let state = events.iter().fold(0, |s, (reply, flags)| after(s, *reply, *flags));
        assert_eq!((is_closing(state), is_closed(state)), (closing, closed));
    }

    const CLIENT: bool = false;
    const SERVER: bool = true;

    #[test]
    fn a_handshake_closes_nothing() {
        check(
            &[(CLIENT, tcp::SYN), (SERVER, tcp::SYN | tcp::ACK), (CLIENT, tcp::ACK)],
            false,
            false,
        );
    }

    #[test]
    fn one_fin_closes_half() {
        check(&[(CLIENT, tcp::FIN | tcp::ACK)], true, false);
        check(&[(SERVER, tcp::FIN | tcp::ACK), (SERVER, tcp::FIN | tcp::ACK)], true, false);
    }

    #[test]
    fn two_fins_or_a_reset_close() {
        check(&[(CLIENT, tcp::FIN), (SERVER, tcp::FIN)], true, true);
        check(&[(SERVER, tcp::RST)], true, true);
        check(&[(CLIENT, tcp::RST | tcp::ACK)], true, true);
    }

    #[track_caller]
    fn check_established(events: &[(bool, u8)], expected: bool) {
        let state = events.iter().fold(0, |s, (reply, flags)| after(s, *reply, *flags));
        assert_eq!(is_established(state), expected, "{events:?}");
    }

    #[test]
    fn a_flow_is_established_once_its_client_was_heard_after_an_answer_until_it_is_closed() {
        let (syn, answer) = ((CLIENT, tcp::SYN), (SERVER, tcp::SYN | tcp::ACK));
        let (datagram, reply) = ((CLIENT, 0), (SERVER, 0));
        check_established(&[syn], false);
        check_established(&[syn, syn, answer], false);
        check_established(&[syn, answer, syn], false);
        check_established(&[syn, answer, (CLIENT, tcp::ACK)], true);
        check_established(&[datagram, datagram, reply], false);
        check_established(&[datagram, reply, datagram], true);
        check_established(&[syn, answer, (CLIENT, tcp::FIN)], true);
        check_established(&[syn, answer, (CLIENT, tcp::FIN), (SERVER, tcp::FIN)], false);
        check_established(&[syn, answer, (CLIENT, tcp::ACK), (SERVER, tcp::RST)], false);
    }

    #[test]
    fn an_answer_on_a_live_flow_is_never_anothers() {
        assert!(!answers_another_connection(state::REPLIED, tcp::SYN | tcp::ACK));
        assert!(!answers_another_connection(state::SERVER_FIN, tcp::RST));
    }

    #[test]
    fn the_last_acknowledgement_of_a_closed_flow_is_still_its_own() {
        let closed = state::CLIENT_FIN | state::SERVER_FIN;
        assert!(!answers_another_connection(closed, tcp::ACK));
        assert!(!answers_another_connection(closed, tcp::FIN | tcp::ACK));
        assert!(answers_another_connection(closed, tcp::SYN | tcp::ACK));
    }

    #[track_caller]
    fn check_lasts(protocol: u8, state: u8, seconds: u32) {
        let seen = Ticks(1_000_000);
        let flow = flow(state, seen);
        let lasts = Ticks::in_seconds(seconds);
        let expires = |age: u32| {
            is_expired(&flow, protocol, Ticks(seen.0.wrapping_add(age)), &Timeouts::DEFAULT)
        };
        let ages = [0, lasts, lasts + 1, u32::MAX];
        assert_eq!(ages.map(expires), [false, false, true, false], "{seconds} s");
    }

    fn flow(state: u8, seen: Ticks) -> Flow<Addr4> {
        Flow {
            packets: 1,
            bytes: 60,
            src: Addr4::default(),
            dst: Addr4::default(),
            src_port: Port::default(),
            dst_port: Port::default(),
            backend: 1,
            generation: 1,
            service: 1,
            seen,
            flags: 0,
            state,
            opening: 0,
        }
    }

    #[test]
    fn a_flow_lasts_as_long_as_its_state_says_and_one_seen_later_than_now_is_young() {
        let both = state::CLIENT_FIN | state::SERVER_FIN;
        for (state, seconds) in [
            (0, 60),
            (state::REPLIED, 86_400),
            (state::REPLIED | state::CLIENT_FIN, 3600),
            (state::SERVER_FIN, 3600),
            (state::REPLIED | both, 120),
            (state::REPLIED | state::RESET, 10),
            (both | state::RESET, 10),
        ] {
            check_lasts(protocol::TCP, state, seconds);
            check_lasts(protocol::SCTP, state, seconds);
        }
        check_lasts(protocol::UDP, 0, 30);
        check_lasts(protocol::UDP, state::REPLIED, 180);
    }

    #[test]
    fn a_closed_flow_gives_up_its_place_before_it_expires() {
        let (closed, now) = (state::CLIENT_FIN | state::SERVER_FIN, Ticks(9));
        assert!(!is_live(&flow(closed, now), protocol::TCP, now));
        assert!(is_live(&flow(closed, now), protocol::UDP, now));
        assert!(is_live(&flow(state::CLIENT_FIN, now), protocol::TCP, now));
        assert!(!is_live(&flow(0, Ticks(0)), protocol::TCP, Ticks(90)));
    }
}
