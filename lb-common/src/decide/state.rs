//! What a flow entry knows of its connection, and when it stops counting.
//!
//! The state is a set of events seen in either direction, so merging what two hooks saw is an OR.
//! There is no window tracking, hence nothing can be "invalid" (kube-proxy-behaviour §4.11). SCTP is
//! handled like TCP: the parser reads chunks as flags.

use crate::abi::flow::{Flow, state};
use crate::clock::Ticks;
use crate::net::protocol;
use crate::parse::tcp;

/// Ticks after which a TCP flow that was never answered is dead.
const TCP_UNANSWERED: u32 = Ticks::in_seconds(60);
/// Ticks after which an established TCP flow is dead: conntrack's and kube-proxy's 24 h.
const TCP_ESTABLISHED: u32 = Ticks::in_seconds(24 * 3600);
/// Ticks after which a half-closed TCP flow is dead: kube-proxy's 1 h.
const TCP_CLOSING: u32 = Ticks::in_seconds(3600);
/// Ticks after which a UDP flow that was never answered is dead.
const UDP_UNANSWERED: u32 = Ticks::in_seconds(30);
/// Ticks after which a UDP flow is dead.
const UDP_ANSWERED: u32 = Ticks::in_seconds(180);

/// The state after a packet with `tcp_flags` in the direction given by `is_reply`.
#[must_use]
#[inline(always)]
pub fn after(state: u8, is_reply: bool, tcp_flags: u8) -> u8 {
    let mut next = state;
    if is_reply {
        next |= state::REPLIED;
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
pub fn is_closing(state: u8) -> bool {
    state & (state::CLIENT_FIN | state::SERVER_FIN | state::RESET) != 0
}

/// Whether both sides have closed, or one has reset.
#[must_use]
#[inline(always)]
pub fn is_closed(state: u8) -> bool {
    const BOTH: u8 = state::CLIENT_FIN | state::SERVER_FIN;
    state & state::RESET != 0 || state & BOTH == BOTH
}

/// Whether a packet with these flags asks for a new connection.
#[must_use]
#[inline(always)]
pub fn is_syn(tcp_flags: u8) -> bool {
    tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
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

/// Whether the flow may still have packets to come at `now`.
#[must_use]
#[inline(always)]
pub fn is_live<A>(flow: &Flow<A>, protocol: u8, now: Ticks) -> bool {
    let replied = flow.state & state::REPLIED != 0;
    let timeout = match (protocol, replied) {
        (protocol::UDP, true) => UDP_ANSWERED,
        (protocol::UDP, false) => UDP_UNANSWERED,
        _ if is_closed(flow.state) => return false,
        _ if is_closing(flow.state) => TCP_CLOSING,
        (_, true) => TCP_ESTABLISHED,
        (_, false) => TCP_UNANSWERED,
    };
    now.since(flow.seen) <= timeout
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
