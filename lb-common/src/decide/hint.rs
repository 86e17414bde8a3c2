//! Hints: a packet of no flow is told by two bytes, before anything is looked up.

use crate::abi::flow::FlowKey;
use crate::abi::hint;
use crate::net::{Address, Port};
use crate::tables::Tables;

/// Whether a packet with `key` may be of a flow, or in the way of one: either end was dialled through
/// a frontend once, or is a backend that was given. That is so of all entries: requests go to what was
/// dialled, their legs to the backend, and answers come from there.
#[inline(always)]
pub(super) fn is_hinted<A: Address, T: Tables<A>>(tables: &T, key: &FlowKey<A>) -> bool {
    tables.is_hinted(hint::place(key.dst, key.dst_port, key.protocol))
        || tables.is_hinted(hint::place(key.src, key.src_port, key.protocol))
}

/// Leaves a hint at `addr` and `port`, before there is a flow that has them.
#[inline(always)]
pub(super) fn leave<A: Address, T: Tables<A>>(tables: &T, addr: A, port: Port, protocol: u8) {
    tables.hint(hint::place(addr, port, protocol));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::flow::Hook;
    use crate::native::MemoryTables;
    use crate::net::{Addr4, protocol};

    fn packet(src: ([u8; 4], u16), dst: ([u8; 4], u16), protocol: u8) -> FlowKey<Addr4> {
        FlowKey {
            src: Addr4::from_octets(src.0),
            dst: Addr4::from_octets(dst.0),
            src_port: Port::from_host(src.1),
            dst_port: Port::from_host(dst.1),
            protocol,
            hook: Hook::Ingress as u8,
            pad: [0; 2],
        }
    }

    #[test]
    fn a_hint_is_about_packets_to_an_end_and_from_it_and_no_others() {
        let tables = MemoryTables::default();
        let (client, backend) = (([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 8080));
        let is_hinted = |src, dst, protocol| is_hinted(&tables, &packet(src, dst, protocol));
        assert!(!is_hinted(client, backend, protocol::TCP));
        let end = packet(client, backend, protocol::TCP);
        leave(&tables, end.dst, end.dst_port, end.protocol);
        assert!(is_hinted(client, backend, protocol::TCP));
        assert!(is_hinted(backend, client, protocol::TCP));
        assert!(!is_hinted(client, backend, protocol::UDP));
        assert!(!is_hinted(client, ([10, 0, 0, 2], 8081), protocol::TCP));
        assert!(!is_hinted(client, ([10, 0, 0, 3], 8080), protocol::TCP));
    }
}
