//! Plays a story on a node: every packet goes in by the hook at its sender and out by the hook at its
//! receiver, and what comes out is what must.
//!
//! The player knows of a flow only what its ends saw. It leaves out what no datapath could tell apart
//! from what was there first: see [`Play::is_ambiguous`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::abi::flow::Hook;
use lb_common::net::protocol::{SCTP, TCP};
use lb_common::parse::Link;
use lb_common::parse::tcp::{ACK, FIN, RST, SYN};
use lb_common::verdict::Verdict;
use lb_tests::datapath::{Datapath, Framing, Packet, Transport, assert_checksums, ends, icmp, tcp};

use super::story::{Act, Side, Step, Story};
use super::world::{Cast, Kind, PORTS, Who};

/// How often something worth seeing was seen.
pub(super) type Seen = BTreeMap<&'static str, u32>;

/// What stories must not go without.
pub(super) const WORTH_SEEING: [&str; 7] = [
    "answered",
    "errors",
    "hidden",
    "hidden, port kept",
    "its own backend",
    "moved",
    "direct, moved",
];

/// Source and destination.
type Ends = (SocketAddr, SocketAddr);

/// A story while it is played.
pub(super) struct Play<'a> {
    datapath: &'a mut Datapath,
    story: &'a Story,
    cast: &'static Cast,
    lines: Vec<Line>,
    seen: &'a mut Seen,
}

/// What both ends know of a talk.
struct Line {
    who: Who,
    kind: Kind,
    /// The ends of a request as the client sends it.
    dialled: Ends,
    /// What they become, as long as the flow is known.
    way: Option<Way>,
    fins: [bool; 2],
    is_reset: bool,
    /// How many connections there were.
    lives: u32,
    /// The length of what was sent last.
    length: usize,
}

/// The ends of a flow's requests within the node and at the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    inside: Ends,
    outside: Ends,
}

impl Line {
    fn is_closing(&self) -> bool {
        self.is_reset || self.fins.contains(&true)
    }

    fn is_over(&self) -> bool {
        self.is_reset || self.fins == [true; 2]
    }

    fn is_live(&self) -> bool {
        self.way.is_some() && !self.is_over()
    }
}

impl<'a> Play<'a> {
    pub(super) fn new(datapath: &'a mut Datapath, story: &'a Story, seen: &'a mut Seen) -> Self {
        let cast = Cast::of(story.is_v6);
        let lines = story.talks.iter().map(|talk| {
            let (client, who) = cast.clients[talk.client];
            let (dialled, kind) = cast.dialled[talk.dialled];
            let client = SocketAddr::new(client.parse().unwrap(), talk.port);
            Line {
                who,
                kind,
                dialled: (client, dialled.parse().unwrap()),
                way: None,
                fins: [false; 2],
                is_reset: false,
                lives: 0,
                length: 0,
            }
        });
        Self { datapath, story, cast, lines: lines.collect(), seen }
    }

    pub(super) fn run(mut self) {
        for step in &self.story.steps {
            match *step {
                Step::Wait => self.datapath.age_flows(2),
                Step::Send(talk, side, act, length) => {
                    let talk = talk % self.lines.len();
                    self.lines[talk].length = length;
                    match side {
                        Side::Client => self.request(talk, act),
                        Side::Server => self.answer(talk, act),
                    }
                }
                Step::Fail(talk, side) => self.fail(talk % self.lines.len(), side),
            }
        }
    }

    fn request(&mut self, talk: usize, act: Act) {
        let line = &self.lines[talk];
        let act = if line.way.is_none() { Act::Open } else { act };
        let is_new = act == Act::Open && (line.way.is_none() || line.is_closing());
        if is_new && self.is_ambiguous(talk) {
            return;
        }
        if is_new {
            self.open(talk);
        }
        let sent = self.packet(talk, Side::Client, act, self.lines[talk].dialled);
        match self.travel(&sent) {
            Some(way) => self.follow(talk, way),
            None => assert_eq!(self.lines[talk].way, None, "{sent:?} of a known flow is dropped"),
        }
        self.note(talk, Side::Client, act);
    }

    /// Whether a flow that `talk` opens now could be taken for another one, or never leaves its client.
    ///
    /// Nothing is known of a direct connection that was there first. And one that comes second is
    /// told from a retransmission by TCP's sequence numbers alone.
    fn is_ambiguous(&self, talk: usize) -> bool {
        let Line { dialled, kind, .. } = self.lines[talk];
        let mut others = self.others(talk).filter(|other| other.is_live());
        match kind {
            Kind::Direct if dialled.0.ip() == dialled.1.ip() => true,
            Kind::Direct if self.story.protocol == TCP => false,
            Kind::Direct => others.any(|it| it.way.is_some_and(|way| way.inside == dialled)),
            _ => others.any(|it| it.kind == Kind::Direct && it.dialled.0 == dialled.0),
        }
    }

