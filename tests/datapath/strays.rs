//! Resets of answers that a client got untranslated: held back, so that the flow goes on. Those of
//! direct connections pass.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Hook, flags};
use lb_common::clock::Ticks;
use lb_common::decide;
use lb_common::native::{Bytes, MemoryTables};
use lb_common::net::protocol::{SCTP, TCP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, World, sctp, tcp};

/// Client, two frontends, and the backend behind both.
#[derive(Clone, Copy)]
struct Parties {
    client: &'static str,
    vip: &'static str,
    other: &'static str,
    backend: &'static str,
}

const V4: Parties = Parties {
    client: "10.1.0.9:40000",
    vip: "10.96.0.10:80",
    other: "10.96.0.11:80",
    backend: "10.1.0.2:8080",
};
const V6: Parties = Parties {
    client: "[fd00:1::9]:40000",
    vip: "[fd00:96::10]:80",
    other: "[fd00:96::11]:80",
    backend: "[fd00:1::2]:8080",
};
const ALL: [Parties; 2] = [V4, V6];
const HELD: Verdict = Verdict::Drop(Counter::DropStrayReset);

fn world(protocol: u8) -> World {
    ALL.iter().fold(World::default(), |world, it| {
        world.service(protocol, &[it.vip, it.other], &[it.backend])
    })
}

fn datapath() -> Datapath {
    Datapath::new(world(TCP).tables())
}

impl Parties {
    #[track_caller]
    fn exchange(self, datapath: &mut Datapath, request: u8, answer: u8) {
        let packet = tcp(self.client, self.vip, request);
        datapath.ingress(&packet, &packet.clone().to(self.backend));
        self.answer(datapath, answer);
    }

    #[track_caller]
    fn answer(self, datapath: &mut Datapath, answer: u8) {
        let packet = tcp(self.backend, self.client, answer);
        datapath.egress(&packet, &packet.clone().from(self.vip));
    }

    /// An answer that nobody translates.
    #[track_caller]
    fn leak(self, datapath: &mut Datapath) {
        let packet = tcp(self.backend, self.client, ACK);
        datapath.egress(&packet, &packet);
    }

    fn send(self, datapath: &mut Datapath, flags: u8) -> Verdict {
        datapath.send(Hook::Ingress, &tcp(self.client, self.backend, flags)).verdict
    }

    fn open(self, datapath: &mut Datapath) {
        self.exchange(datapath, SYN, SYN | ACK);
        self.exchange(datapath, ACK, ACK);
    }

    /// Another client dials the other frontend.
    fn dial_other(self, datapath: &mut Datapath) {
        let packet = tcp(&self.client.replace("40000", "40001"), self.other, SYN);
        datapath.ingress(&packet, &packet.clone().to(self.backend));
    }
}

fn evict_answers(datapath: &mut Datapath) {
    datapath.evict(|_, of| of & flags::REPLY != 0);
}

#[test]
fn the_reset_of_a_lost_answer_is_held_back_and_the_next_answer_is_translated() {
    for parties in ALL {
        let mut datapath = datapath();
        parties.open(&mut datapath);
        for _ in 0..3 {
            evict_answers(&mut datapath);
            parties.leak(&mut datapath);
            assert_eq!(parties.send(&mut datapath, RST), HELD);
            parties.answer(&mut datapath, ACK);
        }
        parties.exchange(&mut datapath, ACK, ACK);
    }
}

#[test]
fn it_is_held_back_too_if_another_frontend_was_dialled_meanwhile() {
    for parties in ALL {
        let mut datapath = datapath();
        parties.open(&mut datapath);
        parties.dial_other(&mut datapath);
        evict_answers(&mut datapath);
        for _ in 0..3 {
            parties.leak(&mut datapath);
            assert_eq!(parties.send(&mut datapath, RST), HELD);
        }
        datapath.age_flows(5);
        parties.exchange(&mut datapath, ACK, ACK);
    }
}

#[test]
fn a_reset_that_comes_when_the_entry_is_back_is_held_back() {
    let mut datapath = datapath();
    V4.open(&mut datapath);
    evict_answers(&mut datapath);
    V4.leak(&mut datapath);
    datapath.age_flows(5);
    V4.exchange(&mut datapath, ACK, ACK);
    assert_eq!(V4.send(&mut datapath, RST), HELD);
    V4.exchange(&mut datapath, ACK, ACK);
}

