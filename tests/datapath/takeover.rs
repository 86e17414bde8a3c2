//! Connections that kube-proxy may have begun are left to it, as long as the setting says so.

use std::collections::BTreeMap;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_tests::datapath::{Datapath, Packet, World, sctp, tcp, udp};

/// Client, frontend and backend.
const ALL: [[&str; 3]; 2] = [
    ["10.1.0.9:40000", "10.96.0.10:80", "10.1.0.2:8080"],
    ["[fd00:1::9]:40000", "[fd00:96::10]:80", "[fd00:1::2]:8080"],
];

const DATA: u8 = 0;
const INIT: u8 = 1;

fn world() -> World {
    [TCP, UDP, SCTP].into_iter().fold(World::default(), |world, protocol| {
        ALL.iter()
            .fold(world, |world, [_, vip, backend]| world.service(protocol, &[vip], &[backend]))
    })
}

/// Sends `packet`, which must go on as it is.
#[track_caller]
fn passes(datapath: &mut Datapath, packet: &Packet) {
    datapath.ingress(packet, packet);
}

#[test]
fn what_began_before_us_passes_and_what_begins_now_is_ours() {
    let mut datapath = Datapath::new(world().takes_over().tables());
    for [client, vip, backend] in ALL {
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, RST | ACK] {
            passes(&mut datapath, &tcp(client, vip, flags));
        }
        passes(&mut datapath, &sctp(client, vip, DATA));
        for begins in [tcp(client, vip, SYN), udp(client, vip), sctp(client, vip, INIT)] {
            datapath.ingress(&begins, &begins.clone().to(backend));
        }
        for goes_on in [tcp(client, vip, ACK), sctp(client, vip, DATA)] {
            datapath.ingress(&goes_on, &goes_on.clone().to(backend));
        }
    }
    let counters = datapath.tables().counters();
    assert_eq!(counters, [(Counter::NewFlow, 6), (Counter::PassBegunElsewhere, 12)].into());
}

/// Where kube-proxy may serve what we do not know yet: another port of an address that is closed, and an
/// address for ClusterIPs that no frontend is at.
const NOT_YET: [[&str; 2]; 4] = [
    ["10.1.0.9:40000", "10.96.0.10:443"],
    ["10.1.0.9:40000", "10.96.0.77:80"],
    ["[fd00:1::9]:40000", "[fd00:96::10]:443"],
    ["[fd00:1::9]:40000", "[fd00:96::77]:80"],
];

/// Sends a packet that goes on with a connection to each of [`NOT_YET`], and one that begins one.
fn counted(world: World) -> BTreeMap<Counter, u64> {
    let world = world.closed("10.96.0.10").closed("fd00:96::10");
    let world = world.service_cidr("10.96.0.0/16").service_cidr("fd00:96::/108");
    let mut datapath = Datapath::new(world.tables());
    for [client, vip] in NOT_YET {
        for flags in [ACK, SYN] {
            let _verdict = datapath.send(Hook::Ingress, &tcp(client, vip, flags));
        }
    }
    datapath.tables().counters()
}

#[test]
fn what_began_before_us_passes_where_our_frontends_are_still_to_come() {
    let refused = |times| [(Counter::RejectUnknownPort, times), (Counter::DropUnallocated, times)];
    let begun = (Counter::PassBegunElsewhere, 4);
    assert_eq!(counted(world().takes_over()), refused(2).into_iter().chain([begun]).collect());
    assert_eq!(counted(world()), refused(4).into());
}

#[test]
fn without_kube_proxy_a_connection_whose_entries_are_gone_goes_on() {
    let mut datapath = Datapath::new(world().tables());
    for [client, vip, backend] in ALL {
        let packet = tcp(client, vip, ACK);
        datapath.ingress(&packet, &packet.clone().to(backend));
    }
}
