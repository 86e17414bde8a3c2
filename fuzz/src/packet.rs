//! Any bytes as a packet, behind flows that live, are closing or have been forgotten by time.
//!
//! Input: a byte for the world, a byte for hook, link and earlier flows; the rest is the packet.

use lb_common::abi::flow::Hook;
use lb_common::clock::Ticks;
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, RST, SYN};
use lb_common::verdict::Verdict;

use crate::builders::packet::{Packet, tcp, udp};
use crate::check::Node;
use crate::choices::Choices;
use crate::journey::{self, turned};
use crate::world::{self, Names, at};

/// Bits of the second byte of an input.
mod bits {
    pub(super) const EGRESS: u8 = 1;
    pub(super) const RAW: u8 = 2;
    pub(super) const FLOWS: u8 = 4;
    pub(super) const CLOSED: u8 = 8;
    pub(super) const OLD: u8 = 16;
}

/// Decides on one packet and on what follows from it.
///
/// # Panics
///
/// If something is wrong with what the datapath did.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (tables, names) = world::chosen(&mut choices);
    let node = Node { tables, is_damaged: false };
    let bits = choices.byte();
    if bits & bits::FLOWS != 0 {
        earlier_flows(&node, names, bits & bits::CLOSED != 0);
    }
    if bits & bits::OLD != 0 {
        node.tables.now.set(Ticks(Ticks::in_seconds(100_000)));
    }
    let hook = if bits & bits::EGRESS == 0 { Hook::Ingress } else { Hook::Egress };
    let link = if bits & bits::RAW == 0 { Link::Ethernet } else { Link::Raw };
    let packet = choices.rest();
    let sent = node.send(hook, link, packet);
    assert_eq!(sent, node.send(hook, link, packet), "the same packet was treated otherwise");
    if (hook, sent.verdict) == (Hook::Ingress, Verdict::Rewritten) {
        journey::there_and_back(&node, link, packet, &sent.bytes);
    }
}

/// Lets a pod dial TCP and UDP services, somebody outside a node port, and all have answers.
fn earlier_flows(node: &Node, names: &Names, closed: bool) {
    for request in requests(names) {
        let inside = node.send(Hook::Ingress, Link::Ethernet, &request.bytes()).bytes;
        let flags = if closed { RST | ACK } else { SYN | ACK };
        let answer = turned(&inside, Link::Ethernet, flags).expect("a service's packet");
        let _ = node.send(Hook::Egress, Link::Ethernet, &answer);
    }
}

fn requests(names: &Names) -> [Packet; 3] {
    let client = at(names.pod, 40_000);
    [
        tcp(&client, &at(names.vip, 80), SYN),
        udp(&client, &at(names.vip, 53)),
        tcp(&at(names.outside, 40_000), &at(names.node, 30080), SYN),
    ]
}
