//! The kernel side of a datapath test: the real object, real maps, `BPF_PROG_TEST_RUN`.

mod fill;
mod pool;

pub(super) use pool::Lent;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::carried::Carried;
use lb_common::abi::counter::Counter;
use lb_common::abi::event::Event;
use lb_common::abi::flow::{Flow, FlowKey, Hook};
use lb_common::abi::{map, record, settings};
use lb_common::clock::Ticks;
use lb_common::native::MemoryTables;
use lb_common::net::{Addr4, Addr6, Address};
use lb_common::parse::Link;
use lb_userspace::maps::kernel::Sums;

/// Capacity of all maps but those that have few elements anyhow, unless a test asks for another size
/// of the flow tables: small, so that maps are made and read fast.
const CAPACITY: u32 = 4 * 1024;
/// Maps whose capacity says something, so that they keep it.
const SIZED: [&str; 9] = [
    map::COUNTERS,
    map::SERVICE_CIDRS_V4,
    map::SERVICE_CIDRS_V6,
    map::PROBATION_V4,
    map::PROBATION_V6,
    map::PROBATION_TURN,
    map::HINTS,
    map::LISTENER,
    map::CARRIERS,
];
/// Largest packet a test run returns.
const MAX_PACKET: usize = 16 * 1024;

/// What a kernel program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The return value, a TC action.
    pub action: i32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
}

/// What the programs read as globals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Globals {
    /// [`settings::MASQUERADE`]; by default none of its bits.
    pub masquerade: u32,
    /// [`settings::MASQUERADE_PORTS`]; by default the agent's.
    pub masquerade_ports: u32,
    /// [`settings::VIP_ECHO`]; by default they are answered.
    pub vip_echo: u32,
    /// [`settings::TAKEOVER`]; by default nobody was here before.
    pub takes_over: bool,
    /// [`settings::TERMINATE_TCP`]; by default connections outlive their endpoint.
    pub terminates_tcp: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self::of(&MemoryTables::default())
    }
}

impl Globals {
    /// Those of `tables`.
    #[must_use]
    pub fn of(tables: &MemoryTables) -> Self {
        Self {
            masquerade: tables.masquerade,
            masquerade_ports: tables.masquerade_ports,
            vip_echo: tables.vip_echo,
            takes_over: tables.takes_over,
            terminates_tcp: tables.terminates_tcp,
        }
    }
}

/// The kernel object with maps of its own, not pinned anywhere.
#[derive(Debug)]
pub struct Kernel {
    ebpf: Ebpf,
}

impl Kernel {
    /// Makes the maps; `flows` is the capacity of each flow table, `probation` says how many flows may
    /// be on probation.
    ///
    /// # Panics
    ///
    /// If the kernel refuses one.
    #[must_use]
    pub fn load(flows: Option<u32>, probation: u32, globals: Globals) -> Self {
        let mut loader = EbpfLoader::new();
        for name in map::ALL.into_iter().filter(|name| !SIZED.contains(name)) {
            loader.map_max_entries(name, CAPACITY);
        }
        loader.map_max_entries(map::FLOWS_V4, flows.unwrap_or(CAPACITY));
        loader.map_max_entries(map::FLOWS_V6, flows.unwrap_or(CAPACITY));
        loader.map_max_entries(map::PROBATION_V4, probation);
        loader.map_max_entries(map::PROBATION_V6, probation);
        loader.override_global(settings::MASQUERADE, &globals.masquerade, true);
        loader.override_global(settings::MASQUERADE_PORTS, &globals.masquerade_ports, true);
        loader.override_global(settings::VIP_ECHO, &globals.vip_echo, true);
        let takes_over = u32::from(globals.takes_over);
        loader.override_global(settings::TAKEOVER, &takes_over, true);
        let terminates_tcp = u32::from(globals.terminates_tcp);
        loader.override_global(settings::TERMINATE_TCP, &terminates_tcp, true);
        loader.override_global(settings::SOCKET_LB, &1_u32, true);
        Self { ebpf: loader.load(super::object()).expect("the object loads") }
    }

