//! An event as people and programs read it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::jiff::Timestamp;
use lb_common::abi::counter::Counter;
use lb_common::abi::event::Event;
use lb_common::abi::flow::Hook;
use lb_common::net::{Addr6, Address as _, Port, protocol};
use lb_common::parse::tcp;
use serde::Serialize;

/// One line of `waggle trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// When, RFC 3339 in UTC.
    pub(super) time: String,
    /// The label of what was counted.
    pub(super) reason: &'static str,
    /// The IP protocol; none of a packet whose headers cannot be read, which has no addresses either.
    pub(super) protocol: Option<String>,
    pub(super) source: Option<SocketAddr>,
    pub(super) destination: Option<SocketAddr>,
    /// If it is changed: an address of this node, of a masqueraded flow.
    pub(super) new_source: Option<SocketAddr>,
    /// If it is changed: the backend of a new flow.
    pub(super) new_destination: Option<SocketAddr>,
    /// `namespace/name:port/protocol`.
    pub(super) service: Option<String>,
    pub(super) interface: String,
    pub(super) hook: &'static str,
    /// `SYN,ACK`: those that matter to us.
    pub(super) tcp_flags: String,
}

impl Row {
    /// The row of `event`, which happened at `time`; names are those of its ids.
    pub(super) fn new(
        event: &Event,
        time: Timestamp,
        service: Option<String>,
        interface: Option<String>,
    ) -> Self {
        let has_headers = event.protocol != 0;
        let socket = |addr, port| has_headers.then(|| socket(event.family, addr, port));
        let source = socket(event.src, event.src_port);
        let destination = socket(event.dst, event.dst_port);
        let new_source = socket(event.new_src, event.new_src_port);
        let new_destination = socket(event.new_dst, event.new_dst_port);
        let protocol = || {
            protocol::name(event.protocol).map_or_else(|| event.protocol.to_string(), str::to_owned)
        };
        Self {
            time: format!("{time:.6}"),
            reason: counter(event.counter).map_or("unknown", Counter::label),
            protocol: has_headers.then(protocol),
            source,
            destination,
            new_source: new_source.filter(|_| new_source != source),
            new_destination: new_destination.filter(|_| new_destination != destination),
            service: service
                .or_else(|| (event.service != 0).then(|| format!("service {}", event.service))),
            interface: interface.unwrap_or_else(|| format!("if{}", event.ifindex)),
            hook: if event.hook == Hook::Ingress as u8 { "ingress" } else { "egress" },
            tcp_flags: tcp_flags(event.tcp_flags),
        }
    }
}

/// `2026-11-21T07:12:03.123456Z new_flow TCP 10.1.0.2:40000 -> 10.96.0.10:80 => 10.1.0.3:8080
/// default/web:http/TCP ingress veth1 SYN`.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.reason)?;
        if let (Some(protocol), Some(source), Some(destination)) =
            (&self.protocol, self.source, self.destination)
        {
            write!(f, " {protocol} {source} -> {destination}")?;
            match (self.new_source, self.new_destination) {
                (None, None) => {}
                (None, Some(new)) => write!(f, " => {new}")?,
                (Some(new), None) => write!(f, " => {new} -> {destination}")?,
                (Some(source), Some(destination)) => write!(f, " => {source} -> {destination}")?,
            }
        }
        let service = self.service.as_deref().unwrap_or("-");
        write!(f, " {service} {} {}", self.hook, self.interface)?;
        if self.tcp_flags.is_empty() { Ok(()) } else { write!(f, " {}", self.tcp_flags) }
    }
}

fn counter(number: u32) -> Option<Counter> {
    Counter::ALL.iter().copied().find(|counter| *counter as u32 == number)
}

