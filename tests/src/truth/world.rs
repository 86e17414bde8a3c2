//! Both executions, each behind an agent of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey, Hook, flags};
use lb_common::decide;
use lb_common::native::{Bytes, MemoryTables};
use lb_common::net::{Addr4, Addr6};
use lb_common::parse::Link;
use lb_common::tables::Tables;
use lb_userspace::maps::ReadBack;
use lb_userspace::maps::Snapshot;
use lb_userspace::maps::fake::Fake;
use lb_userspace::maps::kernel::KernelMaps;
use lb_userspace::netlink::{InterfaceAddress, Network, Scope};
use lb_userspace::plan::{Planner, Settings};
use serde_json::Value;

use super::fate::{Fate, Fates};
use super::lists::lists;
use super::probe::{Probe, destination};
use super::{NODE_NAME, memory};
use crate::agent::Agent;
use crate::datapath::{Globals, Kernel, TC_ACT_REDIRECT, TC_ACT_SHOT, action, now, timeless};

/// Room for the entries of a few flows: they are forgotten after every packet.
const FLOWS: u32 = 1024;
/// More flows than are made here: none is displaced by what an earlier world has left.
const PROBATION: u32 = 256 * 1024;
/// The interface with the node's addresses. Packets come by another, of which nothing is known.
const UPLINK: u32 = 2;

/// A node of a cluster, in memory and in the kernel.
pub struct World {
    kernel: Kernel,
    in_kernel: Agent<KernelMaps>,
    in_memory: Agent<Fake>,
    /// What the agent in memory has written.
    tables: MemoryTables,
    addresses: Vec<IpAddr>,
}

/// What both executions made of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The native execution.
    pub native: Fates,
    /// The kernel.
    pub kernel: Fates,
    /// The first packet on which they differ, even if not in its fate.
    pub difference: Option<String>,
}

/// One packet through one execution.
struct Passage {
    action: i32,
    packet: Vec<u8>,
    counted: BTreeMap<Counter, u64>,
    v4: Vec<(FlowKey<Addr4>, Flow<Addr4>)>,
    v6: Vec<(FlowKey<Addr6>, Flow<Addr6>)>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl World {
    /// A node with these `addresses`, programs with the setting `masquerade` (bits of
    /// [`lb_common::abi::settings::masquerade`]), agents with default settings, and no object.
    #[must_use]
    pub fn new(addresses: &[&str], masquerade: u32) -> Self {
        let globals = Globals { masquerade, ..Globals::default() };
        let kernel = Kernel::load(Some(FLOWS), PROBATION, globals);
        let addresses: Vec<_> =
            addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        let maps = kernel_maps(&kernel);
        let fake = Fake::new(maps.capacities());
        let planner = planner(&Settings::default(), &addresses);
        let in_memory = Agent::start(fake, planner.clone());
        let in_kernel = Agent::start(maps, planner);
        Self { kernel, in_kernel, in_memory, tables: memory::empty(masquerade), addresses }
    }

    /// Both agents are replaced by ones with other `settings`, which find what these have written
    /// and know of no object yet.
    pub fn restart(&mut self, settings: &Settings) {
        let planner = planner(settings, &self.addresses);
        self.in_memory = Agent::start(self.in_memory.maps().clone(), planner.clone());
        self.in_kernel = Agent::start(kernel_maps(&self.kernel), planner);
    }

    /// From now on `objects` are all there are in the cluster.
    ///
    /// # Panics
    ///
    /// If something of an object cannot be used, or the kernel's maps do not become what those in
    /// memory are.
    pub fn show(&mut self, objects: &[Value]) {
        let lists = lists(objects);
        self.in_memory.tell(&lists);
        self.in_kernel.tell(&lists);
        assert!(self.in_memory.rejections().is_empty(), "{:?}", self.in_memory.rejections());
        self.in_memory.settle();
        self.in_kernel.settle();
        let [in_memory, in_kernel] = self.written();
        assert_eq!(in_kernel, in_memory, "the kernel's maps");
        self.tables = memory::tables(&in_memory, self.tables.masquerade);
    }

    /// What the agents have written: in memory, then in the kernel.
    #[must_use]
    pub fn written(&self) -> [Snapshot; 2] {
        [self.in_memory.snapshot(), self.in_kernel.snapshot()]
    }

    /// Sends the packets of `probe` into the node, each as if none had come before.
    #[must_use]
    pub fn probe(&mut self, probe: Probe) -> Seen {
        let mut seen = Seen::default();
        for packet in probe.packets() {
            let native = self.native(&packet);
            let kernel = self.kernel(&packet);
            seen.native.0.insert(native.fate(&packet));
            seen.kernel.0.insert(kernel.fate(&packet));
            seen.difference = seen.difference.or_else(|| native.difference(&kernel));
        }
        seen
    }

    fn native(&mut self, packet: &[u8]) -> Passage {
        let before = self.tables.counters();
        self.tables.now.set(now());
        let mut bytes = Bytes(packet.to_vec());
        let verdict = decide::ingress(&mut bytes, &self.tables, Link::Ethernet);
        let (v4, v6) = (self.tables.v4.flows(), self.tables.v6.flows());
        for (key, _) in &v4 {
            self.tables.remove_flow(key);
        }
        for (key, _) in &v6 {
            self.tables.remove_flow(key);
        }
        let counted = since(&before, self.tables.counters());
        let (v4, v6) = (timeless(v4), timeless(v6));
        Passage { action: action(verdict), packet: bytes.0, counted, v4, v6 }
    }

    fn kernel(&mut self, packet: &[u8]) -> Passage {
        let before = self.kernel.counters();
        let answer = self.kernel.run(Hook::Ingress, Link::Ethernet, packet);
        let counted = since(&before, self.kernel.counters());
        let (v4, v6) = (timeless(self.kernel.flows_v4()), timeless(self.kernel.flows_v6()));
        self.kernel.forget_flows();
        Passage { action: answer.action, packet: answer.packet, counted, v4, v6 }
    }
}

impl Passage {
    /// What became of the packet that was `before`.
    fn fate(&self, before: &[u8]) -> Fate {
        match self.action {
            TC_ACT_SHOT => Fate::Dropped,
            TC_ACT_REDIRECT => Fate::Rejected,
            _ if self.packet == before => Fate::Unhandled,
            _ => Fate::Reaches {
                endpoint: destination(&self.packet),
                masqueraded: self.is_masqueraded(),
            },
        }
    }

