//! Datapath tests: one packet, two executions that must agree.
//!
//! [`Datapath::send`] runs a packet through the kernel's program (`BPF_PROG_TEST_RUN`, real maps)
//! and through the native execution of the same decisions, and compares verdict, packet bytes,
//! counters, what services have carried, flow entries and remembered clients.

mod explained;
mod fragment;
mod icmp;
mod kernel;
mod packet;
mod sctp;
mod world;

pub use explained::run_as_explained;
pub use icmp::icmp;
use kernel::Lent;
pub use kernel::{Answer, Globals, Kernel};
pub use packet::{Framing, Packet, Transport, assert_checksums, ends, sctp, tcp, udp};
pub use world::World;

use lb_common::abi::affinity::Affinity;
use lb_common::abi::event::{Event, Listener};
use lb_common::abi::flow::{Flow, Hook};
use lb_common::clock::Ticks;
use lb_common::decide;
use lb_common::native::{Bytes, MemoryTables};
use lb_common::parse::Link;
use lb_common::tables::{Insert, Tables as _};
use lb_common::verdict::Verdict;
use nix::time::{ClockId, clock_gettime};

/// On to the next program.
pub const TC_ACT_UNSPEC: i32 = -1;
/// Gone.
pub const TC_ACT_SHOT: i32 = 2;
/// Back out of the interface it came by.
pub const TC_ACT_REDIRECT: i32 = 7;

/// The kernel object under test.
#[must_use]
pub fn object() -> &'static [u8] {
    lb_userspace::datapath::object::OBJECT
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The packet as it goes on.
    pub packet: Vec<u8>,
}

/// Both executions over the same tables.
#[derive(Debug)]
pub struct Datapath {
    native: MemoryTables,
    kernel: Lent,
}

impl Datapath {
    /// Loads the kernel object with the settings of `tables` and fills both sides from it.
    #[must_use]
    pub fn new(tables: MemoryTables) -> Self {
        let small = |entries| u32::try_from(entries).expect("small");
        let (flows, probation) = (tables.flow_capacity.map(small), small(tables.probation));
        let mut kernel = Lent::new(flows, probation, Globals::of(&tables));
        kernel.fill(&tables);
        Self { native: tables, kernel }
    }

    /// Changes the tables on both sides. Settings are not tables: they are as they were loaded.
    pub fn change(&mut self, change: impl FnOnce(&mut MemoryTables)) {
        change(&mut self.native);
        self.kernel.fill(&self.native);
    }

    /// The native side: its tables and counters, which equal the kernel's.
    #[must_use]
    pub fn tables(&self) -> &MemoryTables {
        &self.native
    }

    /// Removes the flow entries that `which` says, by hook and flags
    /// ([`flags`](lb_common::abi::flow::flags)).
    pub fn evict(&mut self, which: impl Fn(u8, u16) -> bool + Copy) {
        for (key, flow) in self.native.v4.flows() {
            which(key.hook, flow.flags).then(|| self.native.remove_flow(&key));
        }
        for (key, flow) in self.native.v6.flows() {
            which(key.hook, flow.flags).then(|| self.native.remove_flow(&key));
        }
        self.kernel.evict(which);
    }

    /// Makes all flow entries look as if their last packet had passed so much earlier.
    pub fn age_flows(&mut self, seconds: u32) {
        let ticks = Ticks::in_seconds(seconds);
        let aged = |seen: Ticks| Ticks(seen.0.wrapping_sub(ticks));
        for (key, flow) in self.native.v4.flows() {
            let flow = Flow { seen: aged(flow.seen), ..flow };
            self.native.insert_flow(&key, &flow, Insert::Replace).expect("there is room");
        }
        for (key, flow) in self.native.v6.flows() {
            let flow = Flow { seen: aged(flow.seen), ..flow };
            self.native.insert_flow(&key, &flow, Insert::Replace).expect("there is room");
        }
        self.kernel.age_flows(ticks);
    }

    /// Makes all remembered clients look as if they had last come so much earlier.
    pub fn age_affinities(&mut self, seconds: u32) {
        let ticks = Ticks::in_seconds(seconds);
        for (key, affinity) in self.native.v4.affinities() {
            self.native.remember(&key, &earlier(affinity, ticks));
        }
        for (key, affinity) in self.native.v6.affinities() {
            self.native.remember(&key, &earlier(affinity, ticks));
        }
        self.kernel.age_affinities(ticks);
    }

    /// Somebody listens to events from now on, or nobody does.
    pub fn listen(&mut self, listens: bool) {
        let until = if listens { Ticks(u32::MAX) } else { Ticks(0) };
        self.change(|tables| tables.listener = Listener { until, pid: 1 });
    }

