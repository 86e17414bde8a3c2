//! Settings that the agent gives the programs when it loads them, as read-only globals: the verifier
//! removes what they exclude.

/// The global `MASQUERADE`, a `u32`: bits of [`masquerade`].
pub const MASQUERADE: &str = "MASQUERADE";

/// The global `MASQUERADE_PORTS`, a `u32`: the lowest source port that a masqueraded packet may get
/// in the lower half, the highest in the upper half, both in host order and both included.
pub const MASQUERADE_PORTS: &str = "MASQUERADE_PORTS";

/// The global `SOCKET_LB`, a `u32`: 1 if the sockets of every network namespace are translated, 0 if
/// only those of the node's own.
pub const SOCKET_LB: &str = "SOCKET_LB";

/// The global `MPTCP`, a `u32`: 1 if the kernel can tell whether a TCP socket carries an MPTCP one
/// (`bpf_skc_to_mptcp_sock`, kernel 6.0), so that those of pods are left to their packets.
pub const MPTCP: &str = "MPTCP";

/// The global `HOST_NETNS`, a `u64`: the cookie of the node's own network namespace.
pub const HOST_NETNS: &str = "HOST_NETNS";

/// The global `TAKEOVER`, a `u32`: 1 while connections may be there that kube-proxy has translated. A packet
/// of TCP or SCTP that begins none and belongs to none of ours is then left to its rules, not decided.
pub const TAKEOVER: &str = "TAKEOVER";

/// The global `TERMINATE_TCP`, a `u32`: 1 if TCP connections end once their endpoint is removed, 0 if they
/// live on.
pub const TERMINATE_TCP: &str = "TERMINATE_TCP";

/// The value of [`MASQUERADE_PORTS`] for a range.
#[must_use]
pub const fn packed_ports((lowest, highest): (u16, u16)) -> u32 {
    (highest as u32) << 16 | lowest as u32
}

/// The range unless the agent's flag `--masquerade-ports` says otherwise. Above the node ports;
/// what of it the node's own sockets would use is reserved (`ip_local_reserved_ports`).
pub const DEFAULT_MASQUERADE_PORTS: (u16, u16) = (50_000, 65_535);

/// The global `VIP_ECHO`, a `u32`: what becomes of an echo request to an address that only services
/// have, one of [`echo`].
pub const VIP_ECHO: &str = "VIP_ECHO";

/// Values of [`VIP_ECHO`]. It is never forwarded: nobody has the address, so it would go round in
/// circles.
pub mod echo {
    /// `--vip-echo=answer`: this node answers.
    pub const ANSWER: u32 = 0;
    /// `--vip-echo=reject`: it answers "port unreachable", as kube-proxy's nftables do.
    pub const REJECT: u32 = 1;
    /// `--vip-echo=drop`: the sender hears nothing.
    pub const DROP: u32 = 2;
}

/// Bits of [`MASQUERADE`]; none is `--masquerade=remote`.
pub mod masquerade {
    /// `--masquerade=kube-proxy`: under the external policy `Cluster`, backends of this node see an
    /// address of the node too, not the client's.
    pub const LOCAL_BACKENDS: u32 = 1 << 0;
    /// `--masquerade-all`: whoever dials a ClusterIP is masqueraded.
    pub const ALL: u32 = 1 << 1;
}
