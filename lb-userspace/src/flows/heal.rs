//! Which entries come back: those of an established flow that the kernel has evicted.
//!
//! Each of a pair can be made from the other ([`Flow::mirror`]). The programs do so when a packet
//! meets the one that is left; a flow of which only the other side speaks, or none, waits for a walk.
//! A walk remembers whose partner it has not met, and looks for those alone at its end: a system call
//! for each entry would cost five times as much as reading them all.
//!
//! Never comes back what a program has removed: a flow that is closed, forgotten or still on
//! probation. What was read is looked at again before and after.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};

use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::decide::state::is_established;
use lb_common::net::Address;

use crate::maps::{FlowTable, MapError};

/// The entries without a partner, so far, on a walk: their keys by a hash of where it must be.
///
/// Should two places have the same hash, one of them is looked at on the next walk, by another hash.
#[derive(Clone, Debug)]
pub(super) struct Alone<A>(HashMap<u64, FlowKey<A>>);

impl<A> Default for Alone<A> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<A: Address + Eq + Hash> Alone<A> {
    /// An entry is there, and has not expired.
    pub(super) fn meet(&mut self, key: &FlowKey<A>, flow: &Flow<A>) {
        let met = self.0.remove(&self.0.hasher().hash_one(key));
        let partner = flow.partner(key);
        if needs_partner(flow) && met != Some(partner) {
            self.0.insert(self.0.hasher().hash_one(partner), *key);
        }
    }

    /// Those that have met nobody. Some of the partners may have been there before them.
    pub(super) fn into_keys(self) -> Vec<FlowKey<A>> {
        self.0.into_values().collect()
    }
}

fn needs_partner<A: Address>(flow: &Flow<A>) -> bool {
    flow.writes() && is_established(flow.state)
}

/// Puts the partner of the entry at `key` back if it is not there; returns whether it did.
pub(super) fn heal<A: Address>(
    table: &mut impl FlowTable<A>,
    key: &FlowKey<A>,
) -> Result<bool, MapError> {
    let Some(flow) = table.get(key)?.filter(needs_partner) else { return Ok(false) };
    let partner = flow.partner(key);
    if table.get(&partner)?.is_some() {
        return Ok(false);
    }
    let mut mirrored = flow;
    flow.mirror(key, &mut mirrored);
    if !table.put_if_absent(&partner, &mirrored)? {
        return Ok(false);
    }
    if table.get(key)?.is_some_and(|it| needs_partner(&it) && it.partner(key) == partner) {
        return Ok(true);
    }
    // The flow was forgotten meanwhile. What was put back is another's if it was touched.
    if let Some(taken) = table.take(&partner)?.filter(|taken| *taken != mirrored) {
        table.put_if_absent(&partner, &taken)?;
    }
    Ok(false)
}
