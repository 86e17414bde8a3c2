//! Random packets and bytes: the two executions agree, and nothing breaks.

use std::cell::RefCell;

use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::Link;
use lb_tests::datapath::{Datapath, Framing, Transport, World, tcp};
use proptest::prelude::*;

use super::{Used, check};

fn datapath() -> Datapath {
    let world = World::default()
        .service(TCP, &["10.96.0.10:80", "192.0.2.1:30080"], &["10.1.0.2:8080", "10.1.0.3:80"])
        .service(TCP, &["[fd00:96::10]:80"], &["[fd00:1::2]:8080", "[fd00:1::3]:80"])
        .service(UDP, &["10.96.0.10:53"], &["10.1.0.2:53"])
        .service(UDP, &["[fd00:96::10]:53"], &["[fd00:1::2]:5353"])
        .service(SCTP, &["10.96.0.10:80"], &["10.1.0.2:8080", "10.1.0.3:80"])
        .service(SCTP, &["[fd00:96::10]:80"], &["[fd00:1::2]:8080"])
        .service(SCTP, &["192.0.2.1:80", "[fd00:1::9]:80"], &[])
        .service(TCP, &["192.0.2.1:80", "[fd00:1::9]:80"], &[])
        .service(UDP, &["192.0.2.1:53", "[fd00:1::9]:53"], &[]);
    Datapath::new(world.tables())
}

fn transports() -> impl Strategy<Value = Transport> {
    prop_oneof![
        (0u8..0x20).prop_map(Transport::Tcp),
        Just(Transport::Udp),
        Just(Transport::UdpUnsummed),
        (0u8..16).prop_map(Transport::Sctp),
        (0u8..16).prop_map(Transport::SctpUnsummed),
    ]
}

/// Any packet between a handful of addresses and ports, so that flows meet.
fn packets() -> impl Strategy<Value = (Hook, lb_tests::datapath::Packet)> {
    let host = 0..6usize;
    let port = prop::sample::select(vec![53u16, 80, 8080, 5353, 30080, 40_000, 40_001]);
    let framing = prop::sample::select(vec![
        Framing::Ethernet,
        Framing::Vlan,
        Framing::DoubleVlan,
        Framing::Raw,
    ]);
    let hook = prop::sample::select(vec![Hook::Ingress, Hook::Egress]);
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    (
        hook,
        any::<bool>(),
        host.clone(),
        host,
        port.clone(),
        port,
        transports(),
        framing,
        payload,
        0..3usize,
    )
        .prop_map(
            |(hook, v6, src, dst, src_port, dst_port, transport, framing, payload, options)| {
                let hosts = if v6 {
                    [
                        "[fd00:96::10]",
                        "[fd00:1::2]",
                        "[fd00:1::3]",
                        "[fd00:1::9]",
                        "[::1]",
                        "[ff02::1]",
                    ]
                } else {
                    [
                        "10.96.0.10",
                        "10.1.0.2",
                        "10.1.0.3",
                        "10.1.0.9",
                        "192.0.2.1",
                        "255.255.255.255",
                    ]
                };
                let (src, dst) =
                    (format!("{}:{src_port}", hosts[src]), format!("{}:{dst_port}", hosts[dst]));
                let mut packet = tcp(&src, &dst, 0).with_payload(payload).framed(framing);
                packet.transport = if v6 && transport == Transport::UdpUnsummed {
                    Transport::Udp
                } else {
                    transport
                };
                (hook, packet.with_options(options))
            },
        )
}

#[test]
fn any_sequence_of_packets_is_treated_alike_in_the_kernel_and_natively() {
    let used = Used::default();
    check(40, &prop::collection::vec(packets(), 1..60), |sequence| {
        used.lend(datapath, |datapath| {
            for (hook, packet) in &sequence {
                datapath.send(*hook, packet);
            }
        });
    });
}

#[test]
fn any_damage_to_a_packet_is_treated_alike_in_the_kernel_and_natively() {
    let damage = prop::collection::vec((0..80usize, any::<u8>()), 1..6);
    let datapath = RefCell::new(datapath());
    check(1000, &(packets(), damage), |((hook, packet), damage)| {
        let link = if packet.framing == Framing::Raw { Link::Raw } else { Link::Ethernet };
        let mut bytes = packet.bytes();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        datapath.borrow_mut().send_bytes(hook, link, &bytes);
    });
}
