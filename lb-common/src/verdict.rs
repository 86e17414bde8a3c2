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
    /// Refused and counted: the packet has become the answer to its own sender, and goes back by the
    /// device it came by. Without its reason, so that a verdict fits into the one register that a
    /// BPF function returns.
    Reject,
    /// Dropped, and counted under the reason.
    Drop(Counter),
}
