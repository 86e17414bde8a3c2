//! What becomes of a packet.

use crate::abi::counter::Counter;

/// The answer of the datapath for one packet.
#[must_use = "the verdict is the program's answer; dropping it lets the packet through"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: the packet goes on as it came.
    Pass,
    /// Translated in place; goes on to whatever comes next on the hook (I2).
    Rewritten,
    /// Dropped, and counted under the reason.
    Drop(Counter),
}
