//! What is measured, and how much it may cost.

use std::ops::RangeInclusive;

use lb_common::net::Family;

use crate::frame::{Party, Segment};
use crate::kernel::Kind;

/// One line of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Name for people.
    pub(crate) name: &'static str,
    /// The most it may cost, in hits of an `LRU_HASH`.
    pub(crate) goal: f64,
    /// What a packet meets, one hook after the other.
    pub(crate) hops: &'static [Traffic],
}

/// Which packets are sent through which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Requests of this many flows that are known.
    Established(u32),
    /// Requests of a flow that is known, to a service with session affinity.
    Sticky,
    /// Answers to this many flows that are known.
    Reply(u32),
    /// Packets of a masqueraded flow that is known.
    Masqueraded(Hop),
    /// Requests of flows never seen before, with room in the flow table.
    New,
    /// The same with a full flow table.
    NewWhenFull,
    /// Requests of flows never seen before, which are to be masqueraded.
    NewMasqueraded,
    /// The same requests where they leave.
    NewLeg,
    /// Packets to nobody's frontend, entering the node.
    BystanderIn,
    /// The same, leaving it.
    BystanderOut,
}

/// Where a packet of a masqueraded flow is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// A request enters the node.
    RequestIn,
    /// A request leaves the node.
    RequestOut,
    /// An answer enters the node.
    AnswerIn,
    /// An answer leaves the node.
    AnswerOut,
}

/// How many entries the flow table holds, in every scenario: costs with different sizes, which fit
/// into different caches, could not be compared.
pub(crate) const FLOW_CAPACITY: u32 = 512 * 1024;

/// Nanoseconds of a hit with its loop where the goals were set. Where it takes another time, calls
/// and memory cost other multiples of it, and a goal that is met or missed says little.
pub(crate) const GOALS_REFERENCE_NS: RangeInclusive<f64> = 14.0..=25.0;

/// Everything that is measured: the goals of the design for TC.
pub(crate) const ALL: [Scenario; 13] = [
    scenario("established, 1 flow", 5.0, &[Traffic::Established(1)]),
    scenario("established, 1,000 flows", 6.0, &[Traffic::Established(1_000)]),
    scenario("established, 100,000 flows", 12.0, &[Traffic::Established(100_000)]),
    scenario("established, session affinity", 5.0, &[Traffic::Sticky]),
    scenario(
        "established, masqueraded",
        9.0,
        &[Traffic::Masqueraded(Hop::RequestIn), Traffic::Masqueraded(Hop::RequestOut)],
    ),
    scenario("new flow", 45.0, &[Traffic::New]),
    scenario("new flow, table full", 60.0, &[Traffic::NewWhenFull]),
    scenario("new flow, masqueraded", 90.0, &[Traffic::NewMasqueraded, Traffic::NewLeg]),
    scenario("reply, 1 flow", 5.0, &[Traffic::Reply(1)]),
    scenario("reply, 100,000 flows", 12.0, &[Traffic::Reply(100_000)]),
    scenario(
        "reply, masqueraded",
        9.0,
        &[Traffic::Masqueraded(Hop::AnswerIn), Traffic::Masqueraded(Hop::AnswerOut)],
    ),
    scenario("bystander in", 3.0, &[Traffic::BystanderIn]),
    scenario("bystander out", 3.0, &[Traffic::BystanderOut]),
];

const fn scenario(name: &'static str, goal: f64, hops: &'static [Traffic]) -> Scenario {
    Scenario { name, goal, hops }
}

/// A packet before and after the program under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Party,
    pub(crate) to: Party,
    pub(crate) segment: Segment,
    /// The sender it leaves with.
    pub(crate) new_from: Party,
    /// The receiver it leaves with.
    pub(crate) new_to: Party,
}

impl Traffic {
    /// The program under test.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Reply(_)
            | Self::BystanderOut
            | Self::NewLeg
            | Self::Masqueraded(Hop::RequestOut | Hop::AnswerOut) => "lb_tc_egress",
            _ => "lb_tc_ingress",
        }
    }

    /// The service that the packets are for.
    pub(crate) fn service(self) -> Kind {
        match self {
            Self::Sticky => Kind::Sticky,
            Self::Masqueraded(_) | Self::NewMasqueraded | Self::NewLeg => Kind::Masqueraded,
            _ => Kind::Plain,
        }
    }

    /// The packets that make the flows known, one of each flow.
    pub(crate) fn opening(self) -> Vec<Self> {
        match self {
            Self::Established(flows) | Self::Reply(flows) => {
                vec![Self::Established(flows), Self::Reply(flows)]
            }
            Self::Sticky => vec![Self::Sticky, Self::Reply(1)],
            Self::Masqueraded(_) => {
                [Hop::RequestIn, Hop::RequestOut, Hop::AnswerIn, Hop::AnswerOut]
                    .map(Self::Masqueraded)
                    .to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// The packet of flow 0.
    pub(crate) fn packet(self, family: Family) -> Packet {
        let client = Party::client(family);
        let frontend = Party::frontend(family);
        let backend = Party::backend(family);
        let stranger = Party::stranger(family);
        let node = Party::node(family);
        let (from, to, new_from, new_to) = match self {
            Self::Established(_)
            | Self::Sticky
            | Self::New
            | Self::NewWhenFull
            | Self::NewMasqueraded
            | Self::Masqueraded(Hop::RequestIn) => (client, frontend, client, backend),
            Self::NewLeg | Self::Masqueraded(Hop::RequestOut) => (client, backend, node, backend),
            Self::Masqueraded(Hop::AnswerIn) => (backend, node, backend, client),
            Self::Reply(_) | Self::Masqueraded(Hop::AnswerOut) => {
                (backend, client, frontend, client)
            }
            Self::BystanderIn | Self::BystanderOut => (client, stranger, client, stranger),
        };
        let segment = if self.opens_flows() { Segment::Syn } else { Segment::Data };
        Packet { from, to, segment, new_from, new_to }
    }

    /// How many flows there are.
    pub(crate) fn flows(self) -> u32 {
        match self {
            Self::Established(flows) | Self::Reply(flows) => flows,
            _ if self.opens_flows() => u32::MAX,
            _ => 1,
        }
    }

    /// Whether the client is the receiver, or who stands for it.
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::Reply(_) | Self::Masqueraded(Hop::AnswerIn | Hop::AnswerOut))
    }

    /// Whether each packet is the first of its flow.
    pub(crate) fn opens_flows(self) -> bool {
        matches!(self, Self::New | Self::NewWhenFull | Self::NewMasqueraded | Self::NewLeg)
    }

    /// How many packets a sample is made of.
    pub(crate) fn packets(self) -> u32 {
        match self {
            // No more than one client has ports, or they could not all keep them.
            Self::NewMasqueraded | Self::NewLeg => 10_000,
            Self::New | Self::NewWhenFull => 50_000,
            _ => 100_000,
        }
    }
}