    /// Runs the program of `hook` and `link` on `packet`.
    ///
    /// # Panics
    ///
    /// If the kernel refuses to run it.
    #[must_use]
    pub fn run(&mut self, hook: Hook, link: Link, packet: &[u8]) -> Answer {
        let mut out = vec![0; MAX_PACKET];
        let result = self
            .program(hook, link)
            .test_run(TestRunOptions {
                data_in: Some(packet),
                data_out: Some(&mut out),
                ..TestRunOptions::new()
            })
            .expect("the kernel runs the program");
        out.truncate(usize::try_from(result.data_size_out).expect("a length"));
        Answer { action: result.return_value.cast_signed(), packet: out }
    }

    /// The program of `hook` and `link`, loaded when it is first asked for: that takes longer than
    /// most tests.
    ///
    /// # Panics
    ///
    /// If the object has none, or the verifier refuses it, with its log.
    #[must_use]
    pub fn program(&mut self, hook: Hook, link: Link) -> &SchedClassifier {
        let name = match (link, hook) {
            (Link::Ethernet, Hook::Ingress) => "lb_tc_ingress",
            (Link::Ethernet, Hook::Egress) => "lb_tc_egress",
            (Link::Raw, Hook::Ingress) => "lb_l3_ingress",
            (Link::Raw, Hook::Egress) => "lb_l3_egress",
        };
        let program = self.ebpf.program_mut(name).expect(name);
        let program: &mut SchedClassifier = program.try_into().expect("a classifier");
        if program.fd().is_err() {
            program.load().unwrap_or_else(|error| panic!("{name}: {error:#?}"));
        }
        program
    }

