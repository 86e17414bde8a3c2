//! Loaded objects that one test leaves to the next, emptied: the verifier takes longer over the programs
//! than most tests over everything else.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::abi::affinity::{Affinity, AffinityKey};
use lb_common::abi::backend::Backend;
use lb_common::abi::carried::Carried;
use lb_common::abi::flow::{Flow, FlowKey};
use lb_common::abi::fragment::{FragmentKey, FragmentPorts};
use lb_common::abi::frontend::FrontendKey;
use lb_common::abi::hint::Hints;
use lb_common::abi::map;
use lb_common::abi::service::Service;
use lb_common::native::MemoryTables;
use lb_common::net::{Addr4, Addr6};

use super::{Globals, Kernel};

/// What an object was loaded with: the capacity of the flow tables, how many flows may be on probation,
/// and the globals.
type Loaded = (Option<u32>, u32, Globals);

/// Objects that nobody uses.
static IDLE: Mutex<BTreeMap<Loaded, Vec<Kernel>>> = Mutex::new(BTreeMap::new());

/// A kernel object with empty maps, for one test. A test that fails takes it along.
#[derive(Debug)]
pub(in crate::datapath) struct Lent {
    loaded: Loaded,
    kernel: Option<Kernel>,
}

impl Lent {
    /// One that was loaded as [`Kernel::load`] would: an idle one, else a new one.
    pub(in crate::datapath) fn new(flows: Option<u32>, probation: u32, globals: Globals) -> Self {
        let loaded = (flows, probation, globals);
        let idle = idle().get_mut(&loaded).and_then(Vec::pop);
        let kernel = idle.map(Kernel::emptied);
        let kernel = kernel.unwrap_or_else(|| Kernel::load(flows, probation, globals));
        Self { loaded, kernel: Some(kernel) }
    }
}

impl Deref for Lent {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        self.kernel.as_ref().expect("it is there until this is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Kernel {
        self.kernel.as_mut().expect("it is there until this is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(kernel) = self.kernel.take() else { return };
        if !std::thread::panicking() {
            idle().entry(self.loaded).or_default().push(kernel);
        }
    }
}

fn idle() -> MutexGuard<'static, BTreeMap<Loaded, Vec<Kernel>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kernel {
    /// This, with nothing in any map that a packet could meet.
    fn emptied(mut self) -> Self {
        self.fill(&MemoryTables::default());
        self.zero::<{ size_of::<Service>() }>(map::SERVICES);
        self.zero::<{ size_of::<u32>() }>(map::SLOTS);
        self.zero::<{ size_of::<u64>() }>(map::PROBATION_TURN);
        self.zero::<{ size_of::<Carried>() }>(map::SERVICE_CARRIED);
        self.zero::<{ size_of::<Hints>() }>(map::HINTS);
        self.zero::<{ size_of::<Backend<Addr4>>() }>(map::BACKENDS_V4);
        self.zero::<{ size_of::<Backend<Addr6>>() }>(map::BACKENDS_V6);
        self.zero::<{ size_of::<FlowKey<Addr4>>() }>(map::PROBATION_V4);
        self.zero::<{ size_of::<FlowKey<Addr6>>() }>(map::PROBATION_V6);
        self.forget::<FlowKey<Addr4>, Flow<Addr4>>(map::FLOWS_V4);
        self.forget::<FlowKey<Addr6>, Flow<Addr6>>(map::FLOWS_V6);
        self.forget::<AffinityKey<Addr4>, Affinity>(map::AFFINITY_V4);
        self.forget::<AffinityKey<Addr6>, Affinity>(map::AFFINITY_V6);
        self.forget::<FragmentKey<Addr4>, FragmentPorts>(map::FRAGMENTS_V4);
        self.forget::<FragmentKey<Addr6>, FragmentPorts>(map::FRAGMENTS_V6);
        self.forget::<FrontendKey<Addr4>, FrontendKey<Addr4>>(map::SERVERS_V4);
        self.forget::<FrontendKey<Addr6>, FrontendKey<Addr6>>(map::SERVERS_V6);
        self.forget::<FlowKey<Addr4>, u32>(map::RESETS_V4);
        self.forget::<FlowKey<Addr6>, u32>(map::RESETS_V6);
        self.reset_counters();
        drop(self.take_events());
        self
    }

    fn zero<const SIZE: usize>(&mut self, name: &str) {
        let mut map: Array<_, [u8; SIZE]> = self.map(name).try_into().expect("an array");
        for index in 0..map.len() {
            map.set(index, [0; SIZE], 0).expect("set an element");
        }
    }

    fn reset_counters(&mut self) {
        let mut map: PerCpuArray<_, u64> =
            self.map(map::COUNTERS).try_into().expect("a per-CPU array");
        let cpus = nr_cpus().expect("the number of CPUs");
        for index in 0..map.len() {
            let zeros = PerCpuValues::try_from(vec![0; cpus]).expect("a value for each CPU");
            map.set(index, zeros, 0).expect("set a counter");
        }
    }
}
