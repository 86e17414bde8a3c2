//! What a walk has met and done, in numbers.

use std::collections::BTreeMap;

use lb_common::abi::flow::{Flow, FlowKey, Hook, flags, state};
use lb_common::decide::state::{is_closed, is_closing};

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
    /// An entry was there.
    pub(super) fn meet<A>(&mut self, flow: &Flow<A>) {
        *self.entries.entry(Stage::of(flow)).or_default() += 1;
    }

    /// An entry was removed.
    pub(super) fn remove<A>(&mut self, key: &FlowKey<A>, flow: &Flow<A>) {
        let is_request = key.hook == Hook::Ingress as u8 && flow.flags & flags::REPLY == 0;
        self.removed += 1;
        self.ended += u64::from(is_request);
    }
}