    /// What the kernel did differently from this, the native execution.
    fn difference(&self, kernel: &Self) -> Option<String> {
        differ("action", &self.action, &kernel.action)
            .or_else(|| differ("counters", &self.counted, &kernel.counted))
            .or_else(|| differ("packet", &self.packet, &kernel.packet))
            .or_else(|| differ("IPv4 flows", &self.v4, &kernel.v4))
            .or_else(|| differ("IPv6 flows", &self.v6, &kernel.v6))
    }

    fn is_masqueraded(&self) -> bool {
        let mut flags = self.v4.iter().map(|(_, flow)| flow.flags);
        let mut more = self.v6.iter().map(|(_, flow)| flow.flags);
        flags.any(|it| it & flags::MASQUERADE != 0) || more.any(|it| it & flags::MASQUERADE != 0)
    }
}

fn differ<T: fmt::Debug + PartialEq>(what: &str, native: &T, kernel: &T) -> Option<String> {
    let differ = native != kernel;
    differ.then(|| format!("{what}\n    natively  {native:?}\n    in kernel {kernel:?}"))
}

fn planner(settings: &Settings, addresses: &[IpAddr]) -> Planner {
    let mut planner = Planner::new(NODE_NAME, settings.clone());
    let address = |ip: &IpAddr| InterfaceAddress {
        interface: UPLINK,
        ip: *ip,
        prefix_len: if ip.is_ipv4() { 24 } else { 64 },
        scope: Scope::Global,
        preferred: true,
    };
    let addresses = addresses.iter().map(address).collect();
    planner.set_network(Arc::new(Network { addresses, ..Network::default() }));
    planner
}

fn kernel_maps(kernel: &Kernel) -> KernelMaps {
    KernelMaps::from_maps(|name| kernel.map_data(name)).expect("the maps of the object")
}

fn since(before: &BTreeMap<Counter, u64>, now: BTreeMap<Counter, u64>) -> BTreeMap<Counter, u64> {
    let change = |(counter, value)| (counter, value - before.get(&counter).unwrap_or(&0));
    now.into_iter().map(change).filter(|(_, value)| *value != 0).collect()
}
