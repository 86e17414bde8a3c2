//! Floods: flows that no client has confirmed, or that are over, give way to new ones, and to them
//! alone. Here five may be on probation.

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Hook, state};
use lb_common::abi::frontend::flags::EXTERNAL;
use lb_common::abi::prefix::client::POD;
use lb_common::net::Addr4;
use lb_common::net::protocol::{SCTP, TCP, UDP};
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_tests::datapath::{Datapath, Packet, World, sctp, tcp, udp};

const PLACES: u16 = 5;
const NODE: &str = "10.2.255.1";
const PODS: &str = "10.1.0.0/16";

/// Who talks to whom.
#[derive(Clone, Copy)]
struct Parties {
    client: &'static str,
    dialled: &'static str,
    backend: &'static str,
    /// Whether the client is hidden from the backend.
    is_masqueraded: bool,
}

const DIRECT: Parties = Parties {
    client: "10.1.0.9",
    dialled: "10.96.0.10:80",
    backend: "10.1.0.2:8080",
    is_masqueraded: false,
};
const V6: Parties = Parties {
    client: "[fd00:1::9]",
    dialled: "[fd00:96::10]:80",
    backend: "[fd00:1::2]:8080",
    is_masqueraded: false,
};
const MASQUERADED: Parties = Parties {
    client: "203.0.113.9",
    dialled: "192.0.2.1:30080",
    backend: "10.2.0.2:8080",
    is_masqueraded: true,
};
const ALL: [Parties; 3] = [DIRECT, V6, MASQUERADED];

fn datapath(protocol: u8) -> Datapath {
    let places = usize::from(PLACES);
    let world = ALL.iter().fold(World::default().probation(places), |world, it| {
        let world = world.service(protocol, &[it.dialled], &[it.backend]);
        if it.is_masqueraded { world.policy(EXTERNAL, 0) } else { world }
    });
    let world = world.clients(PODS, POD).clients("fd00:1::/64", POD);
    Datapath::new(world.source(1, NODE).tables())
}

impl Parties {
    fn client(self, port: u16) -> String {
        format!("{}:{port}", self.client)
    }

    fn request(self, datapath: &mut Datapath, port: u16, packet: &Packet) {
        let packet = packet.clone().from(&self.client(port)).to(self.dialled);
        let inside = packet.clone().to(self.backend);
        datapath.ingress(&packet, &inside);
        let outside = inside.clone();
        let outside = if self.is_masqueraded { outside.from(&self.seen(port)) } else { outside };
        datapath.egress(&inside, &outside);
    }

    fn answer(self, datapath: &mut Datapath, port: u16, packet: &Packet) {
        let packet = packet.clone().from(self.backend).to(&self.seen(port));
        let inside = packet.clone().to(&self.client(port));
        datapath.ingress(&packet, &inside);
        datapath.egress(&inside, &inside.clone().from(self.dialled));
    }

    /// Whom the backend sees.
    fn seen(self, port: u16) -> String {
        if self.is_masqueraded { format!("{NODE}:{port}") } else { self.client(port) }
    }

    /// One packet each way, of a flow from `port`.
    fn exchange(self, datapath: &mut Datapath, port: u16, request: u8, answer: u8) {
        self.request(datapath, port, &tcp(DIRECT.dialled, DIRECT.dialled, request));
        self.answer(datapath, port, &tcp(DIRECT.dialled, DIRECT.dialled, answer));
    }

    fn open(self, datapath: &mut Datapath, port: u16) {
        self.exchange(datapath, port, SYN, SYN | ACK);
        self.exchange(datapath, port, ACK, ACK);
    }

    fn entries(self) -> usize {
        if self.is_masqueraded { 4 } else { 2 }
    }
}

/// As many requests as may be on probation, from addresses that nobody has.
fn flood(datapath: &mut Datapath, parties: Parties, packet: &Packet) {
    for port in 0..PLACES {
        parties.request(datapath, 60_000 + port, packet);
    }
}

fn count(datapath: &Datapath) -> usize {
    datapath.tables().v4.flows().len() + datapath.tables().v6.flows().len()
}

fn displaced(datapath: &Datapath) -> u64 {
    datapath.tables().counters().get(&Counter::FlowDisplaced).copied().unwrap_or(0)
}

