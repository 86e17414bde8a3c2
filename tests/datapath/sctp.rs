//! SCTP: addresses, ports and `CRC32c`, whole packets; associations live as TCP connections do.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::SCTP;
use lb_common::parse::Link;
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Framing, Packet, Transport, World, sctp};

const CLIENT: &str = "10.1.0.9:40000";
const VIP: &str = "10.96.0.10:80";
const BACKEND: &str = "10.1.0.2:8080";
const CLIENT6: &str = "[fd00:1::9]:40000";
const VIP6: &str = "[fd00:96::10]:80";
const BACKEND6: &str = "[fd00:1::2]:8080";

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Two services per family: one changes the port, the other does not.
fn datapath() -> Datapath {
    let world = World::default()
        .service(SCTP, &[VIP], &[BACKEND])
        .service(SCTP, &["10.96.0.11:80"], &["10.1.0.3:80"])
        .service(SCTP, &[VIP6], &[BACKEND6])
        .service(SCTP, &["[fd00:96::11]:80"], &["[fd00:1::3]:80"]);
    Datapath::new(world.tables())
}

/// Request in and answer out, through a port that changes and through one that stays.
#[track_caller]
fn check(datapath: &mut Datapath, shape: impl Fn(Packet) -> Packet) {
    for (client, vip, backend) in [
        (CLIENT, VIP, BACKEND),
        (CLIENT, "10.96.0.11:80", "10.1.0.3:80"),
        (CLIENT6, VIP6, BACKEND6),
        (CLIENT6, "[fd00:96::11]:80", "[fd00:1::3]:80"),
    ] {
        let request = shape(sctp(client, vip, INIT));
        let answer = shape(sctp(backend, client, INIT_ACK));
        datapath.ingress(&request, &request.clone().to(backend));
        datapath.egress(&answer, &answer.clone().from(vip));
    }
    assert_eq!(datapath.tables().counters(), [(Counter::NewFlow, 4)].into());
}

#[test]
fn an_association_is_translated_there_and_back() {
    check(&mut datapath(), |packet| packet);
}

#[test]
fn packets_in_any_frame_and_with_options_are_translated() {
    let mut datapath = datapath();
    for framing in [Framing::Vlan, Framing::DoubleVlan, Framing::Raw] {
        check(&mut datapath, |packet| packet.framed(framing));
    }
    check(&mut datapath, |packet| packet.with_options(1));
    check(&mut datapath, |packet| packet.with_options(2));
}

#[test]
fn packets_of_any_length_are_translated() {
    let mut datapath = datapath();
    for length in [0, 1, 236, 240, 1452, 3000] {
        check(&mut datapath, |packet| {
            packet.with_payload((0..=255).cycle().take(length).collect())
        });
    }
}

#[test]
fn a_sum_that_is_left_to_the_device_stays_zero() {
    check(&mut datapath(), |packet| {
        let Transport::Sctp(chunk) = packet.transport else { panic!("{packet:?}") };
        Packet { transport: Transport::SctpUnsummed(chunk), ..packet }
    });
}

#[test]
fn bytes_behind_the_packet_are_not_in_the_sum() {
    let mut datapath = datapath();
    for (request, backend) in
        [(sctp(CLIENT, VIP, INIT), BACKEND), (sctp(CLIENT6, VIP6, INIT), BACKEND6)]
    {
        let padded = |packet: &Packet| [packet.bytes(), vec![0x5a; 7]].concat();
        let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, &padded(&request));
        assert_eq!(outcome.packet, padded(&request.clone().to(backend)));
    }
}

#[test]
fn a_packet_cut_before_its_first_chunk_passes_and_is_counted() {
    let mut datapath = datapath();
    for (packet, network) in [(sctp(CLIENT, VIP, INIT), 20), (sctp(CLIENT6, VIP6, INIT), 40)] {
        for length in network..network + 16 {
            let bytes = &packet.bytes()[..14 + length];
            let outcome = datapath.send_bytes(Hook::Ingress, Link::Ethernet, bytes);
            assert_eq!((outcome.verdict, &outcome.packet[..]), (Verdict::Pass, bytes));
        }
    }
    assert_eq!(datapath.tables().counters(), [(Counter::PassMalformed, 32)].into());
}

#[test]
fn an_association_keeps_its_backend_when_the_backend_is_gone_and_a_new_one_does_not() {
    let mut datapath = datapath();
    let request = sctp(CLIENT, VIP, INIT);
    datapath.ingress(&request, &request.clone().to(BACKEND));
    datapath.change(|tables| {
        let backend = tables.v4.backends.get_mut(&1).unwrap();
        backend.generation += 1;
        backend.addr = lb_common::net::Addr4::from_octets([10, 1, 0, 7]);
    });
    let data = sctp(CLIENT, VIP, DATA);
    datapath.ingress(&data, &data.clone().to(BACKEND));
    datapath.ingress(&request, &request.clone().to("10.1.0.7:8080"));
    datapath.ingress(&data, &data.clone().to("10.1.0.7:8080"));
}

#[test]
fn an_association_that_was_shut_down_or_aborted_makes_room_for_another() {
    let ends: [&[(Hook, u8)]; 4] = [
        &[(Hook::Ingress, SHUTDOWN), (Hook::Egress, SHUTDOWN_ACK)],
        &[
            (Hook::Egress, SHUTDOWN),
            (Hook::Ingress, SHUTDOWN_ACK),
            (Hook::Egress, SHUTDOWN_COMPLETE),
        ],
        &[(Hook::Ingress, ABORT)],
        &[(Hook::Egress, ABORT)],
    ];
    for end in ends {
        let mut datapath = datapath();
        let request = sctp(CLIENT, VIP, INIT);
        datapath.ingress(&request, &request.clone().to(BACKEND));
        for (hook, chunk) in end {
            let (packet, expected) = match hook {
                Hook::Ingress => (sctp(CLIENT, VIP, *chunk), sctp(CLIENT, BACKEND, *chunk)),
                Hook::Egress => (sctp(BACKEND, CLIENT, *chunk), sctp(VIP, CLIENT, *chunk)),
            };
            assert_eq!(datapath.send(*hook, &packet).packet, expected.bytes(), "{end:?}");
        }
        // A direct association from the same port: its answer is not translated.
        let direct = sctp(BACKEND, CLIENT, INIT_ACK);
        datapath.egress(&direct, &direct);
        assert_eq!(datapath.tables().counters()[&Counter::PassClosedFlow], 1, "{end:?}");
    }
}

#[test]
fn a_service_without_endpoints_answers_port_unreachable() {
    for (client, vip, icmp) in [(CLIENT, VIP, [3, 3]), (CLIENT6, VIP6, [1, 4])] {
        let mut datapath = Datapath::new(World::default().service(SCTP, &[vip], &[]).tables());
        let request = sctp(client, vip, INIT);
        let outcome = datapath.send(Hook::Ingress, &request);
        assert_eq!(outcome.verdict, Verdict::Reject);
        let network = if vip == VIP { 20 } else { 40 };
        let message = &outcome.packet[14 + network..];
        assert_eq!(message[..2], icmp);
        assert_eq!(message[8..], request.bytes()[14..14 + network + 8], "the quote");
    }
}
