//! Sweeps over flows in memory that change under the walk.

mod heal;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use lb_common::abi::flow::{Flow, FlowKey, Hook, flags, state};
use lb_common::net::{Port, protocol};

use super::*;
use crate::maps::FlowEntry;

const NOW: Ticks = Ticks(1_000_000);
const OLD: Ticks = Ticks(1);

type Entries = BTreeMap<FlowKey<Addr4>, Flow<Addr4>>;
/// Something that others do to a table.
type Event = fn(&mut Entries);

/// A table in memory. What a packet does at the last moment is done just before something is taken.
#[derive(Default)]
struct Memory {
    entries: RefCell<Entries>,
    /// This entry is seen at the last moment.
    touched: Option<FlowKey<Addr4>>,
    /// Somebody else inserts this when something was taken.
    inserted: Option<FlowEntry<Addr4>>,
    /// When so many entries were looked at, this happens before the next is.
    meanwhile: Option<(u32, Event)>,
    looked: Cell<u32>,
    walked: bool,
}

impl FlowTable<Addr4> for Memory {
    fn next_entries(&mut self) -> Result<Option<Vec<FlowEntry<Addr4>>>, MapError> {
        self.walked = !self.walked;
        let entries = self.entries.borrow();
        Ok(self.walked.then(|| entries.iter().map(|(key, flow)| (*key, *flow)).collect()))
    }

    fn get(&self, key: &FlowKey<Addr4>) -> Result<Option<Flow<Addr4>>, MapError> {
        let looked = self.looked.replace(self.looked.get() + 1);
        if let Some((_, happen)) = self.meanwhile.filter(|(when, _)| *when == looked) {
            happen(&mut self.entries.borrow_mut());
        }
        Ok(self.entries.borrow().get(key).copied())
    }

    fn take(&mut self, key: &FlowKey<Addr4>) -> Result<Option<Flow<Addr4>>, MapError> {
        let mut entries = self.entries.borrow_mut();
        if let Some(flow) = self.touched.take().and_then(|key| entries.get_mut(&key)) {
            flow.seen = Ticks(NOW.0 + 1);
        }
        let taken = entries.remove(key);
        entries.extend(self.inserted.take());
        Ok(taken)
    }

    fn put_if_absent(
        &mut self,
        key: &FlowKey<Addr4>,
        flow: &Flow<Addr4>,
    ) -> Result<bool, MapError> {
        let mut entries = self.entries.borrow_mut();
        let is_absent = !entries.contains_key(key);
        entries.entry(*key).or_insert(*flow);
        Ok(is_absent)
    }
}

/// An address and a port.
type Socket = ([u8; 4], u16);

const CLIENT: Socket = ([10, 1, 0, 2], 40_000);
const DIALLED: Socket = ([10, 96, 0, 10], 80);
const BACKEND: Socket = ([10, 1, 1, 3], 8080);
const NODE: Socket = ([192, 168, 0, 11], 50_000);

/// An entry of `hook` for packets from `from` to `to`, which writes what is given.
fn entry(
    hook: Hook,
    (from, to): (Socket, Socket),
    (src, dst): (Option<Socket>, Option<Socket>),
    flags: u16,
) -> FlowEntry<Addr4> {
    let address = |(octets, port)| (Addr4::from_octets(octets), Port::from_host(port));
    let ((from, from_port), (to, to_port)) = (address(from), address(to));
    let key = FlowKey {
        src: from,
        dst: to,
        src_port: from_port,
        dst_port: to_port,
        protocol: protocol::TCP,
        hook: hook as u8,
        pad: [0; 2],
    };
    let sets = [(src, flags::SET_SRC), (dst, flags::SET_DST)];
    let sets = sets.iter().filter(|(set, _)| set.is_some()).fold(0, |bits, (_, bit)| bits | bit);
    let (src, src_port) = src.map(address).unwrap_or_default();
    let (dst, dst_port) = dst.map(address).unwrap_or_default();
    let flow = Flow {
        packets: 1,
        bytes: 60,
        src,
        dst,
        src_port,
        dst_port,
        backend: 1,
        generation: 1,
        service: 1,
        seen: OLD,
        flags: flags | sets,
        state: state::REPLIED | state::CONFIRMED,
        opening: 0,
    };
    (key, flow)
}

/// The four entries of a masqueraded flow, none seen for long: request, answer, and their legs.
fn masqueraded() -> [FlowEntry<Addr4>; 4] {
    [
        entry(Hook::Ingress, (CLIENT, DIALLED), (None, Some(BACKEND)), 0),
        entry(Hook::Egress, (BACKEND, CLIENT), (Some(DIALLED), None), flags::REPLY),
        entry(Hook::Egress, (CLIENT, BACKEND), (Some(NODE), None), 0),
        entry(Hook::Ingress, (BACKEND, NODE), (None, Some(CLIENT)), flags::REPLY),
    ]
}

fn table(entries: &[FlowEntry<Addr4>]) -> Memory {
    Memory { entries: RefCell::new(entries.iter().copied().collect()), ..Memory::default() }
}