/// The client's ports of the flows that there are, from the lowest.
fn ports(datapath: &Datapath) -> Vec<u16> {
    let flows = datapath.tables().v4.flows();
    let requests = flows.iter().filter(|(_, flow)| !flow.is_reply() && !flow.is_leg());
    requests.map(|(key, _)| key.src_port.to_host()).collect()
}

fn syn() -> Packet {
    tcp(DIRECT.dialled, DIRECT.dialled, SYN)
}

#[test]
fn requests_that_nobody_confirms_push_each_other_out_in_their_order() {
    for parties in ALL {
        let mut datapath = datapath(TCP);
        for port in 51_000..51_012 {
            parties.request(&mut datapath, port, &syn());
        }
        assert_eq!(count(&datapath), usize::from(PLACES) * parties.entries());
        assert_eq!(displaced(&datapath), 7);
    }
    let mut datapath = datapath(TCP);
    for port in [3, 1, 2, 9, 8, 7, 6] {
        DIRECT.request(&mut datapath, port, &syn());
    }
    assert_eq!(ports(&datapath), [2, 6, 7, 8, 9]);
}

#[test]
fn an_established_connection_outlives_any_flood_however_idle_it_is() {
    for parties in ALL {
        let mut datapath = datapath(TCP);
        parties.open(&mut datapath, 51_000);
        for _ in 0..3 {
            flood(&mut datapath, parties, &syn());
        }
        datapath.age_flows(3600);
        flood(&mut datapath, parties, &syn());
        parties.exchange(&mut datapath, 51_000, ACK, ACK);
        assert_eq!(count(&datapath), usize::from(PLACES + 1) * parties.entries());
    }
}

#[test]
fn a_connection_of_which_only_the_backend_was_heard_is_not_established() {
    for answer in [SYN | ACK, RST | ACK] {
        let mut datapath = datapath(TCP);
        DIRECT.exchange(&mut datapath, 51_000, SYN, answer);
        DIRECT.request(&mut datapath, 51_000, &syn());
        flood(&mut datapath, DIRECT, &syn());
        assert!(!ports(&datapath).contains(&51_000));
    }
}

#[test]
fn a_request_that_is_repeated_takes_no_second_place() {
    let mut datapath = datapath(TCP);
    for _ in 0..3 {
        for port in 51_000..51_000 + PLACES {
            DIRECT.request(&mut datapath, port, &syn());
        }
    }
    assert_eq!(displaced(&datapath), 0);
}

#[test]
fn a_connection_that_is_over_goes_first_and_its_end_is_no_flood() {
    // Whoever says the last word.
    for (request, answer) in [(FIN | ACK, FIN | ACK), (ACK, RST), (RST, ACK)] {
        for parties in ALL {
            let mut datapath = datapath(TCP);
            parties.open(&mut datapath, 51_000);
            parties.exchange(&mut datapath, 51_000, request, answer);
            parties.exchange(&mut datapath, 51_000, ACK, ACK);
            assert_eq!(count(&datapath), parties.entries());
            flood(&mut datapath, parties, &syn());
            assert_eq!(count(&datapath), usize::from(PLACES) * parties.entries());
            assert_eq!(displaced(&datapath), 0);
        }
    }
}

#[test]
fn a_half_closed_connection_is_still_established() {
    let mut datapath = datapath(TCP);
    DIRECT.open(&mut datapath, 51_000);
    DIRECT.exchange(&mut datapath, 51_000, FIN | ACK, ACK);
    flood(&mut datapath, DIRECT, &syn());
    DIRECT.exchange(&mut datapath, 51_000, ACK, ACK);
    assert!(ports(&datapath).contains(&51_000));
}

#[test]
fn datagrams_are_confirmed_by_another_one_after_the_answer() {
    for parties in ALL {
        let mut datapath = datapath(UDP);
        let packet = udp(DIRECT.dialled, DIRECT.dialled);
        parties.request(&mut datapath, 51_000, &packet);
        parties.request(&mut datapath, 51_000, &packet);
        parties.answer(&mut datapath, 51_000, &packet);
        parties.request(&mut datapath, 51_000, &packet);
        parties.request(&mut datapath, 51_001, &packet);
        parties.answer(&mut datapath, 51_001, &packet);
        flood(&mut datapath, parties, &packet);
        assert_eq!(displaced(&datapath), 1);
        parties.answer(&mut datapath, 51_000, &packet);
    }
}

