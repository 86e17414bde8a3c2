//! What is measured, and how much it may cost.

use std::ops::RangeInclusive;

use lb_common::net::Family;

use crate::frame::{Party, Segment};

/// One line of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Name for people.
    pub(crate) name: &'static str,
    /// The most it may cost, in hits of an `LRU_HASH`.
    pub(crate) goal: f64,
    /// Which packets.
    pub(crate) traffic: Traffic,
}

/// Which packets are sent through which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Requests of this many flows that are known.
    Established(u32),
    /// Answers to this many flows that are known.
    Reply(u32),
    /// Requests of flows never seen before, with room in the flow table.
    New,
    /// The same with a full flow table.
    NewWhenFull,
    /// Packets to nobody's frontend, entering the node.
    BystanderIn,
    /// The same, leaving it.
    BystanderOut,
}

/// How many entries the flow table holds, in every scenario: costs with different sizes, which fit
/// into different caches, could not be compared.
pub(crate) const FLOW_CAPACITY: u32 = 512 * 1024;

/// Nanoseconds of a hit with its loop where the goals were set. Where it takes another time, calls
/// and memory cost other multiples of it, and a goal that is met or missed says little.
pub(crate) const GOALS_REFERENCE_NS: RangeInclusive<f64> = 14.0..=25.0;

/// Everything that is measured: the goals of the design for TC.
pub(crate) const ALL: [Scenario; 9] = [
    scenario("established, 1 flow", 5.0, Traffic::Established(1)),
    scenario("established, 1,000 flows", 6.0, Traffic::Established(1_000)),
    scenario("established, 100,000 flows", 12.0, Traffic::Established(100_000)),
    scenario("new flow", 45.0, Traffic::New),
    scenario("new flow, table full", 60.0, Traffic::NewWhenFull),
    scenario("reply, 1 flow", 5.0, Traffic::Reply(1)),
    scenario("reply, 100,000 flows", 12.0, Traffic::Reply(100_000)),
    scenario("bystander in", 3.0, Traffic::BystanderIn),
    scenario("bystander out", 3.0, Traffic::BystanderOut),
];

const fn scenario(name: &'static str, goal: f64, traffic: Traffic) -> Scenario {
    Scenario { name, goal, traffic }
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
            Self::Reply(_) | Self::BystanderOut => "lb_tc_egress",
            _ => "lb_tc_ingress",
        }
    }

    /// The packet of flow 0.
    pub(crate) fn packet(self, family: Family) -> Packet {
        let client = Party::client(family);
        let frontend = Party::frontend(family);
        let backend = Party::backend(family);
        let stranger = Party::stranger(family);
        let (from, to, new_from, new_to) = match self {
            Self::Established(_) | Self::New | Self::NewWhenFull => {
                (client, frontend, client, backend)
            }
            Self::Reply(_) => (backend, client, frontend, client),
            Self::BystanderIn | Self::BystanderOut => (client, stranger, client, stranger),
        };
        let segment = if self.opens_flows() { Segment::Syn } else { Segment::Data };
        Packet { from, to, segment, new_from, new_to }
    }

    /// How many flows there are.
    pub(crate) fn flows(self) -> u32 {
        match self {
            Self::Established(flows) | Self::Reply(flows) => flows,
            Self::New | Self::NewWhenFull => u32::MAX,
            Self::BystanderIn | Self::BystanderOut => 1,
        }
    }

    /// Whether each packet is the first of its flow.
    pub(crate) fn opens_flows(self) -> bool {
        matches!(self, Self::New | Self::NewWhenFull)
    }

    /// How many packets a sample is made of.
    pub(crate) fn packets(self) -> u32 {
        if self.opens_flows() { 50_000 } else { 100_000 }
    }
}
