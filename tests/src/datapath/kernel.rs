//! The kernel side of a datapath test: the real object, real maps, `BPF_PROG_TEST_RUN`.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey, Hook};
use lb_common::abi::map;
use lb_common::abi::prefix::Ranged;
use lb_common::native::{FamilyMaps, MemoryTables};
use lb_common::net::{Addr4, Addr6, Address};
use lb_common::parse::Link;

/// Capacity of the flow tables unless a test asks for another: small, so that they are read fast.
const FLOWS: u32 = 16 * 1024;
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

/// The kernel object with maps of its own, not pinned anywhere.
#[derive(Debug)]
pub struct Kernel {
    ebpf: Ebpf,
}

impl Kernel {
    /// Loads all programs; `flows` is the capacity of each flow table.
    ///
    /// # Panics
    ///
    /// If the verifier refuses one, with its log.
    #[must_use]
    pub fn load(flows: Option<u32>) -> Self {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(map::FLOWS_V4, flows.unwrap_or(FLOWS));
        loader.map_max_entries(map::FLOWS_V6, flows.unwrap_or(FLOWS));
        let mut ebpf = loader.load(super::object()).expect("the object loads");
        for (_, program) in ebpf.programs_mut() {
            let program: &mut SchedClassifier = program.try_into().expect("a classifier");
            program.load().unwrap_or_else(|error| panic!("{error:#?}"));
        }
        Self { ebpf }
    }

    /// Fills the maps with what `tables` holds.
    pub fn fill(&mut self, tables: &MemoryTables) {
        self.fill_family(&tables.v4, map::FRONTENDS_V4, map::BACKENDS_V4);
        self.fill_family(&tables.v6, map::FRONTENDS_V6, map::BACKENDS_V6);
        self.fill_prefixes(&tables.v4, map::CLIENTS_V4, map::SOURCE_RANGES_V4);
        self.fill_prefixes(&tables.v6, map::CLIENTS_V6, map::SOURCE_RANGES_V6);
        let mut services = self.array(map::SERVICES);
        for (id, service) in &tables.services {
            services.set(*id, *service, 0).expect("set a service");
        }
        let mut slots = self.array(map::SLOTS);
        for (index, backend) in &tables.slots {
            slots.set(*index, *backend, 0).expect("set a slot");
        }
    }

    /// Runs the program of `hook` and `link` on `packet`.
    ///
    /// # Panics
    ///
    /// If the kernel refuses to run it.
    #[must_use]
    pub fn run(&self, hook: Hook, link: Link, packet: &[u8]) -> Answer {
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

    /// The program of `hook` and `link`.
    ///
    /// # Panics
    ///
    /// If the object has none.
    #[must_use]
    pub fn program(&self, hook: Hook, link: Link) -> &SchedClassifier {
        let name = match (link, hook) {
            (Link::Ethernet, Hook::Ingress) => "lb_tc_ingress",
            (Link::Ethernet, Hook::Egress) => "lb_tc_egress",
            (Link::Raw, Hook::Ingress) => "lb_l3_ingress",
            (Link::Raw, Hook::Egress) => "lb_l3_egress",
        };
        self.ebpf.program(name).expect(name).try_into().expect("a classifier")
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

    /// The IPv4 flow entries in the order of their keys.
    #[must_use]
    pub fn flows_v4(&self) -> Vec<(FlowKey<Addr4>, Flow<Addr4>)> {
        self.flows(map::FLOWS_V4)
    }

    /// The IPv6 flow entries in the order of their keys.
    #[must_use]
    pub fn flows_v6(&self) -> Vec<(FlowKey<Addr6>, Flow<Addr6>)> {
        self.flows(map::FLOWS_V6)
    }

    fn flows<A: Address + Ord>(&self, name: &str) -> Vec<(FlowKey<A>, Flow<A>)>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let map = self.ebpf.map(name).expect(name);
        let map: HashMap<&MapData, FlowKey<A>, Flow<A>> = map.try_into().expect("a hash");
        let mut flows: Vec<_> = map.iter().map(|entry| entry.expect("read a flow")).collect();
        flows.sort_by_key(|(key, _)| *key);
        flows
    }

    fn fill_family<A>(&mut self, maps: &FamilyMaps<A>, frontends: &str, backends: &str)
    where
        A: Copy + Ord,
        lb_common::abi::frontend::FrontendKey<A>: Pod,
        lb_common::abi::backend::Backend<A>: Pod,
    {
        let map = self.ebpf.map_mut(frontends).expect(frontends);
        let mut map: HashMap<_, _, _> = map.try_into().expect("a hash");
        for (key, frontend) in &maps.frontends {
            map.insert(*key, *frontend, 0).expect("insert a frontend");
        }
        let mut map = self.array(backends);
        for (id, backend) in &maps.backends {
            map.set(*id, *backend, 0).expect("set a backend");
        }
    }

    fn fill_prefixes<A>(&mut self, maps: &FamilyMaps<A>, clients: &str, ranges: &str)
    where
        A: Copy + Ord + Pod,
        Ranged<A>: Pod,
    {
        let map = self.ebpf.map_mut(clients).expect(clients);
        let mut map: LpmTrie<_, A, u32> = map.try_into().expect("a trie");
        for (prefix, class) in &maps.clients {
            map.insert(&Key::new(prefix.length, prefix.addr), *class, 0).expect("insert a prefix");
        }
        let map = self.ebpf.map_mut(ranges).expect(ranges);
        let mut map: LpmTrie<_, Ranged<A>, u32> = map.try_into().expect("a trie");
        for key in &maps.source_ranges {
            map.insert(&Key::new(key.length, key.range), 1, 0).expect("insert a range");
        }
    }

    fn array<V: Pod>(&mut self, name: &str) -> Array<&mut MapData, V> {
        self.ebpf.map_mut(name).expect(name).try_into().expect("an array")
    }
}

/// What the tests need that write these maps as the agent does.
impl Kernel {
    /// A handle on the map called `name`, as an agent opens it.
    pub(crate) fn map_data(&self, name: &str) -> Result<MapData, aya::maps::MapError> {
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
    pub(crate) fn forget_flows(&mut self) {
        self.forget::<Addr4>(map::FLOWS_V4);
        self.forget::<Addr6>(map::FLOWS_V6);
    }

    fn forget<A: Address + Ord>(&mut self, name: &str)
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
    {
        let flows = self.flows::<A>(name);
        let map = self.ebpf.map_mut(name).expect(name);
        let mut map: HashMap<_, FlowKey<A>, Flow<A>> = map.try_into().expect("a hash");
        for (key, _) in flows {
            map.remove(&key).expect("remove a flow");
        }
    }
}
