//! `EXEMPT`: the cgroups and network namespaces whose processes are translated as packets, not at
//! their sockets.
//!
//! Looked at only where the sockets of pods are translated at all. A pod is known by its cgroup: that is
//! there before its first process is, every process of it is below, and no namespace has to be
//! entered to find it. Its key is the cgroup's id, which is its inode. A namespace with an interface of a
//! certain name is known by its cookie, see [`namespace`].

/// This key is there while any other is, so that a node without exceptions pays for one look-up.
pub const ANY: u64 = 0;

/// How far below the root a pod's cgroup may be. On an ordinary node it is at level 3
/// (`kubepods.slice`, the class of service, the pod), in a node that is a container some levels deeper.
pub const LEVELS: i32 = 10;

/// The key of the network namespace with this cookie. Cookies and the ids of cgroups both count up from
/// small numbers, so the highest bit tells one from the other.
#[must_use]
#[inline(always)]
pub const fn namespace(cookie: u64) -> u64 {
    cookie | 1 << 63
}