    /// Attaches the program for IPv4 connects to `cgroup`, for the sockets of all namespaces, until
    /// this is dropped: to an agent there, it is somebody else's.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn attach_connect(&mut self, cgroup: &Path) {
        let program = self.ebpf.program_mut("lb_connect4").expect("the program");
        let program: &mut CgroupSockAddr = program.try_into().expect("a program for cgroups");
        program.load().expect("load the program");
        let cgroup = File::open(cgroup).expect("open the cgroup");
        program.attach(cgroup, CgroupAttachMode::Single).expect("attach to the cgroup");
    }

    /// All counters that are not zero, summed over the CPUs.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<Counter, u64> {
        let map = self.ebpf.map(map::COUNTERS).expect("COUNTERS");
        let map: PerCpuArray<_, u64> = map.try_into().expect("a per-CPU array");
        Counter::ALL
            .iter()
            .map(|counter| (*counter, map.get(&(*counter as u32), 0).expect("read").iter().sum()))
            .filter(|(_, value)| *value != 0)
            .collect()
    }

    /// What each service has carried; those that have carried nothing are left out.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    #[must_use]
    pub fn carried(&self) -> BTreeMap<u32, Carried> {
        Sums::open(&mut |name| self.map_data(name)).expect("SVC_CARRIED").all()
    }

    /// Takes the events that were told since this was last called.
    ///
    /// # Panics
    ///
    /// If one is of another layout.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<Event> {
        let mut ring = RingBuf::try_from(self.map(map::EVENTS)).expect("a ring buffer");
        let mut events = Vec::new();
        while let Some(record) = ring.next() {
            events.push(record::read(&record).expect("an event"));
        }
        events
    }

    /// The IPv4 flow entries in the order of their keys.
    #[must_use]
    pub fn flows_v4(&self) -> Vec<(FlowKey<Addr4>, Flow<Addr4>)> {
        self.entries(map::FLOWS_V4)
    }

    /// The IPv6 flow entries in the order of their keys.
    #[must_use]
    pub fn flows_v6(&self) -> Vec<(FlowKey<Addr6>, Flow<Addr6>)> {
        self.entries(map::FLOWS_V6)
    }

    /// The remembered IPv4 clients in the order of their keys.
    #[must_use]
    pub fn affinities_v4(&self) -> Vec<(AffinityKey<Addr4>, Affinity)> {
        self.entries(map::AFFINITY_V4)
    }

    /// The remembered IPv6 clients in the order of their keys.
    #[must_use]
    pub fn affinities_v6(&self) -> Vec<(AffinityKey<Addr6>, Affinity)> {
        self.entries(map::AFFINITY_V6)
    }

    /// Removes the flow entries that `which` says.
    pub(crate) fn evict(&mut self, which: impl Fn(u8, u16) -> bool + Copy) {
        self.evict_family::<Addr4>(map::FLOWS_V4, which);
        self.evict_family::<Addr6>(map::FLOWS_V6, which);
    }

    fn evict_family<A: Address + Ord>(&mut self, name: &str, which: impl Fn(u8, u16) -> bool)
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let entries = self.entries::<FlowKey<A>, Flow<A>>(name);
        let mut map: HashMap<_, FlowKey<A>, Flow<A>> = self.map(name).try_into().expect("a hash");
        for (key, _) in entries.iter().filter(|(key, flow)| which(key.hook, flow.flags)) {
            map.remove(key).expect("remove an entry");
        }
    }

    /// Makes all flow entries look as if their last packet had passed so much earlier.
    pub(crate) fn age_flows(&mut self, ticks: u32) {
        self.age_family::<Addr4>(map::FLOWS_V4, ticks);
        self.age_family::<Addr6>(map::FLOWS_V6, ticks);
    }

    fn age_family<A: Address + Ord>(&mut self, name: &str, ticks: u32)
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let entries = self.entries::<FlowKey<A>, Flow<A>>(name);
        let mut map: HashMap<_, _, _> = self.map(name).try_into().expect("a hash");
        for (key, flow) in entries {
            let seen = Ticks(flow.seen.0.wrapping_sub(ticks));
            map.insert(key, Flow { seen, ..flow }, 0).expect("age an entry");
        }
    }

    /// Makes all remembered clients look as if they had come so much earlier.
    pub fn age_affinities(&mut self, ticks: u32) {
        self.age::<Addr4>(map::AFFINITY_V4, ticks);
        self.age::<Addr6>(map::AFFINITY_V6, ticks);
    }

    fn age<A: Address + Ord>(&mut self, name: &str, ticks: u32)
    where
        AffinityKey<A>: Pod,
    {
        let entries = self.entries::<AffinityKey<A>, Affinity>(name);
        let mut map: HashMap<_, _, _> = self.map(name).try_into().expect("a hash");
        for (key, affinity) in entries {
            let used = Ticks(affinity.used.0.wrapping_sub(ticks));
            map.insert(key, Affinity { used, ..affinity }, 0).expect("age a client");
        }
    }

    fn entries<K: Pod + Ord, V: Pod>(&self, name: &str) -> Vec<(K, V)> {
        let map = self.ebpf.map(name).expect(name);
        let map: HashMap<&MapData, K, V> = map.try_into().expect("a hash");
        let mut entries: Vec<_> = map.iter().map(|entry| entry.expect("read an entry")).collect();
        entries.sort_by_key(|(key, _)| *key);
        entries
    }

    fn map(&mut self, name: &str) -> &mut Map {
        self.ebpf.map_mut(name).expect(name)
    }
}

/// What the tests need that write these maps as the agent does.
impl Kernel {
    /// A handle on the map called `name`, as an agent opens it.
    ///
    /// # Panics
    ///
    /// If the object has no such map.
    ///
    /// # Errors
    ///
    /// If the kernel does not give it.
    pub fn map_data(&self, name: &str) -> Result<MapData, aya::maps::MapError> {
        let (Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)) = self.ebpf.map(name).unwrap_or_else(|| panic!("no map {name}"))
        else {
            panic!("{name} is of a type that no map of ours is")
        };
        let fd = data.fd().as_fd().try_clone_to_owned().expect("a file descriptor");
        MapData::from_fd(fd)
    }

    /// Removes all flow entries.
    ///
    /// # Panics
    ///
    /// If they cannot be removed.
    pub fn forget_flows(&mut self) {
        self.forget::<FlowKey<Addr4>, Flow<Addr4>>(map::FLOWS_V4);
        self.forget::<FlowKey<Addr6>, Flow<Addr6>>(map::FLOWS_V6);
    }

    fn forget<K: Pod + Ord, V: Pod>(&mut self, name: &str) {
        let entries = self.entries::<K, V>(name);
        let mut map: HashMap<_, K, V> = self.map(name).try_into().expect("a hash");
        for (key, _) in entries {
            map.remove(&key).expect("remove an entry");
        }
    }
}
