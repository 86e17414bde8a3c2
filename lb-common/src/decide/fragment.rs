//! Fragments follow their first one, which has the ports.
//!
//! The first fragment is treated like a whole packet, and its ports are remembered; the others borrow
//! them, so that they take the same way. (The transport checksum stands in the first and covers all:
//! changing it there by the difference is right.) SCTP is the exception: its checksum cannot be
//! changed without the length of the whole, so its fragments pass.
//!
//! A fragment that comes before the first is dropped if its address is one that only services have,
//! where nobody would ever put it together; else it passes.

use crate::abi::address;
use crate::abi::counter::Counter;
use crate::abi::flow::Hook;
use crate::abi::fragment::{FragmentKey, FragmentPorts};
use crate::net::{Port, protocol};
use crate::packet::Packet;
use crate::parse::{self, Headers, Wire};
use crate::tables::Tables;

/// Finds out the headers that a fragment has or would have; else says why not, and leaves
/// the ports out.
///
/// A call of its own: the fast path need not carry its stack.
#[inline(never)]
pub(super) fn headers<A: Wire, P: Packet, T: Tables<A>>(
    packet: &P,
    tables: &T,
    network: u32,
    hook: Hook,
    headers: &mut Headers<A>,
) -> Result<(), Counter> {
    // Else the compiler would hand over pointers into the packet, loaded as plain numbers, instead of
    // the packet: the verifier refuses that.
    let packet = core::hint::black_box(packet);
    let Ok(fragment) = A::fragment(packet, network) else { return Err(Counter::PassFragment) };
    let ip = fragment.ip;
    *headers = parse::later(ip, network, hook, Port::default(), Port::default());
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP) {
        return Err(Counter::PassFragment);
    }
    let key = FragmentKey {
        src: ip.src,
        dst: ip.dst,
        id: fragment.id,
        protocol: ip.protocol,
        pad: [0; 3],
    };
    if fragment.is_first {
        let Ok(transport) = parse::transport(packet, &ip) else {
            return Err(Counter::PassMalformed);
        };
        *headers = parse::of(ip, transport, network, hook);
        let ports = FragmentPorts { src: headers.key.src_port, dst: headers.key.dst_port };
        tables.remember_ports(&key, &ports);
        return Ok(());
    }
    match tables.ports(&key) {
        Some(ports) => {
            headers.key.src_port = ports.src;
            headers.key.dst_port = ports.dst;
            Ok(())
        }
        None if tables.at(&ip.dst).is_some_and(|at| at & address::flags::CLOSED != 0) => {
            Err(Counter::DropEarlyFragment)
        }
        None => Err(Counter::PassFragment),
    }
}
