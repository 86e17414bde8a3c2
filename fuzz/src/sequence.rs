//! A story: few clients dial few frontends, backends answer, connections close, time passes,
//! endpoints come and go, entries are evicted, ports are used again.
//!
//! Input: a byte for the world, then steps: a byte for what happens, and the bytes of its choices.

use lb_common::abi::backend::{self, Backend};
use lb_common::abi::flow::Hook;
use lb_common::abi::service::SlotRange;
use lb_common::clock::Ticks;
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::Address;
use lb_common::parse::Link;
use lb_common::tables::Tables;
use lb_common::verdict::Verdict;

use crate::builders::packet::{Framing, Packet, Transport, tcp};
use crate::check::Node;
use crate::choices::Choices;
use crate::journey::{self, turned};
use crate::view::{Part, View};
use crate::world::{self, Names, at};

/// So many steps are enough for any story.
const STEPS: usize = 64;
/// So many requests are remembered, to be answered.
const REMEMBERED: usize = 16;

/// The flags of TCP segments that begin, go on and end connections; for SCTP chunk types.
const FLAGS: [u8; 8] = [0x02, 0x12, 0x10, 0x18, 0x11, 0x01, 0x04, 0x14];
/// Types of SCTP chunks.
const CHUNKS: [u8; 8] = [1, 2, 0, 3, 7, 8, 14, 6];

/// A request that went on to a backend.
#[derive(Debug)]
struct Request {
    link: Link,
    dialled: Vec<u8>,
    inside: Vec<u8>,
}

/// Tells the story.
///
/// # Panics
///
/// If something is wrong with what the datapath did.
pub fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (tables, names) = world::chosen(&mut choices);
    let mut node = Node { tables, is_damaged: false };
    let mut requests = Vec::new();
    for _ in 0..STEPS {
        if choices.is_empty() {
            break;
        }
        step(&mut node, names, &mut requests, &mut choices);
    }
}

fn step(node: &mut Node, names: &Names, requests: &mut Vec<Request>, choices: &mut Choices) {
    match choices.byte() % 14 {
        0..=4 => dial(node, names, requests, choices),
        5 | 6 => answer(node, requests, choices),
        7 | 8 => travel(node, requests, choices),
        9 => pass_time(&node.tables, choices),
        10 => change(&mut node.tables, choices),
        11 => evict(node, choices),
        _ => dial_in_pieces(node, names, choices),
    }
}

/// A client sends a packet to a frontend, or to a backend directly.
fn dial(node: &Node, names: &Names, requests: &mut Vec<Request>, choices: &mut Choices) {
    let packet = request(names, choices);
    let link = if packet.framing == Framing::Raw { Link::Raw } else { Link::Ethernet };
    let dialled = packet.bytes();
    let sent = node.send(Hook::Ingress, link, &dialled);
    match sent.verdict {
        Verdict::Rewritten if requests.len() < REMEMBERED => {
            requests.push(Request { link, dialled, inside: sent.bytes });
        }
        // What is not translated here is not to be there either, but for what is masqueraded.
        Verdict::Pass => drop(node.send(Hook::Egress, link, &sent.bytes)),
        _ => {}
    }
}

/// A client's packet comes in fragments, which all take the way of the first that has ports.
fn dial_in_pieces(node: &Node, names: &Names, choices: &mut Choices) {
    let packet = request(names, choices).framed(Framing::Ethernet).with_options(0);
    let mut fragments = packet.fragments(choices.of(&[24, 8, 16]), u16::from(choices.byte()));
    if choices.byte() & 1 != 0 {
        fragments.reverse();
    }
    let mut first = None;
    for fragment in fragments {
        let view = View::of(&fragment, Link::Ethernet).expect("a fragment");
        let sent = node.send(Hook::Ingress, Link::Ethernet, &fragment);
        let way = View::of(&sent.bytes, Link::Ethernet).map(|view| (view.src, view.dst));
        if view.part == Part::First && sent.verdict == Verdict::Rewritten {
            first = Some(way);
        } else if let Some(first) = first {
            assert_eq!((sent.verdict, way), (Verdict::Rewritten, first), "fragments part");
        }
        if matches!(sent.verdict, Verdict::Pass | Verdict::Rewritten) {
            let _ = node.send(Hook::Egress, Link::Ethernet, &sent.bytes);
        }
    }
}

