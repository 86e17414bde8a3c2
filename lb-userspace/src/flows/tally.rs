//! What a walk has met and done, in numbers.

use std::collections::{BTreeMap, HashSet};

use lb_common::abi::carried::Carried;
use lb_common::abi::flow::{Flow, FlowKey, Hook, flags, state};
use lb_common::decide::state::{is_closed, is_closing};
use lb_common::net::Address;

/// One walk through one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries that were there, by what is known of their flow.
    pub entries: BTreeMap<Stage, usize>,
    /// Entries that were removed.
    pub removed: u64,
    /// Flows that ended by that.
    pub ended: u64,
    /// Entries that had been evicted and were put back.
    pub healed: u64,
    /// What the flows of each service carry, by its id.
    pub services: BTreeMap<u32, Share>,
    /// Of the entries that were met, how many were removed.
    met_and_removed: usize,
    /// Entries, by a hash of their keys, that were met and may yet be removed.
    doomed: HashSet<u64>,
    /// Entries, likewise, that were removed and may yet be met, having been read before.
    buried: HashSet<u64>,
}

/// What the flows of a service carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those whose entries stay.
    pub live: Traffic,
    /// Those whose entries were removed.
    pub gone: Traffic,
}

/// Flows, and what they have carried so far in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// How far the flow of an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody has answered.
    New,
    /// It is established.
    Open,
    /// One side has closed.
    Closing,
    /// Both have, or one has reset.
    Closed,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::New, Self::Open, Self::Closing, Self::Closed];

    /// Its name in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }

    fn of<A>(flow: &Flow<A>) -> Self {
        match flow.state {
            bits if is_closed(bits) => Self::Closed,
            bits if is_closing(bits) => Self::Closing,
            bits if bits & state::REPLIED != 0 => Self::Open,
            _ => Self::New,
        }
    }
}

impl Tally {
    /// An entry was there; whether it `may_go`, in this walk.
    pub(super) fn meet<A: Address>(&mut self, key: &FlowKey<A>, flow: &Flow<A>, may_go: bool) {
        *self.entries.entry(Stage::of(flow)).or_default() += 1;
        if may_go && self.buried.remove(&hash(key)) {
            self.met_and_removed += 1;
            return;
        }
        self.services.entry(flow.service).or_default().live.add(Traffic::of(key, flow));
        if may_go {
            self.doomed.insert(hash(key));
        }
    }

    /// How many entries were there and are still.
    #[must_use]
    pub fn left(&self) -> usize {
        self.entries.values().sum::<usize>().saturating_sub(self.met_and_removed)
            + usize::try_from(self.healed).unwrap_or(usize::MAX)
    }

    /// An entry was removed.
    pub(super) fn remove<A: Address>(&mut self, key: &FlowKey<A>, flow: &Flow<A>) {
        self.removed += 1;
        self.ended += u64::from(is_request(key, flow));
        let share = self.services.entry(flow.service).or_default();
        share.gone.add(Traffic::of(key, flow));
        if self.doomed.remove(&hash(key)) {
            self.met_and_removed += 1;
            share.live.subtract(Traffic::of(key, flow));
        } else {
            self.buried.insert(hash(key));
        }
    }
}

impl Share {
    /// What was found in all.
    #[must_use]
    pub fn whole(&self) -> Traffic {
        let mut whole = self.live;
        whole.add(self.gone);
        whole
    }
}

impl Traffic {
    /// What an entry has carried. The entries between the node and a backend count nothing: those
    /// between the node and the client have counted it.
    fn of<A>(key: &FlowKey<A>, flow: &Flow<A>) -> Self {
        if flow.flags & flags::LEG != 0 {
            return Self::default();
        }
        let flows = u64::from(is_request(key, flow));
        Self { flows, packets: flow.packets, bytes: flow.bytes }
    }

    /// Of flows that are over: they were counted when they began.
    pub(super) fn carried(&self) -> Carried {
        Carried { packets: self.packets, bytes: self.bytes, ..Carried::default() }
    }

    /// Adds what `other` has.
    pub fn add(&mut self, other: Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }

    /// Takes away what `other` has; there is never less than nothing.
    pub fn subtract(&mut self, other: Self) {
        self.flows = self.flows.saturating_sub(other.flows);
        self.packets = self.packets.saturating_sub(other.packets);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// Whether it is the one entry that each flow has once.
fn is_request<A>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    key.hook == Hook::Ingress as u8 && flow.flags & flags::REPLY == 0
}

/// Few are looked for at a time, so that two with one hash are rare, and harm a number only.
fn hash<A: Address>(key: &FlowKey<A>) -> u64 {
    u64::from(key.hash()) << 8 | u64::from(key.hook)
}
