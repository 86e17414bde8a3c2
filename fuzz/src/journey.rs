//! From a client to a backend and back: the answer is the backend's, from what was dialled.

use std::ops::Range;

use lb_common::abi::flow::Hook;
use lb_common::parse::Link;
use lb_common::verdict::Verdict;

use crate::builders::icmp::icmp;
use crate::check::Node;
use crate::flows;
use crate::sums::{complete, is_service_protocol, is_unsummed};
use crate::view::{Part, SCTP, TCP, UDP, View};

/// A TCP segment that only acknowledges.
pub const ACK: u8 = 0x10;

/// Lets `inside`, which `dialled` has become where it entered the node, go on to its backend, and the
/// backend answer.
///
/// # Panics
///
/// If the client does not get its answer from where it dialled.
pub fn there_and_back(node: &Node, link: Link, dialled: &[u8], inside: &[u8]) {
    let Some(request) = View::of(dialled, link) else { return };
    let is_whole = request.part == Part::Whole && is_service_protocol(&request);
    if !is_whole || flows::is_sender_ambiguous(&node.tables, &request) {
        return;
    }
    let out = node.send(Hook::Egress, link, inside);
    if matches!(out.verdict, Verdict::Drop(_)) {
        return;
    }
    let Some(answer) = turned(&out.bytes, link, ACK) else { return };
    let answer = node.send(Hook::Ingress, link, &answer);
    assert!(matches!(answer.verdict, Verdict::Pass | Verdict::Rewritten), "{answer:?}");
    let answer = node.send(Hook::Egress, link, &answer.bytes);
    if node.is_damaged {
        return;
    }
    assert_eq!(answer.verdict, Verdict::Rewritten, "an answer was left as it was: {request:?}");
    let answer = View::of(&answer.bytes, link).expect("a rewritten packet can be read");
    assert_eq!((answer.src, answer.dst), (request.dst, request.src));
    assert_eq!(answer.ports, request.ports.map(|(src, dst)| (dst, src)));
    error_comes_back(node, link, &request, &out.bytes, 8);
    error_comes_back(node, link, &request, &out.bytes, usize::MAX);
}

/// Lets the backend send an error about the request, as which it got `out`, with no more than `quote`
/// bytes from the transport header on.
fn error_comes_back(node: &Node, link: Link, request: &View, out: &[u8], quote: usize) {
    let view = View::of(out, link).expect("a request can be read");
    let end = view.transport.saturating_add(quote).min(view.end).min(out.len());
    let too_big = if view.is_v6() { [2, 0] } else { [3, 4] };
    let (from, to) = (view.dst.to_string(), view.src.to_string());
    let mut error = icmp(&from, &to, too_big, [0, 0, 5, 0], &out[view.network..end]);
    if link == Link::Raw {
        error.drain(..14);
    }
    let error = node.send(Hook::Ingress, link, &error);
    let error = node.send(Hook::Egress, link, &error.bytes);
    assert_eq!(error.verdict, Verdict::Rewritten, "an error was left as it was: {request:?}");
    let view = View::of(&error.bytes, link).expect("a rewritten packet can be read");
    let quoted = view.quoted(&error.bytes).expect("an error quotes");
    assert_eq!((view.src, view.dst), (request.dst, request.src));
    assert_eq!((quoted.src, quoted.dst, quoted.ports), (request.src, request.dst, request.ports));
}

/// The packet that answers a whole packet of one of the services' protocols. `flags` are those of the
/// TCP segment; for SCTP they choose the type of the first chunk.
#[must_use]
pub fn turned(packet: &[u8], link: Link, flags: u8) -> Option<Vec<u8>> {
    let view = View::of(packet, link)?;
    view.ports?;
    let mut answer = packet.to_vec();
    let addresses = view.addresses();
    let middle = addresses.start + addresses.len() / 2;
    swap(&mut answer, addresses.start..middle, middle);
    swap(&mut answer, view.transport..view.transport + 2, view.transport + 2);
    match view.protocol {
        TCP => *answer.get_mut(view.transport + 13)? = flags,
        SCTP => *answer.get_mut(view.transport + 12)? = flags & 0xf,
        _ => {}
    }
    let is_unsummed = is_unsummed(packet, &view);
    let view = View::of(&answer, link)?;
    if !(is_unsummed && view.protocol == UDP) {
        complete(&mut answer, &view);
    }
    Some(answer)
}

/// Exchanges the bytes of `range` with as many from `other` on.
fn swap(bytes: &mut [u8], range: Range<usize>, other: usize) {
    for (a, b) in range.zip(other..) {
        bytes.swap(a, b);
    }
}