fn socket(family: u8, addr: Addr6, port: Port) -> SocketAddr {
    let ip = match (family, addr.octets()) {
        (4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => addr.to_ip(),
    };
    SocketAddr::new(ip, port.to_host())
}

fn tcp_flags(bits: u8) -> String {
    let names = [(tcp::SYN, "SYN"), (tcp::ACK, "ACK"), (tcp::FIN, "FIN"), (tcp::RST, "RST")];
    let set: Vec<_> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|it| it.1).collect();
    set.join(",")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A new flow of `default/web`, by IPv4.
    pub(in super::super) fn new_flow() -> Event {
        Event {
            src: v4([10, 1, 0, 2]),
            dst: v4([10, 96, 0, 10]),
            new_src: v4([10, 1, 0, 2]),
            new_dst: v4([10, 1, 0, 3]),
            src_port: Port::from_host(40_000),
            dst_port: Port::from_host(80),
            new_src_port: Port::from_host(40_000),
            new_dst_port: Port::from_host(8080),
            protocol: protocol::TCP,
            hook: Hook::Ingress as u8,
            counter: Counter::NewFlow as u32,
            service: 1,
            ifindex: 7,
            family: 4,
            tcp_flags: tcp::SYN,
            ..Event::default()
        }
    }

    /// The row of `event`, with names for what has numbers.
    pub(in super::super) fn row(event: &Event) -> Row {
        let service = (event.service != 0).then(|| "default/web:http/TCP".to_owned());
        let time = Timestamp::from_microsecond(1_000_001).unwrap();
        Row::new(event, time, service, Some("veth1".to_owned()))
    }

    fn v4([a, b, c, d]: [u8; 4]) -> Addr6 {
        Addr6::from_words([u32::from_ne_bytes([a, b, c, d]), 0, 0, 0])
    }

    #[track_caller]
    fn check(event: &Event, expected: &str) {
        assert_eq!(row(event).to_string(), format!("1970-01-01T00:00:01.000001Z {expected}"));
    }

    /// `event` of a packet that is not changed.
    fn unchanged(event: Event) -> Event {
        let Event { src, src_port, dst, dst_port, .. } = event;
        Event {
            new_src: src,
            new_src_port: src_port,
            new_dst: dst,
            new_dst_port: dst_port,
            ..event
        }
    }

    #[test]
    fn a_new_flow_reads_from_the_client_to_the_backend() {
        check(
            &new_flow(),
            "new_flow TCP 10.1.0.2:40000 -> 10.96.0.10:80 => 10.1.0.3:8080 \
             default/web:http/TCP ingress veth1 SYN",
        );
        check(
            &Event { new_src_port: Port::from_host(50_000), ..new_flow() },
            "new_flow TCP 10.1.0.2:40000 -> 10.96.0.10:80 => 10.1.0.2:50000 -> 10.1.0.3:8080 \
             default/web:http/TCP ingress veth1 SYN",
        );
    }

    #[test]
    fn a_masqueraded_flow_shows_the_source_that_it_got() {
        let event = Event {
            counter: Counter::Masqueraded as u32,
            hook: Hook::Egress as u8,
            dst: v4([10, 1, 0, 3]),
            dst_port: Port::from_host(8080),
            ..new_flow()
        };
        check(
            &Event { new_src: v4([192, 168, 0, 1]), ..unchanged(event) },
            "masqueraded TCP 10.1.0.2:40000 -> 10.1.0.3:8080 => 192.168.0.1:40000 -> \
             10.1.0.3:8080 default/web:http/TCP egress veth1 SYN",
        );
    }

    #[test]
    fn a_refused_packet_has_no_backend_and_perhaps_no_service() {
        let counter = Counter::DropUnallocated as u32;
        let event = unchanged(Event { counter, service: 0, tcp_flags: 0, ..new_flow() });
        check(&event, "drop_unallocated TCP 10.1.0.2:40000 -> 10.96.0.10:80 - ingress veth1");
    }

    #[test]
    fn addresses_of_ipv6_are_in_brackets_and_flags_are_separated() {
        let addr = Addr6::from_octets([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let event = Event {
            src: addr,
            dst: addr,
            family: 6,
            hook: Hook::Egress as u8,
            counter: Counter::PassClosedFlow as u32,
            tcp_flags: tcp::SYN | tcp::ACK,
            ..new_flow()
        };
        check(
            &unchanged(event),
            "pass_closed_flow TCP [fd00::1]:40000 -> [fd00::1]:80 default/web:http/TCP egress \
             veth1 SYN,ACK",
        );
    }

    #[test]
    fn a_packet_that_cannot_be_read_has_a_reason_and_an_interface() {
        let event = Event {
            counter: Counter::PassMalformed as u32,
            hook: Hook::Ingress as u8,
            ifindex: 9,
            family: 4,
            ..Event::default()
        };
        check(&event, "pass_malformed - ingress veth1");
        let row = Row::new(&event, Timestamp::UNIX_EPOCH, None, None);
        assert_eq!((row.interface.as_str(), row.source), ("if9", None));
    }

    #[test]
    fn a_service_whose_name_is_gone_shows_its_number() {
        let row = Row::new(&new_flow(), Timestamp::UNIX_EPOCH, None, None);
        assert_eq!(row.service.as_deref(), Some("service 1"));
    }
}
