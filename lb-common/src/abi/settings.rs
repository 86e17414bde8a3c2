//! Settings that the agent gives the programs when it loads them, as read-only globals: the verifier
//! removes what they exclude.

/// The global `MASQUERADE`, a `u32`: bits of [`masquerade`].
pub const MASQUERADE: &str = "MASQUERADE";

/// Bits of [`MASQUERADE`]; none is `--masquerade=remote`.
pub mod masquerade {
    /// `--masquerade=kube-proxy`: under the external policy `Cluster`, backends of this node see an
    /// address of the node too, not the client's.
    pub const LOCAL_BACKENDS: u32 = 1 << 0;
    /// `--masquerade-all`: whoever dials a ClusterIP is masqueraded.
    pub const ALL: u32 = 1 << 1;
}
