//! The kernel's side of the benchmark: loads both objects, fills maps, runs programs.
//!
//! Nothing is pinned and nothing is attached, so nothing is left behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, PerCpuArray, ProgramArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::abi::address::{self, ServiceCidr};
use lb_common::abi::backend::{self, Backend};
use lb_common::abi::counter::Counter;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::frontend::{self, Frontend, FrontendKey};
use lb_common::abi::interface::Interface;
use lb_common::abi::prefix::client;
use lb_common::abi::service::{self, Service, SlotRange};
use lb_common::abi::settings::packed_ports;
use lb_common::abi::{map, settings};
use lb_common::bench::{HIT, Walk};
use lb_common::net::{Addr4, Addr6, Address, Family, protocol};

use crate::frame::Party;

/// The service, and its one backend.
const ID: u32 = 1;

/// The source ports of masqueraded flows: all clients' ports are among them, and stay.
const MASQUERADE_PORTS: (u16, u16) = (1024, u16::MAX);
/// Ifindex of the device that packets of `BPF_PROG_TEST_RUN` come and leave by.
const LOOPBACK: u32 = 1;

/// The program that does nothing.
pub(crate) const NOTHING: &str = "nothing";

/// The datapath's programs and those of the benchmark, loaded.
pub(crate) struct Kernel {
    family: Family,
    datapath: Ebpf,
    bench: Ebpf,
}

/// What is special about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Plain,
    /// Clients come back to their backends.
    Sticky,
    /// Clients are hidden from the backend.
    Masqueraded,
}

/// Which flows the wrapper walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    /// How many.
    pub(crate) count: u32,
    /// How far apart two packets' flows are, so that no prefetcher can guess the next.
    pub(crate) stride: u32,
    /// The client is the receiver.
    pub(crate) to_client: bool,
}

/// What one call of the kernel said.
pub(crate) struct Run {
    /// What the last packet's program returned.
    pub(crate) answer: i32,
    /// The time for one packet.
    pub(crate) ns: f64,
    /// The packet after the last run.
    pub(crate) packet: Vec<u8>,
}

/// What the datapath has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Books {
    /// New flows.
    pub(crate) new_flows: u64,
    /// Everything else that is counted, drops above all.
    pub(crate) others: u64,
    /// Packets in all flow entries together.
    pub(crate) packets: u64,
    /// How many entries the flow table holds.
    pub(crate) entries: u64,
}

/// Runs `$body` with `$address` as the address type of `$family`.
macro_rules! with_address {
    ($family:expr, $address:ident => $body:expr) => {
        match $family {
            Family::V4 => {
                type $address = Addr4;
                $body
            }
            Family::V6 => {
                type $address = Addr6;
                $body
            }
        }
    };
}

impl Kernel {
    /// Loads `waggle.o` and `bench.o` from the folder `objects`.
    pub(crate) fn load(objects: &Path, family: Family, flow_capacity: u32) -> Result<Self> {
        let flows = Self::pick(family, map::FLOWS_V4, map::FLOWS_V6);
        let mut loader = EbpfLoader::new();
        let loader = loader.map_max_entries(flows, flow_capacity);
        // So many that the flows of a scenario all stay, though their clients never confirm them.
        let probation = Self::pick(family, map::PROBATION_V4, map::PROBATION_V6);
        let loader = loader.map_max_entries(probation, flow_capacity / 2);
        let ports = packed_ports(MASQUERADE_PORTS);
        let loader = loader.override_global(settings::MASQUERADE_PORTS, &ports, true);
        let datapath = load(loader, objects, "waggle.o", &["lb_tc_ingress", "lb_tc_egress"])?;
        let wrapper = Self::pick(family, "walk_v4", "walk_v6");
        let programs = [NOTHING, "reference", wrapper];
        let mut bench = load(&mut EbpfLoader::new(), objects, "bench.o", &programs)?;
        let mut reference: HashMap<_, [u32; 4], u64> =
            HashMap::try_from(map_mut(&mut bench, "REFERENCE")?)?;
        reference.insert([1, 2, 3, 4], 0, 0).context("fill the reference map")?;
        Ok(Self { family, datapath, bench })
    }

