//! What must be true of every packet, whatever it is and whatever the tables say.

use std::ops::Range;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::decide;
use lb_common::native::{Bytes, MemoryTables};
use lb_common::parse::Link;
use lb_common::verdict::Verdict;

use crate::flows;
use crate::sums::{
    has_internet_sum, header_error, is_crc_right, is_service_protocol, is_unsummed, transport_error,
};
use crate::view::{ICMP, ICMPV6, Part, SCTP, TCP, View, number};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet as it goes on.
    pub bytes: Vec<u8>,
}

/// Tables, and how they may be judged.
#[derive(Debug)]
pub struct Node {
    /// The tables.
    pub tables: MemoryTables,
    /// Whether entries were taken out of the flow table: it need not be whole then.
    pub is_damaged: bool,
}

impl Node {
    /// Sends a packet of a device framed by `link` through `hook`.
    ///
    /// # Panics
    ///
    /// If the datapath panics, or if something is wrong with what it did.
    pub fn send(&self, hook: Hook, link: Link, before: &[u8]) -> Sent {
        let view = View::of(before, link);
        let is_answer = view.as_ref().is_some_and(|it| flows::is_answer(&self.tables, it, hook));
        let mut packet = Bytes(before.to_vec());
        let verdict = match hook {
            Hook::Ingress => decide::ingress(&mut packet, &self.tables, link),
            Hook::Egress => decide::egress(&mut packet, &self.tables, link),
        };
        let after = packet.0;
        match (verdict, &view) {
            (Verdict::Pass, _) => assert_eq!(before, after, "a passed packet has changed"),
            (Verdict::Drop(reason), _) => self.assert_dropped(reason),
            (Verdict::Rewritten, Some(view)) => {
                let new = assert_rewritten(link, view, before, &after);
                if hook == Hook::Ingress && !is_answer && is_service_protocol(view) {
                    self.assert_request(view, &new);
                }
            }
            (Verdict::Reject, Some(view)) => assert_answered(link, view, before, &after),
            (_, None) => panic!("{verdict:?} on what is no packet"),
        }
        if !self.is_damaged {
            flows::assert_answers_are_expected(&self.tables);
        }
        Sent { verdict, bytes: after }
    }

    fn assert_dropped(&self, reason: Counter) {
        assert_ne!(reason, Counter::DropRewrite, "a packet that was read could not be written");
        assert!(self.tables.counters().contains_key(&reason), "{reason:?} was not counted");
    }

    fn assert_request(&self, dialled: &View, inside: &View) {
        flows::assert_backend_serves(&self.tables, dialled, inside);
        if !self.is_damaged {
            flows::assert_answer_is_expected(&self.tables, dialled, inside);
        }
    }
}

/// Panics unless the packet is the same but for addresses, ports and checksums, and these are as right
/// as they were. Returns how it reads now.
fn assert_rewritten(link: Link, old: &View, before: &[u8], after: &[u8]) -> View {
    assert_eq!(before.len(), after.len(), "a rewritten packet has another length");
    let new = View::of(after, link).expect("a rewritten packet can be read");
    assert_same_shape(old, &new);
    let quoted = old.quoted(before);
    let mut may_change = changeable(old);
    may_change.extend(quoted.iter().flat_map(changeable));
    for at in (0..before.len()).filter(|at| before[*at] != after[*at]) {
        assert!(may_change.iter().any(|range| range.contains(&at)), "byte {at} has changed");
    }
    assert_sums_kept(old, before, &new, after);
    if let Some(quoted) = quoted {
        let within = |view: View| View { end: view.end.min(old.end), ..view };
        let new = new.quoted(after).expect("the quoted packet can be read");
        assert_same_shape(&quoted, &new);
        assert_sums_kept(&within(quoted), before, &within(new), after);
    } else if is_whole(before, old) && old.protocol == SCTP && is_crc_right(before, old) {
        // What an error quotes of SCTP keeps the checksum that it had.
        assert!(is_crc_right(after, &new), "the checksum of SCTP");
    }
    new
}

fn assert_same_shape(old: &View, new: &View) {
    let shape = |view: &View| (view.network, view.transport, view.end, view.protocol, view.part);
    assert_eq!(shape(old), shape(new), "a rewritten packet has another shape");
}

