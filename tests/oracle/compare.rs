//! The oracle's answer against what becomes of packets.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::parse::tcp::SYN;
use lb_tests::datapath::{Framing, Packet as Frame, Transport};
use lb_tests::oracle::{Answer, Cluster, Packet, Protocol, claims, decide};
use lb_tests::truth::{Fate, Fates};

use crate::execute::Execution;

/// A list of six is missed by so many packets once in 10^15 times.
const PATIENCE: u16 = 200;
/// Packets that follow when all is seen that is to be seen: is there more?
const MORE: usize = 4;
const FIRST_PORT: u16 = 40_000;

/// An execution does not do what the oracle says.
pub(crate) struct Disagreement {
    pub(crate) expected: Fates,
    pub(crate) seen: Fates,
}

/// Sends first packets like `packet` from many ports until `execution` has done all that the oracle
/// says, or something else.
pub(crate) fn compare(
    cluster: &Cluster,
    packet: &Packet,
    execution: &mut impl Execution,
) -> Result<(), Disagreement> {
    let expected = fates(&decide(cluster, packet));
    let sticks = sticks(cluster, packet);
    let (mut seen, mut after) = (BTreeSet::new(), 0);
    for port in (FIRST_PORT..).take(PATIENCE.into()) {
        let fate = execution.send(&frame(packet, port));
        seen.insert(fate);
        if !expected.contains(&fate) {
            break;
        }
        if sticks || seen == expected {
            after += 1;
        }
        if after > MORE {
            return Ok(());
        }
    }
    Err(Disagreement { expected: Fates(expected), seen: Fates(seen) })
}

/// Whether a client stays where it was sent first. The oracle does not know where.
fn sticks(cluster: &Cluster, packet: &Packet) -> bool {
    let mut claims = claims(cluster).into_iter();
    claims.any(|it| {
        SocketAddr::new(it.address, it.number) == packet.destination && it.service.has_affinity
    })
}

fn fates(answer: &Answer) -> BTreeSet<Fate> {
    match answer {
        Answer::Reject => [Fate::Rejected].into(),
        Answer::Drop => [Fate::Dropped].into(),
        Answer::NotHandled => [Fate::Unhandled].into(),
        Answer::Reaches(endpoints) => {
            let fate = |(endpoint, masqueraded): (&SocketAddr, &bool)| Fate::Reaches {
                endpoint: *endpoint,
                masqueraded: *masqueraded,
            };
            endpoints.iter().map(fate).collect()
        }
    }
}

fn frame(packet: &Packet, port: u16) -> Vec<u8> {
    Frame {
        src: SocketAddr::new(packet.source, port),
        dst: packet.destination,
        transport: match packet.protocol {
            Protocol::Tcp => Transport::Tcp(SYN),
            Protocol::Udp | Protocol::Sctp => Transport::Udp,
        },
        payload: Vec::new(),
        framing: Framing::Ethernet,
        options: 0,
        sequence: 1000,
    }
    .bytes()
}