    /// Makes a service of `frontend` whose only backend is `backend`. Clients are pods.
    pub(crate) fn serve(&mut self, frontend: Party, backend: Party, kind: Kind) -> Result<()> {
        self.meet_clients()?;
        let service = Service {
            cluster: SlotRange::new(0, 1),
            flags: service::flags::IN_USE,
            affinity_s: if kind == Kind::Sticky { 10_800 } else { 0 },
            ..Default::default()
        };
        let flags = if kind == Kind::Masqueraded { frontend::flags::EXTERNAL } else { 0 };
        self.set(map::SERVICES, ID, service)?;
        self.set(map::SLOTS, 0, ID)?;
        with_address!(self.family, A => {
            let backend = Backend::<A> {
                addr: address(backend),
                port: backend.wire_port(),
                flags: backend::flags::IN_USE | backend::flags::SERVING,
                generation: 1,
                service: ID,
            };
            self.set(Self::pick(self.family, map::BACKENDS_V4, map::BACKENDS_V6), ID, backend)?;
            let key = FrontendKey::<A>::new(address(frontend), frontend.wire_port(), protocol::TCP);
            let name = Self::pick(self.family, map::ADDRESSES_V4, map::ADDRESSES_V6);
            let mut addresses = HashMap::try_from(map_mut(&mut self.datapath, name)?)?;
            addresses.insert(key.addr, address::flags::SERVED, 0).context("fill the addresses")?;
            let name = Self::pick(self.family, map::SERVICE_CIDRS_V4, map::SERVICE_CIDRS_V6);
            // As on any node, one prefix of ClusterIPs, with which a bystander is compared.
            let mask = Party { ip: ones(self.family), ..frontend };
            self.set(name, 0, ServiceCidr::<A> { mask: address(mask), addr: key.addr })?;
            let name = Self::pick(self.family, map::FRONTENDS_V4, map::FRONTENDS_V6);
            let mut frontends = HashMap::try_from(map_mut(&mut self.datapath, name)?)?;
            frontends.insert(key, Frontend { service: ID, flags }, 0).context("fill the frontends")
        })
    }

    /// Says who clients are, and whom they are hidden behind.
    fn meet_clients(&mut self) -> Result<()> {
        let node = Party::node(self.family);
        let mut interface = Interface::default();
        match self.family {
            Family::V4 => interface.v4 = address(node),
            Family::V6 => interface.v6 = address(node),
        }
        let name = map::INTERFACES;
        let mut interfaces = HashMap::try_from(map_mut(&mut self.datapath, name)?)?;
        interfaces.insert(LOOPBACK, interface, 0).context("fill the interfaces")?;
        with_address!(self.family, A => {
            let name = Self::pick(self.family, map::CLIENTS_V4, map::CLIENTS_V6);
            let mut clients = LpmTrie::try_from(map_mut(&mut self.datapath, name)?)?;
            let pods = Key::new(8, address::<A>(Party::client(self.family)));
            clients.insert(&pods, client::POD, 0).context("fill the clients")
        })
    }

    /// Makes the wrapper restore `frame`, sent `from` one `to` another, and walk flows from 0 on.
    pub(crate) fn walk(
        &mut self,
        frame: &[u8],
        (from, to): (Party, Party),
        walk: Flows,
    ) -> Result<()> {
        let header = 24;
        let tcp = Self::pick(self.family, 34, 54) + 16;
        with_address!(self.family, A => {
            let value = Walk::<A> {
                src: address(from),
                dst: address(to),
                src_port: from.wire_port(),
                dst_port: to.wire_port(),
                header_checksum: u16::from_ne_bytes([frame[header], frame[header + 1]]),
                tcp_checksum: u16::from_ne_bytes([frame[tcp], frame[tcp + 1]]),
                flows: walk.count,
                stride: walk.stride,
                next: 0,
                to_client: u32::from(walk.to_client),
            };
            let name = Self::pick(self.family, "WALK_V4", "WALK_V6");
            let mut array = Array::try_from(map_mut(&mut self.bench, name)?)?;
            array.set(0, value, 0).context("tell the wrapper its walk")
        })
    }

    /// Puts a program of the datapath, or the one that does nothing, behind the wrapper.
    pub(crate) fn target(&mut self, name: &str) -> Result<()> {
        let object = if name == NOTHING { &self.bench } else { &self.datapath };
        let program = program(object, name)?.fd()?.try_clone()?;
        let mut targets = ProgramArray::try_from(map_mut(&mut self.bench, "TARGET")?)?;
        targets.set(0, &program, 0).with_context(|| format!("put {name} behind the wrapper"))
    }

    /// Runs the wrapper `packets` times.
    pub(crate) fn run(&self, frame: &[u8], packets: u32) -> Result<Run> {
        run(&self.bench, Self::pick(self.family, "walk_v4", "walk_v6"), frame, packets)
    }