fn changeable(view: &View) -> Vec<Range<usize>> {
    let ports = view.ports.map(|_| view.transport..view.transport + 4);
    let sums = view.header_sum().into_iter().chain(view.transport_sum());
    sums.chain(ports).chain([view.addresses()]).collect()
}

fn assert_sums_kept(old: &View, before: &[u8], new: &View, after: &[u8]) {
    assert_eq!(header_error(before, old), header_error(after, new), "the header's checksum");
    if has_internet_sum(before, old) {
        let error = transport_error(before, old);
        assert_eq!(error, transport_error(after, new), "the transport checksum");
        assert!(!is_unsummed(after, new), "a checksum has become none");
    } else if let Some(at) = old.transport_sum().filter(|_| is_unsummed(before, old)) {
        assert_eq!(before[at.clone()], after[at], "a checksum that is none has changed");
    }
}

fn is_whole(bytes: &[u8], view: &View) -> bool {
    view.part == Part::Whole && view.end <= bytes.len()
}

/// Panics unless the packet has become an answer to its sender, all of whose checksums are right.
fn assert_answered(link: Link, old: &View, before: &[u8], after: &[u8]) {
    let new = View::of(after, link).expect("an answer can be read");
    assert_eq!((new.src, new.dst), (old.dst, old.src), "an answer goes back");
    assert_eq!(new.part, Part::Whole);
    if matches!(old.protocol, ICMP | ICMPV6) {
        assert_echoed(old, before, &new, after);
    } else {
        assert_eq!(new.end, after.len(), "an answer is as long as it says");
        assert_eq!(header_error(after, &new), 0, "the header's checksum of an answer");
    }
    if old.network > 0 {
        assert_eq!((&after[..6], &after[6..12]), (&before[6..12], &before[..6]), "link addresses");
        assert_eq!(after[12..new.network], before[12..old.network], "tags and type");
    }
    match old.protocol {
        TCP => assert_reset(old, before, &new, after),
        ICMP | ICMPV6 => {}
        _ => assert_unreachable(old, before, &new, after),
    }
}

/// RFC 9293 §3.10.7.1.
fn assert_reset(old: &View, before: &[u8], new: &View, after: &[u8]) {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    assert_eq!((new.protocol, new.end - new.transport), (TCP, 20));
    assert_eq!(new.ports, old.ports.map(|(src, dst)| (dst, src)));
    assert_eq!(transport_error(after, new), 0, "the checksum of a reset");
    let (asked, told) = (&before[old.transport..], &after[new.transport..]);
    assert_eq!(asked[13] & RST, 0, "a reset was answered");
    let told = (word(told, 4), word(told, 8), told[13]);
    if asked[13] & ACK != 0 {
        assert_eq!(told, (word(asked, 8), 0, RST));
        return;
    }
    let data = old.end.wrapping_sub(old.transport + usize::from(asked[12] >> 4) * 4);
    let flags = u32::from(asked[13] & SYN != 0) + u32::from(asked[13] & FIN != 0);
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
    let next = word(asked, 4).wrapping_add(data as u32).wrapping_add(flags);
    assert_eq!(told, (0, next, RST | ACK));
}

/// RFC 792, RFC 4443 §3.1.
fn assert_unreachable(old: &View, before: &[u8], new: &View, after: &[u8]) {
    let kind = if old.is_v6() { (ICMPV6, 0x0104) } else { (ICMP, 0x0303) };
    assert_eq!((new.protocol, number(after, new.transport)), (kind.0, Some(kind.1)));
    assert_eq!(transport_error(after, new), 0, "the checksum of an ICMP message");
    let quote = &after[new.transport + 8..];
    assert!(quote.len() >= old.transport + 8 - old.network);
    assert_eq!(quote, &before[old.network..old.network + quote.len()], "what is quoted");
}

/// RFC 792, RFC 4443 §4.2. It is the request itself, with its padding, and no more right than that.
fn assert_echoed(old: &View, before: &[u8], new: &View, after: &[u8]) {
    let kinds = if old.is_v6() { (128, 129) } else { (8, 0) };
    assert_eq!((before[old.transport], after[new.transport]), kinds);
    assert_eq!(header_error(before, old), header_error(after, new), "the header's checksum");
    assert_eq!(before[old.transport + 4..], after[new.transport + 4..], "what is echoed");
    assert_eq!(
        transport_error(before, old),
        transport_error(after, new),
        "the checksum of an echo"
    );
}
