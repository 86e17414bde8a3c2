//! `DRAFT_*`: where the entries of a flow are made.

use super::assert_layout;
use super::flow::{Flow, FlowKey};
use crate::net::{Addr4, Addr6};

/// Room for the entries of one flow while they are made: they do not fit on the stack of a program.
/// Each CPU has one of each family, in a map that nobody else reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draft<A> {
    /// The entry at hand.
    pub flow: Flow<A>,
    /// Its partner.
    pub mirrored: Flow<A>,
    /// Where the partner is.
    pub partner: FlowKey<A>,
    /// Where another entry is.
    pub other: FlowKey<A>,
}

assert_layout!(Draft<Addr4>, 128, Flow<Addr4>, Flow<Addr4>, FlowKey<Addr4>, FlowKey<Addr4>);
assert_layout!(Draft<Addr6>, 224, Flow<Addr6>, Flow<Addr6>, FlowKey<Addr6>, FlowKey<Addr6>);
