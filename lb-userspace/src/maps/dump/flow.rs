//! Rows of `FLOWS_*`.

use std::fmt;
use std::net::SocketAddr;

use lb_common::abi::flow::{Flow, FlowKey, Hook, flags, state};
use lb_common::net::{Address, Port, protocol};
use serde::Serialize;

use super::words;
use crate::maps::flows_map;

/// An entry of the flow table: the packets of one direction of a flow at one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowRow {
    /// The map it is in.
    pub map: &'static str,
    /// `ingress` or `egress`.
    pub hook: &'static str,
    /// The IP protocol's name, or its number.
    pub protocol: String,
    /// The packet's source before the rewrite.
    pub src: SocketAddr,
    /// The packet's destination before the rewrite.
    pub dst: SocketAddr,
    /// The source that is written, if one is.
    pub set_src: Option<SocketAddr>,
    /// The destination that is written, if one is.
    pub set_dst: Option<SocketAddr>,
    /// From the backend to the client.
    pub reply: bool,
    /// The service's id.
    pub service: u32,
    /// The backend's id.
    pub backend: u32,
    /// The backend's generation when it was chosen.
    pub generation: u32,
    /// `replied`, `client-fin`, `server-fin`, `reset`, as far as seen.
    pub state: String,
    /// Packets translated.
    pub packets: u64,
    /// Their bytes from the network header on.
    pub bytes: u64,
    /// When the last packet passed, in ticks of 2^30 ns of `CLOCK_MONOTONIC`.
    pub seen: u32,
}

impl FlowRow {
    /// The row of one entry.
    pub fn new<A: Address>(key: &FlowKey<A>, flow: &Flow<A>) -> Self {
        let socket = |addr: A, port: Port| SocketAddr::new(addr.to_ip(), port.to_host());
        let has = |flag| flow.flags & flag != 0;
        Self {
            map: flows_map(A::FAMILY),
            hook: if key.hook == Hook::Ingress as u8 { "ingress" } else { "egress" },
            protocol: protocol::name(key.protocol)
                .map_or_else(|| key.protocol.to_string(), str::to_owned),
            src: socket(key.src, key.src_port),
            dst: socket(key.dst, key.dst_port),
            set_src: has(flags::SET_SRC).then(|| socket(flow.src, flow.src_port)),
            set_dst: has(flags::SET_DST).then(|| socket(flow.dst, flow.dst_port)),
            reply: flow.is_reply(),
            service: flow.service,
            backend: flow.backend,
            generation: flow.generation,
            state: state_words(flow.state),
            packets: flow.packets,
            bytes: flow.bytes,
            seen: flow.seen.0,
        }
    }
}

/// `FLOWS_V4 ingress TCP 10.1.0.2:40000 -> 10.96.0.10:80 dst=10.1.0.3:8080 service=1 backend=2
/// generation=1 packets=3 bytes=180 replied`.
impl fmt::Display for FlowRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, hook, protocol, src, dst, .. } = self;
        write!(f, "{map} {hook} {protocol} {src} -> {dst}")?;
        if let Some(src) = self.set_src {
            write!(f, " src={src}")?;
        }
        if let Some(dst) = self.set_dst {
            write!(f, " dst={dst}")?;
        }
        let Self { service, backend, generation, packets, bytes, .. } = self;
        write!(f, " service={service} backend={backend} generation={generation}")?;
        write!(f, " packets={packets} bytes={bytes}")?;
        if self.state.is_empty() { Ok(()) } else { write!(f, " {}", self.state) }
    }
}

fn state_words(bits: u8) -> String {
    let has = |bit| bits & bit != 0;
    words(&[
        ("replied", has(state::REPLIED)),
        ("client-fin", has(state::CLIENT_FIN)),
        ("server-fin", has(state::SERVER_FIN)),
        ("reset", has(state::RESET)),
    ])
}

#[cfg(test)]
mod tests {
    use lb_common::clock::Ticks;
    use lb_common::net::Addr4;

    use super::*;

    #[test]
    fn a_flow_reads_as_one_line() {
        let key = FlowKey {
            src: Addr4::from_octets([10, 1, 0, 2]),
            dst: Addr4::from_octets([10, 96, 0, 10]),
            src_port: Port::from_host(40_000),
            dst_port: Port::from_host(80),
            protocol: protocol::TCP,
            hook: Hook::Ingress as u8,
            pad: [0; 2],
        };
        let flow = Flow {
            packets: 3,
            bytes: 180,
            src: Addr4::default(),
            dst: Addr4::from_octets([10, 1, 0, 3]),
            src_port: Port::default(),
            dst_port: Port::from_host(8080),
            backend: 2,
            generation: 1,
            service: 1,
            seen: Ticks(0),
            flags: flags::SET_DST,
            state: state::REPLIED | state::CLIENT_FIN,
            opening: 0,
        };
        assert_eq!(
            FlowRow::new(&key, &flow).to_string(),
            "FLOWS_V4 ingress TCP 10.1.0.2:40000 -> 10.96.0.10:80 dst=10.1.0.3:8080 service=1 \
             backend=2 generation=1 packets=3 bytes=180 replied,client-fin"
        );
    }
}
