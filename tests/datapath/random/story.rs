//! Random stories: who talks to whom at the same time, and in which order they send what.

use std::collections::BTreeSet;

use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_tests::datapath::Framing;
use proptest::prelude::*;
use proptest::sample::select;

use super::world::{BACKEND_PORT, CLIENT_PORTS, FRONTENDS, LOCAL_BACKEND, OTHER_PORT, PORTS};

/// A few clients that share ports, all of one family and protocol, so that they get in each other's
/// way.
#[derive(Clone, Debug)]
pub(super) struct Story {
    /// Bits of [`masquerade`](lb_common::abi::settings::masquerade).
    pub(super) setting: u32,
    pub(super) is_v6: bool,
    pub(super) protocol: u8,
    pub(super) framing: Framing,
    pub(super) options: usize,
    pub(super) talks: Vec<Talk>,
    pub(super) steps: Vec<Step>,
}

/// A client's port and what it dials, both by their numbers in the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Talk {
    pub(super) client: usize,
    pub(super) port: u16,
    pub(super) dialled: usize,
}

/// What happens next. Talks are counted around.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// One side sends a packet of this length.
    Send(usize, Side, Act, usize),
    /// A router tells one side that the other's last packet could not be delivered.
    Fail(usize, Side),
    /// Time goes by.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What a packet is for, as far as its protocol has that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Open,
    Data,
    Fin,
    Reset,
}

pub(super) fn stories() -> impl Strategy<Value = Story> {
    const FRAMINGS: [Framing; 4] =
        [Framing::Ethernet, Framing::Ethernet, Framing::Vlan, Framing::Raw];
    (
        0u32..4,
        any::<bool>(),
        select(&[TCP, TCP, UDP, SCTP][..]),
        select(&FRAMINGS[..]),
        0usize..2,
        talks(),
        prop::collection::vec(steps(), 1..70),
    )
        .prop_map(|(setting, is_v6, protocol, framing, options, talks, steps)| Story {
            setting,
            is_v6,
            protocol,
            framing,
            options,
            talks,
            steps,
        })
}

/// Talks of no more than three clients.
fn talks() -> impl Strategy<Value = Vec<Talk>> {
    let talk = (0usize..3, select(&CLIENT_PORTS[..]), 0usize..6);
    (0usize..6, prop::collection::btree_set(talk, 1..9)).prop_map(|(first, talks)| {
        let talks = talks.into_iter().map(|(client, port, dialled)| Talk {
            // One backend may dial from the port that it listens at. If both did, each other's
            // answers and requests would look the same.
            client: if port == BACKEND_PORT { LOCAL_BACKEND } else { (first + client) % 6 },
            // Nothing is known of a direct connection, not even that its port is in use.
            port: if dialled >= FRONTENDS && PORTS.contains(&port) { OTHER_PORT } else { port },
            dialled,
        });
        talks.collect::<BTreeSet<_>>().into_iter().collect()
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        3 => Just(Act::Open),
        6 => Just(Act::Data),
        2 => Just(Act::Fin),
        1 => Just(Act::Reset),
    ];
    let side = select(&[Side::Client, Side::Server][..]);
    let talk = 0usize..8;
    prop_oneof![
        20 => (talk.clone(), side.clone(), act, 0usize..80)
            .prop_map(|(talk, side, act, length)| Step::Send(talk, side, act, length)),
        3 => (talk, side).prop_map(|(talk, side)| Step::Fail(talk, side)),
        1 => Just(Step::Wait),
    ]
}