fn request(names: &Names, choices: &mut Choices) -> Packet {
    let client = choices.of(&[names.pod, names.outside, names.near, names.node]);
    let port = choices.of(&[40_000, 40_001, 55_000]);
    let (address, port) = (at(client, port), choices.byte());
    let (protocol, how) = (choices.byte(), usize::from(choices.byte()));
    let transport = match protocol % 5 {
        0 | 1 => Transport::Tcp(FLAGS[how % 8]),
        2 => Transport::Udp,
        3 => Transport::Sctp(CHUNKS[how % 8]),
        _ if names.is_v6() => Transport::Udp,
        _ => Transport::UdpUnsummed,
    };
    let mut packet = tcp(&address, &dialled(names, port), 0);
    packet.transport = transport;
    packet.framing =
        [Framing::Ethernet, Framing::Vlan, Framing::DoubleVlan, Framing::Raw][how / 8 % 4];
    packet.with_options(how / 32 % 3)
}

fn dialled(names: &Names, choice: u8) -> String {
    let dialled = [
        (names.vip, 80),
        (names.other, 80),
        (names.node, 30080),
        (names.vip, 53),
        (names.other, 53),
        (names.node, 30053),
        (names.node, 30081),
        (names.guarded, 443),
        (names.near, 8080),
        (names.far, 8080),
        (names.near, 53),
        (names.empty, 80),
        (names.empty, 53),
        (names.vip, 81),
        (names.unallocated, 80),
        (names.node, 22),
    ];
    let (address, port) = dialled[usize::from(choice) % dialled.len()];
    at(address, port)
}

/// A backend answers a request of before, which did not leave the node.
fn answer(node: &Node, requests: &[Request], choices: &mut Choices) {
    let (which, flags) = (choices.byte(), choices.of(&FLAGS));
    let Some(request) = chosen(requests, which) else { return };
    if let Some(answer) = turned(&request.inside, request.link, flags) {
        let _ = node.send(Hook::Egress, request.link, &answer);
    }
}

/// A client repeats a request of before, and the backend answers it.
fn travel(node: &Node, requests: &[Request], choices: &mut Choices) {
    let Some(request) = chosen(requests, choices.byte()) else { return };
    let sent = node.send(Hook::Ingress, request.link, &request.dialled);
    if sent.verdict == Verdict::Rewritten {
        journey::there_and_back(node, request.link, &request.dialled, &sent.bytes);
    }
}

fn chosen(requests: &[Request], which: u8) -> Option<&Request> {
    (!requests.is_empty()).then(|| &requests[usize::from(which) % requests.len()])
}

fn pass_time(tables: &MemoryTables, choices: &mut Choices) {
    let seconds = choices.of(&[1, 31, 61, 181, 3601, 86_401]);
    tables.now.set(Ticks(tables.now.get().0.wrapping_add(Ticks::in_seconds(seconds))));
}

/// An endpoint comes, goes or is replaced, or a service loses all of them.
fn change(tables: &mut MemoryTables, choices: &mut Choices) {
    let (what, which) = (choices.byte(), choices.byte());
    match what % 3 {
        0 => {
            let services = tables.services.len();
            let service = tables.services.values_mut().nth(usize::from(which) % services);
            service.expect("counted before").cluster = SlotRange::EMPTY;
        }
        _ if tables.v6.backends.is_empty() => change_backend(&mut tables.v4, what, which),
        _ => change_backend(&mut tables.v6, what, which),
    }
}

fn change_backend<A: Address + Ord>(maps: &mut FamilyMaps<A>, what: u8, which: u8) {
    let count = maps.backends.len();
    let backend = maps.backends.values_mut().nth(usize::from(which) % count);
    let backend: &mut Backend<A> = backend.expect("counted before");
    match what / 3 % 3 {
        0 => backend.flags ^= backend::flags::SERVING,
        1 => backend.flags ^= backend::flags::IN_USE,
        _ => backend.generation += 1,
    }
}

/// The kernel takes an entry for itself.
fn evict(node: &mut Node, choices: &mut Choices) {
    let which = usize::from(choices.byte());
    node.is_damaged = true;
    remove(&node.tables, &node.tables.v4.flows(), which);
    remove(&node.tables, &node.tables.v6.flows(), which);
}

fn remove<A: Address, F>(
    tables: &MemoryTables,
    flows: &[(lb_common::abi::flow::FlowKey<A>, F)],
    which: usize,
) where
    MemoryTables: Tables<A>,
{
    if let Some((key, _)) = flows.get(which % flows.len().max(1)) {
        tables.remove_flow(key);
    }
}