    fn others(&self, talk: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().enumerate().filter(move |(at, _)| *at != talk).map(|(_, line)| line)
    }

    fn open(&mut self, talk: usize) {
        let line = &mut self.lines[talk];
        line.way = None;
        line.fins = [false; 2];
        line.is_reset = false;
        line.lives += 1;
        *self.seen.entry("opened").or_default() += 1;
    }

    /// Takes a request through the node; `None` if it finds no free port.
    fn travel(&mut self, sent: &Packet) -> Option<Way> {
        let inside = self.hop(Hook::Ingress, sent)?;
        let outside = self.hop(Hook::Egress, &inside)?;
        Some(Way { inside: (inside.src, inside.dst), outside: (outside.src, outside.dst) })
    }

    /// Sends a packet through one hook. What comes out is, byte for byte, the packet that somebody
    /// would have built with the ends it has now.
    fn hop(&mut self, hook: Hook, packet: &Packet) -> Option<Packet> {
        let outcome = self.datapath.send(hook, packet);
        if let Verdict::Drop(reason) = outcome.verdict {
            let clashes = ["drop_flow_clash", "drop_masquerade_ports"];
            assert!(clashes.contains(&reason.label()), "{reason:?} of {packet:?}");
            *self.seen.entry("dropped").or_default() += 1;
            return None;
        }
        let (src, dst) = ends(&outcome.packet, packet.framing);
        let expected = Packet { src, dst, ..packet.clone() };
        assert_ne!(outcome.verdict, Verdict::Reject);
        assert_checksums(&outcome.packet, packet.framing);
        assert_eq!(outcome.packet, expected.bytes(), "{packet:?} becomes {expected:?}");
        Some(expected)
    }

    /// Checks the way that a request of `talk` took.
    fn follow(&mut self, talk: usize, way: Way) {
        let line = &self.lines[talk];
        let (client, dialled) = line.dialled;
        let ((near, inner), (source, backend)) = (way.inside, way.outside);
        assert_eq!(inner, backend, "the backend is chosen where the request comes in");
        assert!(near == client || is_moved(near, client), "{client} has become {near}");
        match line.kind {
            Kind::Direct => assert_eq!(dialled, backend),
            kind => assert!(self.cast.may_serve(line.who, kind, backend), "{line:?} {backend}"),
        }
        let client = (client.ip(), line.who);
        if self.cast.is_hidden(self.story.setting, client, line.kind, backend) {
            assert_eq!(source.ip(), self.cast.node.parse::<IpAddr>().unwrap());
            assert!(PORTS.contains(&source.port()), "{source}");
        } else {
            assert_eq!(source, near);
        }
        match line.way {
            Some(before) => assert_eq!(before, way, "a flow keeps its way"),
            None => self.settle(talk, way),
        }
    }

    /// Gives a new flow its way, which no other has.
    fn settle(&mut self, talk: usize, way: Way) {
        for other in self.others(talk).filter(|other| other.is_live()) {
            assert_ne!(other.way.map(|it| it.outside), Some(way.outside), "{other:?}");
        }
        for (_, other) in self.lines.iter_mut().enumerate().filter(|(at, _)| *at != talk) {
            // It was over, and its place has been taken.
            other.way = other.way.filter(|it| it.inside != way.inside && it.outside != way.outside);
        }
        let line = &mut self.lines[talk];
        line.way = Some(way);
        let (client, _) = line.dialled;
        let mut note = |name, is_so: bool| *self.seen.entry(name).or_default() += u32::from(is_so);
        note("moved", way.inside.0 != client);
        note("hidden", way.outside.0 != way.inside.0);
        note(
            "hidden, port kept",
            way.outside.0 != way.inside.0 && way.outside.0.port() == client.port(),
        );
        note("its own backend", client.ip() == way.outside.1.ip());
        note("direct", line.kind == Kind::Direct);
        note("direct, moved", line.kind == Kind::Direct && way.inside.0 != client);
    }

