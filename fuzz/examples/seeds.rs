//! Writes what fuzzing starts from: `cargo run --example seeds -- FOLDER` fills `FOLDER/packet` and
//! `FOLDER/sequence`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use lb_fuzz::builders::icmp::icmp;
use lb_fuzz::builders::packet::{Framing, Packet, Transport, sctp, tcp, udp};
use lb_fuzz::world::{Names, V4, V6, at, bits};

/// Inputs of the target `sequence`: world, then steps.
const STORIES: [&[u8]; 8] = [
    // A pod dials, is answered, acknowledges, both close, and it dials again from the same port.
    &[0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4, 5, 0, 4, 7, 0],
    // Two frontends lead one client port to the same backends.
    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 7, 0, 7, 1],
    // The same in IPv6, over UDP, with time between.
    &[bits::V6, 0, 0, 0, 3, 2, 0, 9, 1, 0, 0, 0, 4, 2, 0, 7, 0, 7, 1],
    // SCTP from outside to a node port, masqueraded in every way.
    &[3, 0, 1, 0, 2, 3, 0, 7, 0, 5, 0, 0, 9, 3, 7, 0],
    // A backend leaves, then its id is used again.
    &[0, 0, 0, 0, 3, 2, 0, 10, 1, 0, 0, 0, 0, 3, 2, 0, 10, 7, 2, 7, 0],
    // A pod that is its own backend; entries are evicted.
    &[bits::WORKLOAD, 0, 2, 2, 0, 0, 0, 7, 0, 11, 0, 7, 0, 11, 2, 7, 0],
    // A client whose datagrams are never answered, and another frontend from the same port.
    &[0, 0, 0, 0, 3, 2, 0, 9, 1, 7, 0, 0, 0, 0, 4, 2, 0, 7, 0],
    // Fragments in order and out of order.
    &[0, 12, 0, 0, 3, 2, 0, 0, 12, 1, 0, 3, 2, 0, 1],
];

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "corpus".to_owned()));
    let packets = [V4, V6].map(|names| packets(&names)).into_iter().flatten();
    let packets =
        packets.flat_map(|packet| inputs(&packet)).chain([V4, V6].iter().flat_map(others));
    let packets: Vec<_> = packets.collect();
    write(&folder.join("packet"), &packets)?;
    write(&folder.join("sequence"), &STORIES.map(<[u8]>::to_vec))
}

fn write(folder: &Path, inputs: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut numbered = inputs.iter().enumerate();
    numbered.try_for_each(|(number, input)| fs::write(folder.join(format!("seed-{number}")), input))
}

/// The packet as it enters and as it leaves, alone and behind earlier flows.
fn inputs(packet: &Packet) -> Vec<Vec<u8>> {
    let link = if packet.framing == Framing::Raw { 2 } else { 0 };
    frames(packet.src.is_ipv6(), link, &packet.bytes())
}

fn frames(is_v6: bool, link: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let world = if is_v6 { bits::V6 } else { 0 };
    [0, 1, 4, 5, 4 + 8].map(|bits| [&[world, bits | link], bytes].concat()).to_vec()
}

/// Fragments, echo requests, and errors about packets of the earlier flows.
fn others(names: &Names) -> Vec<Vec<u8>> {
    let (pod, dns) = (&at(names.pod, 40_000), &at(names.vip, 53));
    let (echo, big) = if names.is_v6() { ([128, 0], [2, 0]) } else { ([8, 0], [3, 4]) };
    let mut bytes = udp(pod, dns).fragments(16, 7);
    bytes.push(icmp(names.pod, names.vip, echo, [0, 1, 0, 1], b"are you there?"));
    for backend in [at(names.near, 53), at(names.far, 5353)] {
        let inside = udp(pod, &backend).bytes();
        bytes.push(icmp(names.outside, names.pod, big, [0, 0, 5, 0], &inside[14..]));
    }
    for backend in [at(names.near, 8080), at(names.far, 8080)] {
        let inside = tcp(pod, &backend, 0x10).bytes();
        let quote = if names.is_v6() { 14..62 } else { 14..42 };
        bytes.push(icmp(names.near, names.pod, big, [0, 0, 5, 0], &inside[quote]));
    }
    bytes.iter().flat_map(|bytes| frames(names.is_v6(), 0, bytes)).collect()
}

fn packets(names: &Names) -> Vec<Packet> {
    let (pod, outside) = (&at(names.pod, 40_000), &at(names.outside, 40_000));
    let (vip, dns) = (&at(names.vip, 80), &at(names.vip, 53));
    let mut packets = vec![
        tcp(pod, vip, 2),
        udp(pod, dns),
        sctp(pod, vip, 1),
        tcp(outside, &at(names.node, 30080), 0x10),
        tcp(outside, &at(names.guarded, 443), 2),
        tcp(pod, &at(names.guarded, 443), 2),
        tcp(pod, &at(names.empty, 80), 2),
        tcp(pod, &at(names.empty, 80), 0x11),
        udp(pod, &at(names.empty, 53)),
        sctp(pod, &at(names.empty, 80), 1),
        tcp(pod, &at(names.vip, 81), 2),
        udp(pod, &at(names.unallocated, 53)),
        tcp(&at(names.near, 8080), pod, 0x12),
        udp(&at(names.far, 5353), pod),
    ];
    for framing in [Framing::Raw, Framing::Vlan, Framing::DoubleVlan] {
        packets.push(tcp(pod, vip, 2).framed(framing));
    }
    packets.extend((1..3).map(|options| udp(pod, dns).with_options(options)));
    if !names.vip.contains(':') {
        packets.push(Packet { transport: Transport::UdpUnsummed, ..udp(pod, dns) });
    }
    packets
}
