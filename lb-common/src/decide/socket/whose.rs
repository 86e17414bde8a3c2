//! Whose sockets are translated: the node's own, and where the setting says so those of pods, but for
//! pods that are left to their packets.

use crate::abi::exempt::{ANY, LEVELS, namespace};
use crate::net::protocol;
use crate::tables::Processes;

/// `SOCK_STREAM`, as the kernel numbers it everywhere but on MIPS.
const STREAM: u32 = 1;
/// `SOCK_DGRAM`, likewise.
const DATAGRAM: u32 = 2;

/// `IPPROTO_MPTCP`.
const MPTCP: u32 = 262;

/// Whether calls by a socket of this type (`SOCK_*`) and IP protocol number are looked at: TCP and UDP,
/// of the node itself or of pods if they are `included`. MPTCP and SCTP pass untouched.
///
/// The whole protocol number is compared: that of MPTCP has nine bits, and its lower eight are those of
/// TCP.
#[must_use]
#[inline(always)]
pub fn is_ours(
    kind: u32,
    ip_protocol: u32,
    is_host: bool,
    included: impl FnOnce() -> bool,
) -> bool {
    let is_plain = (kind == STREAM && ip_protocol == u32::from(protocol::TCP))
        || (kind == DATAGRAM && ip_protocol == u32::from(protocol::UDP));
    is_plain && (is_host || included())
}

/// Whether a socket of this type and IP protocol number is an MPTCP socket. It never names an address to
/// the programs, but a TCP socket that carries it does; and it is asked for its peer.
#[must_use]
#[inline(always)]
pub fn is_mptcp(kind: u32, ip_protocol: u32) -> bool {
    kind == STREAM && ip_protocol == MPTCP
}

/// Whether the process is in a cgroup that is exempt, or below one, or its socket in such a network
/// namespace. A call of its own, for both families of a mapped address.
#[inline(never)]
pub(super) fn is_exempt<T: Processes>(tables: &T, netns: u64) -> bool {
    if !tables.exempts(ANY) {
        return false;
    }
    if tables.exempts(namespace(netns)) {
        return true;
    }
    for level in 1..=LEVELS {
        match tables.ancestor_cgroup(level) {
            0 => return false,
            id if tables.exempts(id) => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::MemoryTables;

    const SEQUENCE: u32 = 5;
    const RAW: u32 = 3;
    const ICMP: u32 = 1;
    const UDP_LITE: u32 = 136;
    const NETNS: u64 = 4096;

    #[test]
    fn mptcp_sctp_and_what_else_there_is_pass_untouched() {
        let [tcp, udp, sctp] = [protocol::TCP, protocol::UDP, protocol::SCTP].map(u32::from);
        for (kind, protocol, expected) in [
            (STREAM, tcp, true),
            (DATAGRAM, udp, true),
            (STREAM, MPTCP, false),
            (STREAM, sctp, false),
            (SEQUENCE, sctp, false),
            (DATAGRAM, tcp, false),
            (STREAM, udp, false),
            (DATAGRAM, UDP_LITE, false),
            (DATAGRAM, ICMP, false),
            (RAW, udp, false),
        ] {
            let found = [(true, false), (false, true), (false, false)]
                .map(|(is_host, included)| is_ours(kind, protocol, is_host, || included));
            assert_eq!(found, [expected, expected, false], "{kind} {protocol}");
        }
    }

    #[test]
    fn an_mptcp_socket_is_known_by_the_whole_of_its_protocol_number() {
        assert!(is_mptcp(STREAM, MPTCP));
        assert!(!is_mptcp(STREAM, protocol::TCP.into()));
        assert!(!is_mptcp(DATAGRAM, MPTCP));
    }

    #[test]
    fn whether_pods_are_included_is_not_asked_for_the_node() {
        assert!(is_ours(STREAM, protocol::TCP.into(), true, || panic!("it is the node")));
    }

    #[track_caller]
    fn check(exempt: &[u64], cgroups: &[u64], expected: bool) {
        let mut tables = MemoryTables::default();
        tables.cgroups.extend(cgroups);
        tables.exempt.extend(exempt);
        assert_eq!(is_exempt(&tables, NETNS), expected, "{exempt:?} {cgroups:?}");
    }

    #[test]
    fn a_namespace_is_exempt_whatever_the_cgroup_and_never_taken_for_one() {
        check(&[ANY, namespace(NETNS)], &[5], true);
        check(&[ANY, namespace(NETNS)], &[], true);
        check(&[ANY, namespace(NETNS + 1)], &[5], false);
        check(&[ANY, NETNS], &[5], false);
        check(&[ANY, namespace(5)], &[5], false);
    }

    #[test]
    fn a_process_is_exempt_in_an_exempt_cgroup_and_anywhere_below() {
        check(&[ANY, 7], &[5, 6, 7], true);
        check(&[ANY, 7], &[7, 8, 9], true);
        check(&[ANY, 7], &[7], true);
        check(&[ANY, 7], &[5, 6], false);
        check(&[ANY, 7], &[], false);
        check(&[], &[5, 6], false);
    }

    #[test]
    fn nobody_is_looked_for_where_no_exception_is_announced() {
        check(&[7], &[7], false);
    }

    #[test]
    fn the_deepest_level_counts_and_no_deeper_one() {
        let deep: Vec<_> = (1..=20).collect();
        let deepest = u64::try_from(LEVELS).unwrap();
        check(&[ANY, deepest], &deep, true);
        check(&[ANY, deepest + 1], &deep, false);
    }
}
