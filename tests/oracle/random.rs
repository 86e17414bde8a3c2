//! Random histories: whatever happens to a cluster, oracle and datapath agree about it afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{Write as _, stderr};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fmt};

use lb_common::abi::settings::masquerade::{ALL, LOCAL_BACKENDS};
use lb_tests::datapath::{Globals, Kernel};
use lb_tests::oracle::{Cluster, Masquerade, Packet, Settings};
use lb_tests::truth::tables;
use lb_userspace::explain;
use lb_userspace::maps::fake::Fake;
use lb_userspace::maps::kernel::KernelMaps;
use lb_userspace::maps::{Maps, ReadBack};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::Value;

use crate::agent::Agent;
use crate::compare::{Disagreement, compare};
use crate::execute::{Execution, Explained};
use crate::generate::histories;
use crate::history::{History, State};
use crate::render::{Id, objects};

/// Room for the entries of a few flows: they are forgotten after every packet.
const FLOWS: u32 = 1024;
/// More flows than are made here: none is displaced by what an earlier history has left.
const PROBATION: u32 = 256 * 1024;
/// Without `WAGGLE_SEED` and `WAGGLE_SOAK` every run is the same.
const SEED: u64 = 3;
/// How much more `cargo xtask test --soak` does.
const SOAK: usize = 10;

#[test]
fn the_native_datapath_does_what_the_oracle_says() {
    check("natively", 100_000, |history| {
        live(history, Fake::default(), |agent, cluster| {
            let masquerade = masquerade(&cluster.settings);
            tables(&agent.snapshot(), masquerade)
        })
    });
}

#[test]
fn the_kernel_does_what_the_oracle_says() {
    let kernels = kernels();
    check("in the kernel", 2_000, |history| {
        let kernel = &kernels[&masquerade(&history.settings)];
        let maps = KernelMaps::from_maps(|name| kernel.borrow().map_data(name));
        live(history, maps.expect("the maps of the object"), |_, _| kernel)
    });
}

#[test]
fn the_kernel_does_what_is_explained() {
    let (kernels, count) = (kernels(), Cell::new(0));
    check("explained", 20, |history| {
        let masquerade = masquerade(&history.settings);
        let kernel = &kernels[&masquerade];
        let settings = explain::Settings { masquerade, ..explain::Settings::default() };
        let maps = KernelMaps::from_maps(|name| kernel.borrow().map_data(name));
        live(history, maps.expect("the maps of the object"), |_, _| Explained {
            kernel,
            settings,
            count: &count,
        })
    });
    assert!(count.get() >= 1_000, "{}", count.get());
}

/// An object with each setting of masquerading.
fn kernels() -> BTreeMap<u32, RefCell<Kernel>> {
    let kernel = |masquerade| {
        let globals = Globals { masquerade, ..Globals::default() };
        (masquerade, RefCell::new(Kernel::load(Some(FLOWS), PROBATION, globals)))
    };
    [0, LOCAL_BACKENDS, ALL, LOCAL_BACKENDS | ALL].map(kernel).into()
}

/// The setting of the programs.
fn masquerade(settings: &Settings) -> u32 {
    let local = if settings.masquerade == Masquerade::KubeProxy { LOCAL_BACKENDS } else { 0 };
    let all = if settings.masquerade_all { ALL } else { 0 };
    local | all
}

/// A packet on which oracle and datapath disagree, after all but the last of these states.
struct CounterExample {
    states: Vec<Cluster>,
    packet: Packet,
    disagreement: Disagreement,
}

/// Lives through `history` as an agent over `maps` and asks about every state.
fn live<M: Maps + ReadBack, E: Execution>(
    history: &History,
    maps: M,
    mut execution: impl FnMut(&Agent<M>, &Cluster) -> E,
) -> Result<(), Box<CounterExample>> {
    let mut agent = Agent::start(maps, &history.settings);
    agent.tell(BTreeMap::new(), true);
    let mut states = Vec::new();
    let mut state = history.start.clone();
    for step in &history.steps {
        step.changes.iter().for_each(|change| state.apply(change.clone()));
        let cluster = state.cluster(&history.settings);
        agent.set_network(&cluster, state.is_workload);
        agent.tell(objects(&cluster), step.relists);
        states.push(cluster);
        ask(
            &state,
            states.last().expect("a state"),
            &step.probes,
            &mut execution(&agent, states.last().expect("a state")),
        )
        .map_err(|(packet, disagreement)| {
            Box::new(CounterExample { states: states.clone(), packet, disagreement })
        })?;
    }
    Ok(())
}

