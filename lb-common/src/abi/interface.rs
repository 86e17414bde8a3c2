//! `INTERFACES`: what is known of the node's devices, by ifindex.

/// Bits of a value of `INTERFACES`. An interface without an entry has none.
pub mod flags {
    /// Pods of this node are behind it: whoever sends through it is a pod.
    pub const WORKLOAD: u32 = 1 << 0;
}