#[test]
fn a_client_that_ends_its_own_connection_is_heard_at_once() {
    let mut datapath = datapath();
    V4.open(&mut datapath);
    evict_answers(&mut datapath);
    assert_eq!(V4.send(&mut datapath, RST | ACK), Verdict::Pass);
    let reset = tcp(V4.client, V4.vip, RST);
    datapath.ingress(&reset, &reset.clone().to(V4.backend));
}

#[test]
fn a_reset_that_comes_by_a_second_time_passes() {
    let mut datapath = datapath();
    V4.open(&mut datapath);
    let reset = tcp(V4.client, V4.vip, RST);
    datapath.ingress(&reset, &reset.clone().to(V4.backend));
    assert_eq!(V4.send(&mut datapath, RST), Verdict::Pass);
    evict_answers(&mut datapath);
    assert_eq!(V4.send(&mut datapath, RST), Verdict::Pass);
}

#[test]
fn a_reset_to_whom_no_flow_was_sent_passes() {
    assert_eq!(V4.send(&mut datapath(), RST), Verdict::Pass);
}

/// The client serves too, at the port that it dials from: flows were sent there.
#[test]
fn a_reset_by_the_backend_of_a_known_flow_passes() {
    let (server, vip) = ("10.1.0.3:8080", "10.96.0.12:80");
    let world = world(TCP).service(TCP, &[vip], &[server]);
    let mut datapath = Datapath::new(world.tables());
    V4.open(&mut datapath);
    let request = tcp(V4.backend, vip, SYN);
    datapath.ingress(&request, &request.clone().to(server));
    let reset = tcp(server, V4.backend, RST);
    datapath.ingress(&reset, &reset);
    datapath.egress(&reset, &reset.clone().from(vip));
}

/// As of a client that opens a port again whose last connection the backend believes to be open.
#[test]
fn a_direct_client_whose_syn_came_by_is_heard_at_once() {
    for parties in ALL {
        let mut datapath = datapath();
        parties.dial_other(&mut datapath);
        assert_eq!(parties.send(&mut datapath, SYN), Verdict::Pass);
        assert_eq!(parties.send(&mut datapath, RST), Verdict::Pass);
        assert_eq!(parties.send(&mut datapath, RST), Verdict::Pass);
    }
}

#[test]
fn so_is_one_whose_port_had_gone_through_a_frontend_before() {
    let mut datapath = datapath();
    V4.open(&mut datapath);
    V4.exchange(&mut datapath, RST, ACK);
    let syn = tcp(V4.client, V4.backend, SYN).numbered(2001);
    datapath.ingress(&syn, &syn);
    assert_eq!(V4.send(&mut datapath, RST), Verdict::Pass);
}

#[test]
fn an_abort_of_another_protocol_passes() {
    const ABORT: u8 = 6;
    let mut datapath = Datapath::new(world(SCTP).tables());
    let init = sctp(V4.client, V4.vip, 1);
    datapath.ingress(&init, &init.clone().to(V4.backend));
    let abort = sctp("10.1.0.8:40000", V4.backend, ABORT);
    datapath.ingress(&abort, &abort);
}

/// In memory alone, whose clock can be set: sends a reset, so many seconds after the last one.
fn reset_after(tables: &MemoryTables, seconds: u32) -> Verdict {
    tables.now.set(Ticks(tables.now.get().0 + Ticks::in_seconds(seconds)));
    let mut packet = Bytes(tcp(V4.client, V4.backend, RST).bytes());
    decide::ingress(&mut packet, tables, Link::Ethernet)
}

#[test]
fn a_direct_client_whose_syn_nobody_saw_is_heard_late_but_for_good() {
    let tables = world(TCP).tables();
    let mut syn = Bytes(tcp("10.1.0.8:40000", V4.vip, SYN).bytes());
    assert_eq!(decide::ingress(&mut syn, &tables, Link::Ethernet), Verdict::Rewritten);
    assert_eq!([0, 1, 9, 9, 7].map(|after| reset_after(&tables, after)), [HELD; 5]);
    // However long the backend waits between two attempts.
    assert_eq!([5, 60, 120, 120].map(|after| reset_after(&tables, after)), [Verdict::Pass; 4]);
    assert_eq!(reset_after(&tables, 4000), HELD);
}
