//! The port to `FLOWS_*` for who removes entries, and puts some back, beside the programs.

use lb_common::abi::flow::{Flow, FlowKey};

use super::MapError;

/// The flows of one family, which change while they are looked at.
pub trait FlowTable<A> {
    /// The next entries of a walk, none or more; `None` at its end, after which the next walk
    /// begins.
    fn next_entries(&mut self) -> Result<Option<Vec<FlowEntry<A>>>, MapError>;

    /// The entry at `key`. Looking at it makes it no younger.
    fn get(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, MapError>;

    /// Removes the entry at `key` and returns what it was at that very moment.
    fn take(&mut self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, MapError>;

    /// Inserts an entry, unless there is one; returns whether it did.
    fn put_if_absent(&mut self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<bool, MapError>;
}

/// An entry and where it is.
pub type FlowEntry<A> = (FlowKey<A>, Flow<A>);
