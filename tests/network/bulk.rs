//! A gigabyte through a service arrives as it went: translated towards a backend on another node, and
//! masqueraded beside that, over routed links and over VXLAN.

use std::net::SocketAddr;

use lb_tests::lab::{Carrier, Lab, Namespace, Topology};
use lb_tests::traffic::Connection;

use crate::cluster::{PATIENCE, cluster_ips};
use crate::pair::{Pair, node_ports, wait_for_answer, web};

const GIB: u64 = 1 << 30;

/// `sent` bytes go to `dst`, and `received` bytes come from it.
#[track_caller]
fn check_stream(from: &Namespace, dst: SocketAddr, sent: u64, received: u64) {
    let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
    connection.send_stream(sent).unwrap_or_else(|error| panic!("sent to {dst}: {error}"));
    connection.receive_stream(received).unwrap_or_else(|error| panic!("from {dst}: {error}"));
}

#[track_caller]
fn check_gibibytes(carrier: Carrier) {
    let pair = Pair::new(Lab::with(carrier, 1500), Topology::Routed);
    pair.write(&web(), &pair.servers[1..]);
    let translated = cluster_ips().map(|dst| (&pair.pods[0].ns, dst));
    let masqueraded = node_ports(&pair.nodes[0]).map(|dst| (&pair.client.ns, dst));
    for (from, dst) in translated.into_iter().chain(masqueraded) {
        wait_for_answer(from, dst, "web2");
        check_stream(from, dst, GIB, GIB / 8);
    }
}

#[test]
fn a_gibibyte_arrives_whole_over_routed_links() {
    check_gibibytes(Carrier::Routed);
}

#[test]
fn a_gibibyte_arrives_whole_over_vxlan() {
    check_gibibytes(Carrier::Vxlan);
}
