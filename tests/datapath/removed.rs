//! TCP connections whose endpoint is removed: they live on, or end by a reset where the setting says so.

use lb_common::abi::backend::flags::{IN_CLUSTER_LIST, IN_USE, SERVING};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{SCTP, TCP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Packet, World, assert_checksums, sctp, tcp};

/// Client, frontend, another frontend of the same service, and the backend.
const ALL: [[&str; 4]; 2] = [
    ["10.1.0.9:40000", "10.96.0.10:80", "192.0.2.1:30080", "10.1.0.2:8080"],
    ["[fd00:1::9]:40000", "[fd00:96::10]:80", "[2001:db8::1]:30080", "[fd00:1::2]:8080"],
];

const DATA: u8 = 0;
const INIT: u8 = 1;

fn world(protocol: u8) -> World {
    ALL.iter().fold(World::default(), |world, [_, vip, node_port, backend]| {
        world.service(protocol, &[vip, node_port], &[backend])
    })
}

/// What becomes of an endpoint.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It is there, and serves no more.
    Terminating,
    /// It is in no slice any more.
    Removed,
    /// Its id is another endpoint's now.
    Replaced,
}

/// Takes all endpoints away.
fn end(datapath: &mut Datapath, end: End) {
    let (flags, generations) = match end {
        End::Terminating => (IN_USE, 0),
        End::Removed => (0, 0),
        End::Replaced => (IN_USE | SERVING | IN_CLUSTER_LIST, 1),
    };
    datapath.change(|tables| {
        for backend in tables.v4.backends.values_mut() {
            (backend.flags, backend.generation) = (flags, backend.generation + generations);
        }
        for backend in tables.v6.backends.values_mut() {
            (backend.flags, backend.generation) = (flags, backend.generation + generations);
        }
    });
    // Connections are looked at once a tick.
    datapath.age_flows(2);
}

/// Both families' connections through the frontend, opened.
fn open(world: World) -> Datapath {
    let mut datapath = Datapath::new(world.tables());
    for [client, vip, _, backend] in ALL {
        goes_on(&mut datapath, &tcp(client, vip, SYN), backend);
        comes_back(&mut datapath, &tcp(backend, client, SYN | ACK), vip);
        goes_on(&mut datapath, &tcp(client, vip, ACK), backend);
    }
    datapath
}

/// Sends a request, which must reach the backend.
#[track_caller]
fn goes_on(datapath: &mut Datapath, request: &Packet, backend: &str) {
    datapath.ingress(request, &request.clone().to(backend));
}

/// Sends an answer, which must seem to come from `vip`.
#[track_caller]
fn comes_back(datapath: &mut Datapath, answer: &Packet, vip: &str) {
    datapath.egress(answer, &answer.clone().from(vip));
}

/// Sends a request, which must be reset: byte for byte as a service without endpoints does it.
#[track_caller]
fn is_reset(datapath: &mut Datapath, request: &Packet) {
    let empty = ALL.iter().fold(World::default(), |world, [_, vip, node_port, _]| {
        world.service(TCP, &[vip, node_port], &[])
    });
    let expected = Datapath::new(empty.tables()).send(Hook::Ingress, request);
    let outcome = datapath.send(Hook::Ingress, request);
    assert_eq!((outcome.verdict, &outcome.packet), (Verdict::Reject, &expected.packet));
    assert_checksums(&outcome.packet, request.framing);
}

#[test]
fn a_client_whose_endpoint_is_removed_is_sent_resets() {
    for how in [End::Removed, End::Replaced] {
        let mut datapath = open(world(TCP).terminates_tcp());
        end(&mut datapath, how);
        for [client, vip, ..] in ALL {
            for flags in [ACK, FIN | ACK] {
                is_reset(&mut datapath, &tcp(client, vip, flags));
            }
            is_reset(&mut datapath, &tcp(client, vip, ACK).with_payload(vec![0x5a; 1400]));
        }
        assert_eq!(datapath.tables().counters()[&Counter::RejectRemovedEndpoint], 6);
    }
}

#[test]
fn the_backend_is_told_by_the_clients_own_reset() {
    let mut datapath = open(world(TCP).terminates_tcp());
    end(&mut datapath, End::Removed);
    for [client, vip, _, backend] in ALL {
        is_reset(&mut datapath, &tcp(client, vip, ACK));
        comes_back(&mut datapath, &tcp(backend, client, ACK), vip);
        goes_on(&mut datapath, &tcp(client, vip, RST), backend);
    }
}

#[test]
fn a_new_connection_from_the_same_port_is_another_matter() {
    let mut datapath = open(world(TCP).terminates_tcp());
    end(&mut datapath, End::Replaced);
    for [client, vip, _, backend] in ALL {
        is_reset(&mut datapath, &tcp(client, vip, ACK));
        goes_on(&mut datapath, &tcp(client, vip, SYN), backend);
        comes_back(&mut datapath, &tcp(backend, client, SYN | ACK), vip);
    }
}

/// Expects the connections of `datapath` to live on after `how`.
#[track_caller]
fn check_lives(mut datapath: Datapath, how: End) {
    end(&mut datapath, how);
    for [client, vip, _, backend] in ALL {
        goes_on(&mut datapath, &tcp(client, vip, ACK), backend);
        comes_back(&mut datapath, &tcp(backend, client, ACK), vip);
    }
}

#[test]
fn a_connection_outlives_its_endpoint_unless_the_setting_ends_it() {
    check_lives(open(world(TCP)), End::Removed);
    check_lives(open(world(TCP)), End::Replaced);
    check_lives(open(world(TCP)), End::Terminating);
    check_lives(open(world(TCP).terminates_tcp()), End::Terminating);
}

#[test]
fn an_association_of_sctp_outlives_its_endpoint() {
    let mut datapath = Datapath::new(world(SCTP).terminates_tcp().tables());
    for [client, vip, _, backend] in ALL {
        goes_on(&mut datapath, &sctp(client, vip, INIT), backend);
    }
    end(&mut datapath, End::Removed);
    for [client, vip, _, backend] in ALL {
        goes_on(&mut datapath, &sctp(client, vip, DATA), backend);
    }
}

/// It was given another source port because one through a frontend was in its way.
#[test]
fn a_direct_connection_is_none_of_the_services() {
    let mut datapath = open(world(TCP).terminates_tcp());
    let direct =
        |flags| ALL.map(|[client, _, _, backend]| tcp(client, backend, flags).numbered(2001));
    for packet in direct(SYN) {
        assert_eq!(datapath.send(Hook::Ingress, &packet).verdict, Verdict::Rewritten);
    }
    end(&mut datapath, End::Removed);
    for packet in direct(ACK) {
        assert_eq!(datapath.send(Hook::Ingress, &packet).verdict, Verdict::Rewritten);
    }
}