#[test]
fn an_older_place_of_its_own_does_not_take_a_flow_away_that_has_another_backend() {
    let mut datapath = datapath(UDP);
    let packet = udp(DIRECT.dialled, DIRECT.dialled);
    DIRECT.request(&mut datapath, 51_000, &packet);
    DIRECT.answer(&mut datapath, 51_000, &packet);
    for port in 2..PLACES {
        DIRECT.request(&mut datapath, 60_000 + port, &packet);
    }
    datapath.change(|tables| {
        let backend = tables.v4.backends.get_mut(&1).unwrap();
        backend.generation += 1;
        backend.addr = Addr4::from_octets([10, 1, 0, 3]);
    });
    let other = Parties { backend: "10.1.0.3:8080", ..DIRECT };
    other.request(&mut datapath, 51_000, &packet);
    other.request(&mut datapath, 60_000, &packet);
    assert_eq!(displaced(&datapath), 0);
    other.answer(&mut datapath, 51_000, &packet);
}

#[test]
fn associations_are_confirmed_by_the_cookie() {
    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const COOKIE_ECHO: u8 = 10;
    let mut datapath = datapath(SCTP);
    let chunk = |kind| sctp(DIRECT.dialled, DIRECT.dialled, kind);
    for port in [51_000, 51_001] {
        DIRECT.request(&mut datapath, port, &chunk(INIT));
        DIRECT.answer(&mut datapath, port, &chunk(INIT_ACK));
    }
    DIRECT.request(&mut datapath, 51_000, &chunk(COOKIE_ECHO));
    flood(&mut datapath, DIRECT, &chunk(INIT));
    assert_eq!(displaced(&datapath), 1);
    DIRECT.answer(&mut datapath, 51_000, &chunk(COOKIE_ECHO));
}

#[test]
fn a_connection_that_is_taken_up_again_is_confirmed_like_any_other() {
    let mut datapath = datapath(TCP);
    DIRECT.open(&mut datapath, 51_000);
    datapath.evict(|_, _| true);
    DIRECT.exchange(&mut datapath, 51_000, ACK, ACK);
    DIRECT.exchange(&mut datapath, 51_000, ACK, ACK);
    flood(&mut datapath, DIRECT, &syn());
    DIRECT.answer(&mut datapath, 51_000, &tcp(DIRECT.dialled, DIRECT.dialled, ACK));
}

#[test]
fn an_established_connection_stays_so_when_its_requests_entry_is_lost() {
    let mut datapath = datapath(TCP);
    DIRECT.open(&mut datapath, 51_000);
    datapath.evict(|hook, _| hook == Hook::Ingress as u8);
    datapath.age_flows(5);
    DIRECT.answer(&mut datapath, 51_000, &tcp(DIRECT.dialled, DIRECT.dialled, ACK));
    flood(&mut datapath, DIRECT, &syn());
    assert!(ports(&datapath).contains(&51_000));
    let flows = datapath.tables().v4.flows();
    let confirmed = flows.iter().filter(|(_, flow)| flow.state & state::CONFIRMED != 0);
    assert_eq!(confirmed.count(), 2);
}

/// A flow whose entry for answers was evicted has lost that place to one through another frontend; what
/// is left of it must not take that one along.
#[test]
fn a_flow_that_goes_takes_no_other_along() {
    let other = Parties { dialled: "10.96.0.11:80", ..DIRECT };
    let world = World::default().probation(usize::from(PLACES)).clients(PODS, POD);
    let world = world.service(TCP, &[DIRECT.dialled, other.dialled], &[DIRECT.backend]);
    let mut datapath = Datapath::new(world.tables());
    DIRECT.request(&mut datapath, 51_000, &syn());
    datapath.evict(|hook, _| hook == Hook::Egress as u8);
    other.open(&mut datapath, 51_000);
    flood(&mut datapath, DIRECT, &syn());
    assert_eq!(displaced(&datapath), 1);
    other.answer(&mut datapath, 51_000, &tcp(DIRECT.dialled, DIRECT.dialled, ACK));
}