fn ask(
    state: &State,
    cluster: &Cluster,
    probes: &[crate::history::Probe],
    execution: &mut impl Execution,
) -> Result<(), (Packet, Disagreement)> {
    for probe in probes {
        let packet = state.packet(cluster, probe);
        compare(cluster, &packet, execution).map_err(|disagreement| (packet, disagreement))?;
    }
    Ok(())
}

/// Lets `live` go through histories with so many states in all, and shrinks the one that fails.
#[track_caller]
fn check(how: &str, states: usize, live: impl Fn(&History) -> Result<(), Box<CounterExample>>) {
    let (first, states) = plan(states);
    let mut lived = 0;
    for seed in first.. {
        lived += batch(seed, &live);
        if lived >= states {
            // Past the test harness: it is to be seen although the test passes.
            writeln!(stderr(), "oracle: {lived} states {how}, WAGGLE_SEED={first}")
                .expect("stderr");
            return;
        }
    }
}

/// So many histories, and how many states they had.
#[track_caller]
fn batch(seed: u64, live: &impl Fn(&History) -> Result<(), Box<CounterExample>>) -> usize {
    let lived = Cell::new(0);
    let result = runner(seed).run(&histories(), |history| {
        lived.set(lived.get() + history.steps.len());
        live(&history)
            .map_err(|it| TestCaseError::fail(format!("{} differs", it.packet.destination)))
    });
    match result {
        Ok(()) => lived.get(),
        Err(TestError::Abort(reason)) => panic!("WAGGLE_SEED={seed}: {reason}"),
        Err(TestError::Fail(reason, history)) => match live(&history) {
            Err(counter_example) => panic!("WAGGLE_SEED={seed}\n{counter_example}"),
            Ok(()) => panic!("WAGGLE_SEED={seed}: {reason}, but not again: {history:#?}"),
        },
    }
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    // So many histories at once; all have the same generator.
    let config = Config {
        cases: 100,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
}

/// The seed, and how many states to go through instead of so many.
fn plan(states: usize) -> (u64, usize) {
    let is_soak = env::var_os("WAGGLE_SOAK").is_some();
    let seed = env::var("WAGGLE_SEED").ok();
    let seed = seed.map(|text| text.parse().expect("WAGGLE_SEED is a number"));
    let fresh = || {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        u64::from(time.subsec_nanos()) ^ time.as_secs()
    };
    let seed = seed.unwrap_or_else(|| if is_soak { fresh() } else { SEED });
    (seed, if is_soak { SOAK * states } else { states })
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut old: BTreeMap<Id, Value> = BTreeMap::new();
        for (number, cluster) in self.states.iter().enumerate() {
            let new = objects(cluster);
            writeln!(f, "# state {} of {}", number + 1, self.states.len())?;
            for (kind, namespace, name) in old.keys().filter(|id| !new.contains_key(*id)) {
                writeln!(f, "# gone: {kind} {namespace}/{name}")?;
            }
            for (_, object) in new.iter().filter(|(id, object)| old.get(*id) != Some(object)) {
                writeln!(f, "---\n{}", serde_saphyr::to_string(object).expect("YAML").trim())?;
            }
            let addresses = &cluster.interface_addresses;
            writeln!(f, "# addresses of the node {}: {addresses:?}", cluster.this_node)?;
            old = new;
        }
        writeln!(f, "# {:?}", self.states.last().map(|cluster| &cluster.settings))?;
        let Packet { source, interface, destination, protocol } = &self.packet;
        writeln!(f, "{protocol:?} from {source} ({interface:?}) to {destination}")?;
        let Disagreement { expected, seen } = &self.disagreement;
        write!(f, "  oracle:   {expected}\n  datapath: {seen}")
    }
}
