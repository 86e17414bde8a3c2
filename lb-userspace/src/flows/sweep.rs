//! Which entries of a walk go; [`heal`](super::heal) says which come back. Pure, but for the table.
//!
//! A flow's entries go in a fixed order: first the request's, without which a packet is decided on
//! anew, then the answer's, then the legs of a masqueraded flow, likewise. So no packet ever meets
//! half a flow. An entry goes only with all that belongs to the same flow: the other direction may
//! be busy while this one is idle.
//!
//! Traffic goes on meanwhile. What was read is looked at again before it is taken, and put back if
//! it turns out to have been used at the last moment.

use std::hash::Hash;
use std::mem;

use lb_common::abi::flow::{Flow, FlowKey, Hook};
use lb_common::clock::Ticks;
use lb_common::decide::state::{self, Timeouts};
use lb_common::net::Address;

use super::heal::{Alone, heal};
use super::tally::Tally;
use crate::maps::{FlowEntry, FlowTable, MapError};

/// How many entries are healed in one step.
const HEALED: usize = 512;

/// One table on its walks.
#[derive(Debug)]
pub struct Sweep<A, T, C> {
    table: T,
    clock: C,
    timeouts: Timeouts,
    alone: Alone<A>,
    /// Those of a walk whose entries have all been met.
    to_heal: Vec<FlowKey<A>>,
}

impl<A, T, C> Sweep<A, T, C>
where
    A: Address + Eq + Hash,
    T: FlowTable<A>,
    C: Fn() -> Ticks,
{
    /// Removes what has expired by `clock`, according to `timeouts`, and heals the rest.
    pub fn new(table: T, clock: C, timeouts: Timeouts) -> Self {
        Self { table, clock, timeouts, alone: Alone::default(), to_heal: Vec::new() }
    }

    /// The table.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// Looks at the next few entries and writes into `tally` what it finds and does; false at the
    /// end of a walk.
    pub fn step(&mut self, tally: &mut Tally) -> Result<bool, MapError> {
        if self.to_heal.is_empty() {
            match self.table.next_entries()? {
                Some(entries) => {
                    self.visit(entries, tally)?;
                    return Ok(true);
                }
                None => self.to_heal = mem::take(&mut self.alone).into_keys(),
            }
        }
        let rest = self.to_heal.len().saturating_sub(HEALED);
        for key in self.to_heal.drain(rest..) {
            tally.healed += u64::from(heal(&mut self.table, &key)?);
        }
        Ok(rest > 0)
    }

    fn visit(&mut self, entries: Vec<FlowEntry<A>>, tally: &mut Tally) -> Result<(), MapError> {
        for (key, flow) in entries {
            self.look_at(key, &flow, tally)?;
        }
        Ok(())
    }

    /// Looks at what was read of the entry at `key`.
    pub(super) fn look_at(
        &mut self,
        key: FlowKey<A>,
        flow: &Flow<A>,
        tally: &mut Tally,
    ) -> Result<(), MapError> {
        let is_expired = self.is_expired(&key, flow);
        tally.meet(&key, flow, is_expired);
        if is_expired {
            return self.bury(key, tally);
        }
        self.alone.meet(&key, flow);
        Ok(())
    }

    /// Removes the entry at `key`, if it may go, and then those that were kept for its sake.
    fn bury(&mut self, key: FlowKey<A>, tally: &mut Tally) -> Result<(), MapError> {
        let mut next = Some(key);
        while let Some(key) = next {
            let Some(flow) = self.table.get(&key)? else { return Ok(()) };
            if !self.may_go(&key, &flow)? {
                return Ok(());
            }
            let Some(taken) = self.table.take(&key)? else { return Ok(()) };
            if !self.is_expired(&key, &taken) {
                return self.table.put_if_absent(&key, &taken).map(drop);
            }
            tally.remove(&key, &taken);
            next = follower(&key, &taken);
        }
        Ok(())
    }

    fn may_go(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, MapError> {
        if !self.is_expired(key, flow) {
            return Ok(false);
        }
        if let Some(leader) = leader(key, flow) {
            let there = self.table.get(&leader)?;
            return Ok(!there.is_some_and(|there| follower(&leader, &there) == Some(*key)));
        }
        let answer = flow.partner(key);
        let there = self.table.get(&answer)?;
        let is_busy = |there: Flow<A>| {
            leader(&answer, &there) == Some(*key) && !self.is_expired(&answer, &there)
        };
        Ok(!there.is_some_and(is_busy))
    }

    fn is_expired(&self, key: &FlowKey<A>, flow: &Flow<A>) -> bool {
        state::is_expired(flow, key.protocol, (self.clock)(), &self.timeouts)
    }
}

/// The entry of the same flow that must go before the one at `key`; a request has none.
fn leader<A: Address>(key: &FlowKey<A>, flow: &Flow<A>) -> Option<FlowKey<A>> {
    match (is_ingress(key), flow.is_reply()) {
        (true, false) => None,
        (false, false) => Some(key.reversed(Hook::Egress)),
        (_, true) => Some(flow.partner(key)),
    }
}

/// The entry of the same flow that goes after the one at `key`; the answer's leg is the last.
fn follower<A: Address>(key: &FlowKey<A>, flow: &Flow<A>) -> Option<FlowKey<A>> {
    match (is_ingress(key), flow.is_reply()) {
        (_, false) => Some(flow.partner(key)),
        (false, true) => Some(key.reversed(Hook::Egress)),
        (true, true) => None,
    }
}

fn is_ingress<A>(key: &FlowKey<A>) -> bool {
    key.hook == Hook::Ingress as u8
}