    fn answer(&mut self, talk: usize, act: Act) {
        let line = &self.lines[talk];
        let Some(way) = line.way else { return };
        let act = match act {
            // These would be of a direct connection.
            Act::Open if line.is_closing() => Act::Data,
            Act::Reset if line.is_over() => Act::Data,
            act => act,
        };
        let sent = self.packet(talk, Side::Server, act, reversed(way.outside));
        let inside = self.hop(Hook::Ingress, &sent).expect("answers are not dropped");
        assert_eq!((inside.src, inside.dst), reversed(way.inside), "the answer within the node");
        let outside = self.hop(Hook::Egress, &inside).expect("answers are not dropped");
        let dialled = self.lines[talk].dialled;
        assert_eq!((outside.src, outside.dst), reversed(dialled), "the answer to {dialled:?}");
        self.note(talk, Side::Server, act);
        *self.seen.entry("answered").or_default() += 1;
    }

    /// An error about the last packet of the other side, quoted as this one's router saw it, arrives as
    /// one about the packet that was sent. A backend that knows the node alone hears of it from there.
    fn fail(&mut self, talk: usize, to: Side) {
        let line = &self.lines[talk];
        let Some(way) = line.way else { return };
        let ends = [line.dialled, way.inside, way.outside];
        let ends = match to {
            Side::Client => [ends[2], ends[1], ends[0]],
            Side::Server => ends.map(reversed),
        };
        let router: IpAddr = self.cast.router.parse().unwrap();
        let teller = match to {
            Side::Server if way.outside.0 != way.inside.0 => way.outside.0.ip(),
            _ => router,
        };
        let [far, inside, near] = [(router, ends[0]), (router, ends[1]), (teller, ends[2])]
            .map(|(teller, ends)| self.error(talk, to, teller, ends));
        assert_eq!(self.datapath.send_bytes(Hook::Ingress, Link::Ethernet, &far).packet, inside);
        assert_eq!(self.datapath.send_bytes(Hook::Egress, Link::Ethernet, &inside).packet, near);
        *self.seen.entry("errors").or_default() += 1;
    }

    /// An error about a packet with these ends, from `teller` to its sender.
    fn error(&self, talk: usize, to: Side, teller: IpAddr, ends: Ends) -> Vec<u8> {
        let about =
            Packet { framing: Framing::Raw, options: 0, ..self.packet(talk, to, Act::Data, ends) };
        let (kind, header) = if self.story.is_v6 { ([2, 0], 40) } else { ([3, 4], 20) };
        let quote = &about.bytes()[..header + 8];
        icmp(&teller.to_string(), &ends.0.ip().to_string(), kind, [0, 0, 5, 120], quote)
    }

    fn packet(&self, talk: usize, from: Side, act: Act, (src, dst): Ends) -> Packet {
        let line = &self.lines[talk];
        let sequence = u32::try_from(talk).unwrap() * 16 + line.lives % 16;
        Packet {
            transport: transport(self.story.protocol, from, act),
            framing: self.story.framing,
            options: self.story.options,
            payload: (0..=255).cycle().skip(talk).take(line.length).collect(),
            ..tcp(&src.to_string(), &dst.to_string(), 0).numbered(sequence)
        }
    }

    /// Notes what a packet said of its connection.
    fn note(&mut self, talk: usize, from: Side, act: Act) {
        let line = &mut self.lines[talk];
        if !matches!(self.story.protocol, TCP | SCTP) || line.way.is_none() {
            return;
        }
        match act {
            Act::Open | Act::Data => {}
            Act::Fin => line.fins[usize::from(from == Side::Server)] = true,
            Act::Reset => line.is_reset = true,
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {:?} to {:?} by {:?}", self.dialled.0, self.who, self.kind, self.way)
    }
}

/// Whether a client's port was replaced by one for that.
fn is_moved(near: SocketAddr, client: SocketAddr) -> bool {
    near.ip() == client.ip() && PORTS.contains(&near.port())
}

fn reversed((src, dst): Ends) -> Ends {
    (dst, src)
}

fn transport(protocol: u8, from: Side, act: Act) -> Transport {
    let server = from == Side::Server;
    match (protocol, act) {
        (TCP, Act::Open) => Transport::Tcp(if server { SYN | ACK } else { SYN }),
        (TCP, Act::Data) => Transport::Tcp(ACK),
        (TCP, Act::Fin) => Transport::Tcp(FIN | ACK),
        // By a program; what a kernel without a socket resets is held back for a while (`strays`).
        (TCP, Act::Reset) => Transport::Tcp(RST | ACK),
        // INIT, INIT ACK, DATA, SHUTDOWN, ABORT.
        (SCTP, Act::Open) => Transport::Sctp(if server { 2 } else { 1 }),
        (SCTP, Act::Data) => Transport::Sctp(0),
        (SCTP, Act::Fin) => Transport::Sctp(7),
        (SCTP, Act::Reset) => Transport::Sctp(6),
        _ => Transport::Udp,
    }
}