/// What is left of `memory` after a walk, and what the walk tells.
fn swept(memory: Memory) -> (Entries, Tally) {
    let mut sweep = Sweep::new(memory, || NOW, Timeouts::DEFAULT);
    let mut tally = Tally::default();
    while sweep.step(&mut tally).unwrap() {}
    (sweep.table().entries.borrow().clone(), tally)
}

#[track_caller]
fn check_left(entries: &[FlowEntry<Addr4>], expected: &[FlowEntry<Addr4>]) {
    let (left, tally) = swept(table(entries));
    assert_eq!(left, expected.iter().copied().collect());
    assert_eq!(tally.removed, (entries.len() - expected.len()) as u64);
    assert_eq!(tally.entries.values().sum::<usize>(), entries.len());
    assert_eq!(tally.left(), expected.len());
}

#[test]
fn all_entries_of_a_flow_that_is_over_go_in_one_walk() {
    let all = masqueraded();
    check_left(&all, &[]);
    check_left(&all[..2], &[]);
    assert_eq!(swept(table(&all)).1.ended, 1);
}

#[test]
fn a_flow_stays_whole_while_either_direction_is_busy() {
    for busy in [&[0, 2][..], &[1, 3], &[0], &[1]] {
        let mut entries = masqueraded();
        for at in busy {
            entries[*at].1.seen = NOW;
        }
        check_left(&entries, &entries);
        check_left(&entries[..2], &entries[..2]);
    }
}

#[test]
fn what_an_eviction_has_left_of_a_flow_goes_when_it_is_over() {
    let all = masqueraded();
    for evicted in 0..4 {
        let left: Vec<_> = (0..4).filter(|at| *at != evicted).map(|at| all[at]).collect();
        let (rest, _) = swept(table(&left));
        assert_eq!(rest, Entries::new(), "without {:?}", all[evicted]);
    }
}

#[test]
fn an_answer_is_not_kept_for_a_request_that_has_another_backend_now() {
    let [mut request, answer, ..] = masqueraded();
    request.1.dst = Addr4::from_octets([10, 1, 1, 4]);
    (request.1.seen, request.1.state) = (NOW, 0);
    check_left(&[request, answer], &[request]);
}

#[test]
fn a_packet_at_the_last_moment_keeps_its_entry_and_all_that_follow() {
    let all = masqueraded();
    for last in 0..4 {
        let (left, tally) = swept(Memory { touched: Some(all[last].0), ..table(&all) });
        assert!(left.contains_key(&all[last].0), "{last}");
        if last == 0 {
            assert_eq!((left.len(), tally.removed), (4, 0));
        }
    }
}

#[test]
fn what_was_inserted_meanwhile_is_not_overwritten() {
    let all = masqueraded();
    let mut new = all[0];
    new.1.seen = Ticks(NOW.0 + 1);
    new.1.backend = 9;
    let memory = Memory { touched: Some(new.0), inserted: Some(new), ..table(&all[..2]) };
    assert_eq!(swept(memory).0, [new, all[1]].into());
}

#[test]
fn entries_are_told_by_what_is_known_of_their_flow() {
    let states = [0, state::REPLIED, state::CLIENT_FIN, state::REPLIED | state::RESET];
    let entries: Vec<_> = (0u16..)
        .zip(states)
        .map(|(port, state)| {
            let (mut key, mut flow) = masqueraded()[0];
            key.src_port = Port::from_host(port);
            (flow.state, flow.seen) = (state, NOW);
            (key, flow)
        })
        .collect();
    let (_, tally) = swept(table(&entries));
    assert_eq!(tally.removed, 0);
    assert_eq!(tally.entries, Stage::ALL.map(|stage| (stage, 1)).into());
}

/// A walk over a flow whose entries have carried 3 and 5 packets, and whose legs repeat them.
#[track_caller]
fn check_share(order: [usize; 4], is_over: bool) {
    let mut entries = masqueraded();
    for (entry, (packets, flags)) in
        entries.iter_mut().zip([(3, 0), (5, 0), (3, flags::LEG), (5, flags::LEG)])
    {
        entry.1.flags |= flags;
        (entry.1.packets, entry.1.bytes) = (packets, 100 * packets);
        entry.1.seen = if is_over { OLD } else { NOW };
    }
    let mut tally = Tally::default();
    let mut sweep = Sweep::new(table(&entries), || NOW, Timeouts::DEFAULT);
    for at in order {
        let (key, flow) = entries[at];
        sweep.look_at(key, &flow, &mut tally).unwrap();
    }
    let all = Traffic { flows: 1, packets: 8, bytes: 800 };
    let (live, gone) = if is_over { (Traffic::default(), all) } else { (all, Traffic::default()) };
    assert_eq!(tally.services[&1], Share { live, gone }, "{order:?}");
    assert_eq!(tally.left(), if is_over { 0 } else { 4 }, "{order:?}");
}

#[test]
fn what_a_flow_has_carried_counts_once_in_whatever_order_its_entries_are_met() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 1, 0]] {
        check_share(order, true);
        check_share(order, false);
    }
}