    /// Takes the events that were told since this was last called, their time left out.
    ///
    /// # Panics
    ///
    /// If the two executions told different ones.
    #[track_caller]
    pub fn take_events(&mut self) -> Vec<Event> {
        let timeless = |event: Event| Event { time: 0, ..event };
        let native: Vec<_> = self.native.take_events().into_iter().map(timeless).collect();
        let kernel: Vec<_> = self.kernel.take_events().into_iter().map(timeless).collect();
        assert_eq!(kernel, native, "the kernel's events");
        native
    }

    /// Sends bytes through `hook` of a device framed by `link`.
    ///
    /// # Panics
    ///
    /// If the two executions disagree on anything.
    #[track_caller]
    pub fn send_bytes(&mut self, hook: Hook, link: Link, bytes: &[u8]) -> Outcome {
        self.native.now.set(now());
        let mut packet = Bytes(bytes.to_vec());
        let verdict = match hook {
            Hook::Ingress => decide::ingress(&mut packet, &self.native, link),
            Hook::Egress => decide::egress(&mut packet, &self.native, link),
        };
        let answer = self.kernel.run(hook, link, bytes);
        assert_eq!(answer.action, action(verdict), "the kernel's action for {verdict:?}");
        assert_eq!(answer.packet, packet.0, "the kernel's packet");
        self.assert_same_tables();
        Outcome { verdict, packet: packet.0 }
    }

    /// Sends `packet` through `hook`.
    #[track_caller]
    pub fn send(&mut self, hook: Hook, packet: &Packet) -> Outcome {
        let link = if packet.framing == Framing::Raw { Link::Raw } else { Link::Ethernet };
        self.send_bytes(hook, link, &packet.bytes())
    }

    /// Sends `packet` into the node and expects it to go on as `expected`, byte for byte.
    #[track_caller]
    pub fn ingress(&mut self, packet: &Packet, expected: &Packet) {
        self.translate(Hook::Ingress, packet, expected);
    }

    /// Sends `packet` out of the node and expects it to go on as `expected`, byte for byte.
    #[track_caller]
    pub fn egress(&mut self, packet: &Packet, expected: &Packet) {
        self.translate(Hook::Egress, packet, expected);
    }

    #[track_caller]
    fn translate(&mut self, hook: Hook, packet: &Packet, expected: &Packet) {
        let outcome = self.send(hook, packet);
        let verdict = if packet == expected { Verdict::Pass } else { Verdict::Rewritten };
        assert_eq!(outcome.verdict, verdict, "{packet:?}");
        assert_checksums(&outcome.packet, packet.framing);
        assert_eq!(outcome.packet, expected.bytes(), "{packet:?} becomes {expected:?}");
    }

    #[track_caller]
    fn assert_same_tables(&self) {
        assert_eq!(self.kernel.counters(), self.native.counters(), "the kernel's counters");
        let native = self.native.carried();
        assert_eq!(self.kernel.carried(), native, "what the kernel's services have carried");
        let native: Vec<_> = self.native.v4.flows();
        assert_eq!(timeless(self.kernel.flows_v4()), timeless(native), "the kernel's IPv4 flows");
        let native: Vec<_> = self.native.v6.flows();
        assert_eq!(timeless(self.kernel.flows_v6()), timeless(native), "the kernel's IPv6 flows");
        let native = unused(self.native.v4.affinities());
        assert_eq!(unused(self.kernel.affinities_v4()), native, "the kernel's IPv4 clients");
        let native = unused(self.native.v6.affinities());
        assert_eq!(unused(self.kernel.affinities_v6()), native, "the kernel's IPv6 clients");
    }
}

/// Flow entries without their time, which the two executions read one after the other.
pub(crate) fn timeless<K, A: Copy>(flows: Vec<(K, Flow<A>)>) -> Vec<(K, Flow<A>)> {
    flows.into_iter().map(|(key, flow)| (key, Flow { seen: Ticks(0), ..flow })).collect()
}

/// Remembered clients without their time.
fn unused<K>(affinities: Vec<(K, Affinity)>) -> Vec<(K, Affinity)> {
    let timeless = |(key, affinity)| (key, Affinity { used: Ticks(0), ..affinity });
    affinities.into_iter().map(timeless).collect()
}

fn earlier(affinity: Affinity, ticks: u32) -> Affinity {
    Affinity { used: Ticks(affinity.used.0.wrapping_sub(ticks)), ..affinity }
}

/// The TC action that a verdict stands for.
#[must_use]
pub fn action(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass | Verdict::Rewritten => TC_ACT_UNSPEC,
        Verdict::Reject => TC_ACT_REDIRECT,
        Verdict::Drop(_) => TC_ACT_SHOT,
    }
}

/// The time as the kernel programs read it.
///
/// # Panics
///
/// If the clock cannot be read.
#[must_use]
pub fn now() -> Ticks {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock every kernel has");
    let ns = u64::try_from(time.tv_sec()).expect("after boot") * 1_000_000_000
        + u64::try_from(time.tv_nsec()).expect("below a second");
    Ticks::from_ns(ns)
}