    /// Runs the reference program `times` times.
    pub(crate) fn reference(&self, frame: &[u8], times: u32) -> Result<f64> {
        let run = run(&self.bench, "reference", frame, times)?;
        ensure!(run.answer == HIT, "the reference program did not find its key");
        Ok(run.ns)
    }

    /// Runs the empty program `times` times, without a wrapper.
    pub(crate) fn empty(&self, frame: &[u8], times: u32) -> Result<f64> {
        Ok(run(&self.bench, NOTHING, frame, times)?.ns)
    }

    /// What the datapath has counted so far.
    pub(crate) fn books(&self) -> Result<Books> {
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(map_ref(&self.datapath, map::COUNTERS)?)?;
        let mut books = Books { new_flows: 0, others: 0, packets: 0, entries: 0 };
        for counter in Counter::ALL {
            let sum = counters.get(&(*counter as u32), 0)?.iter().sum::<u64>();
            match counter {
                Counter::NewFlow => books.new_flows = sum,
                // Says of the flow's other hook what is known of it.
                Counter::Masqueraded => {}
                _ => books.others += sum,
            }
        }
        with_address!(self.family, A => {
            let flows: HashMap<_, FlowKey<A>, Flow<A>> = HashMap::try_from(self.flows()?)?;
            for entry in &flows {
                books.packets += entry?.1.packets;
                books.entries += 1;
            }
        });
        Ok(books)
    }

    /// Empties the flow table.
    pub(crate) fn clear_flows(&mut self) -> Result<()> {
        with_address!(self.family, A => {
            let keys: Vec<FlowKey<A>> =
                HashMap::<_, _, Flow<A>>::try_from(self.flows()?)?.keys().collect::<Result<_, _>>()?;
            let name = Self::pick(self.family, map::FLOWS_V4, map::FLOWS_V6);
            let mut flows: HashMap<_, _, Flow<A>> = HashMap::try_from(map_mut(&mut self.datapath, name)?)?;
            keys.iter().try_for_each(|key| flows.remove(key)).context("empty the flow table")
        })
    }

    fn flows(&self) -> Result<&Map> {
        map_ref(&self.datapath, Self::pick(self.family, map::FLOWS_V4, map::FLOWS_V6))
    }

    fn set<T: Pod>(&mut self, name: &str, index: u32, value: T) -> Result<()> {
        let mut array = Array::try_from(map_mut(&mut self.datapath, name)?)?;
        array.set(index, value, 0).with_context(|| format!("fill {name}"))
    }

    fn pick<T>(family: Family, v4: T, v6: T) -> T {
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }
}

fn load(
    loader: &mut EbpfLoader<'_>,
    objects: &Path,
    file: &str,
    programs: &[&str],
) -> Result<Ebpf> {
    let path = objects.join(file);
    let mut object = loader.load_file(&path).with_context(|| {
        format!("load {} (built by `cargo xtask build`; needs root)", path.display())
    })?;
    for name in programs {
        let program =
            object.program_mut(name).with_context(|| format!("{file} has no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load().with_context(|| format!("load program {name}"))?;
    }
    Ok(object)
}

fn run(object: &Ebpf, name: &str, frame: &[u8], repeat: u32) -> Result<Run> {
    let mut packet = vec![0; frame.len()];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut packet),
        repeat,
        ..TestRunOptions::new()
    };
    let result = program(object, name)?.test_run(options).with_context(|| format!("run {name}"))?;
    // The kernel cuts the mean down to whole nanoseconds.
    let ns = result.duration.as_secs_f64() * 1e9 + 0.5;
    Ok(Run { answer: result.return_value.cast_signed(), ns, packet })
}

fn program<'a>(object: &'a Ebpf, name: &str) -> Result<&'a SchedClassifier> {
    let program = object.program(name).with_context(|| format!("there is no program {name}"))?;
    Ok(program.try_into()?)
}

fn map_ref<'a>(object: &'a Ebpf, name: &str) -> Result<&'a Map> {
    object.map(name).with_context(|| format!("there is no map {name}"))
}

fn map_mut<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Map> {
    object.map_mut(name).with_context(|| format!("there is no map {name}"))
}

/// The mask of a prefix with one address.
fn ones(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::BROADCAST.into(),
        Family::V6 => Ipv6Addr::from(u128::MAX).into(),
    }
}

fn address<A: Address>(party: Party) -> A {
    A::from_ip(party.ip).expect("all parties of a family have addresses of it")
}
