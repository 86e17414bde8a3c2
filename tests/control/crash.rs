//! A crash, or a failure, at every single write: before it, in the midst of it, after it.
//!
//! Whatever the write, the next run makes the maps what a fresh start would make them, what stays
//! keeps its ids, and no backend id that a flow may remember comes to mean another endpoint. The same
//! if the next run crashes as well, at each of its own writes.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::net::Family;
use lb_tests::agent::Agent;
use lb_userspace::maps::dump::{Dump, Ids};
use lb_userspace::maps::fake::{Doomed, Failure, Fake};
use lb_userspace::maps::{BackendId, ReadBack, Snapshot};
use lb_userspace::plan::{ServiceKey, Surroundings};

use crate::harness::{Step, World};
use crate::plans::{Plan, key, key6, plan, surroundings};
use crate::scenarios::file::{Scenario, Stage};
use crate::scenarios::files;
use crate::scenarios::objects::{Objects, start};

/// The scenario in which maps are told from a fresh start's by what they remember.
const REMEMBERED: &str = "the-api-server-is-never-without-endpoints";

const FAILURES: [Failure; 3] = [Failure::Missing, Failure::Torn, Failure::Made];

/// Somebody who brings maps from one state to the next.
trait Run {
    /// Finds `maps` and begins to make of them what is wanted now; stops at the first failure.
    fn run(&self, maps: Doomed<Fake>) -> Doomed<Fake>;

    /// The same, from the beginning of a process that knows only what is wanted now, to the end.
    fn recover(&self, maps: Fake) -> Fake;

    /// The same by a process that dies.
    fn recover_and_die(&self, maps: Doomed<Fake>) -> Doomed<Fake>;

    /// The same by a process that lives through a failure.
    fn live_on(&self, maps: Doomed<Fake>) -> Fake;
}

/// How many steps were tried.
#[derive(Debug, Default)]
struct Tried {
    failures: usize,
    crashes: usize,
    crashes_after_crashes: usize,
}

/// Fails and crashes at each write between `before` and what `run` wants; `expected` is what a fresh
/// start makes of it.
#[track_caller]
fn check(run: &impl Run, before: &Fake, expected: &str, what: &str, tried: &mut Tried) {
    for failure in FAILURES {
        for writes in 0.. {
            let killed = run.run(Doomed::killing(before.clone(), writes, failure));
            if !killed.has_failed() {
                break;
            }
            let what = format!("{what}: {failure:?} at write {writes}");
            let left = killed.inner();
            check_ids(&snapshot(before), &snapshot(left), &what);
            check_recovery(run, before, left, expected, &what);
            tried.crashes += 1;
            tried.crashes_after_crashes += check_second_crash(run, before, left, expected, &what);
            let lived = run.live_on(Doomed::failing(before.clone(), writes, failure));
            assert_eq!(dump(&lived), expected, "{what}, lived through");
            check_ids(&snapshot(before), &snapshot(&lived), &what);
            tried.failures += 1;
        }
    }
}

/// Crashes at each write of what comes after a crash; returns how many there were.
#[track_caller]
fn check_second_crash(
    run: &impl Run,
    before: &Fake,
    left: &Fake,
    expected: &str,
    what: &str,
) -> usize {
    for writes in 0.. {
        let killed = run.recover_and_die(Doomed::killing(left.clone(), writes, Failure::Missing));
        if !killed.has_failed() {
            return writes;
        }
        check_recovery(run, before, killed.inner(), expected, &format!("{what}, then {writes}"));
    }
    unreachable!("no change takes that many writes")
}

#[track_caller]
fn check_recovery(run: &impl Run, before: &Fake, left: &Fake, expected: &str, what: &str) {
    let recovered = run.recover(left.clone());
    assert_eq!(dump(&recovered), expected, "{what}");
    check_ids(&snapshot(left), &snapshot(&recovered), what);
    check_ids(&snapshot(before), &snapshot(&recovered), what);
    check_kept(&snapshot(before), &snapshot(&recovered), what);
}

/// An id of one generation is one endpoint's for ever.
#[track_caller]
fn check_ids(before: &Snapshot, after: &Snapshot, what: &str) {
    for (id, entry) in &before.backends {
        match after.backends.get(id) {
            Some(now) if now.generation == entry.generation => {
                assert_eq!((now.address, now.service), (entry.address, entry.service), "{what}");
            }
            _ => assert!(generation(after, *id) >= entry.generation, "{what}: {id:?}"),
        }
    }
    for (id, last) in &before.free_backends {
        let is_next = after.backends.get(id).is_none_or(|now| now.generation > *last);
        assert!(is_next && generation(after, *id) >= *last, "{what}: {id:?} was free");
    }
}

fn generation(maps: &Snapshot, id: (Family, BackendId)) -> u32 {
    let used = maps.backends.get(&id).map(|entry| entry.generation);
    used.or_else(|| maps.free_backends.get(&id).copied()).unwrap_or_default()
}

/// Services and their endpoints that were there before have the ids that they had.
#[track_caller]
fn check_kept(before: &Snapshot, after: &Snapshot, what: &str) {
    let ids = |maps: &Snapshot| -> BTreeMap<_, _> {
        maps.names.iter().map(|(id, name)| (name.clone(), *id)).collect()
    };
    let (old, new) = (ids(before), ids(after));
    for (name, id) in &old {
        assert!(new.get(name).is_none_or(|now| now == id), "{what}: {name:?}");
    }
    let endpoints = |maps: &Snapshot| -> BTreeMap<_, _> {
        let entry = maps.backends.iter();
        entry.map(|(id, it)| ((it.service, it.address), (*id, it.generation))).collect()
    };
    let (old, new) = (endpoints(before), endpoints(after));
    for (endpoint, id) in &old {
        assert!(new.get(endpoint).is_none_or(|now| now == id), "{what}: {endpoint:?}");
    }
}

fn snapshot(maps: &Fake) -> Snapshot {
    maps.snapshot().expect("maps that can be read")
}

fn dump(maps: &Fake) -> String {
    Dump::new(&snapshot(maps)).text(Ids::Masked)
}

/// A burst of changes to objects.
struct Burst<'a> {
    before: &'a Objects,
    after: &'a Objects,
    stage: &'a Stage,
}

impl Burst<'_> {
    /// An agent of a process that begins now.
    fn newcomer<M: lb_userspace::maps::Maps + ReadBack>(&self, maps: M) -> Agent<M> {
        let is_witness = self.stage.expect.witnessed;
        start(maps, if is_witness { self.before } else { self.after })
    }

    /// An agent that has seen it all.
    fn witness(&self, maps: Doomed<Fake>) -> Agent<Doomed<Fake>> {
        let mut agent = start(maps, self.before);
        agent.settle_until(Doomed::has_failed);
        agent.tell(&self.stage.changes);
        agent
    }
}

impl Run for Burst<'_> {
    fn run(&self, maps: Doomed<Fake>) -> Doomed<Fake> {
        let mut agent = self.witness(maps);
        agent.settle_until(Doomed::has_failed);
        agent.maps().clone()
    }

    fn recover(&self, maps: Fake) -> Fake {
        let mut agent = self.newcomer(maps);
        agent.settle();
        agent.tell(&self.stage.changes);
        agent.settle();
        agent.maps().clone()
    }

    fn recover_and_die(&self, maps: Doomed<Fake>) -> Doomed<Fake> {
        let mut agent = self.newcomer(maps);
        agent.settle_until(Doomed::has_failed);
        agent.tell(&self.stage.changes);
        agent.settle_until(Doomed::has_failed);
        agent.maps().clone()
    }

    fn live_on(&self, maps: Doomed<Fake>) -> Fake {
        let mut agent = self.witness(maps);
        agent.settle();
        agent.maps().inner().clone()
    }
}

fn fresh(objects: &Objects) -> String {
    let mut agent = start(Fake::default(), objects);
    agent.settle();
    agent.dump(Ids::Masked)
}

#[test]
fn every_step_of_every_scenario_may_be_the_last() {
    let mut tried = Tried::default();
    for path in files() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (mut before, mut maps) = (Objects::default(), Fake::default());
        for (number, stage) in (1..).zip(Scenario::read(path).stages) {
            let mut after = before.clone();
            after.take(&stage.changes);
            let burst = Burst { before: &before, after: &after, stage: &stage };
            let never = Doomed::killing(maps.clone(), usize::MAX, Failure::Missing);
            let done = burst.run(never).inner().clone();
            // A fresh start knows no endpoint that the maps alone remember.
            let is_remembered = stage.expect.witnessed || name == REMEMBERED;
            let expected = if is_remembered { dump(&done) } else { fresh(&after) };
            check(&burst, &maps, &expected, &format!("{name}, Expect {number}"), &mut tried);
            (before, maps) = (after, done);
        }
    }
    eprintln!("scenarios: {tried:?}");
    assert!(tried.crashes > 100 && tried.crashes_after_crashes > 100, "{tried:?}");
}

/// Everything that is wanted at a time.
#[derive(Clone, Default)]
struct Wanted {
    services: Vec<(ServiceKey, Plan)>,
    around: Surroundings,
}

/// From what was wanted to what is wanted.
struct Change<'a> {
    before: &'a Wanted,
    after: &'a Wanted,
}

impl Wanted {
    fn steps(&self, gone: &Self) -> [Step; 2] {
        let stay: BTreeSet<_> = self.services.iter().map(|(key, _)| key).collect();
        let gone = gone.services.iter().filter(|(key, _)| !stay.contains(key));
        let gone = gone.map(|(key, _)| (key.clone(), None));
        let stay = self.services.iter().map(|(key, plan)| (key.clone(), Some(plan.0.clone())));
        [Step::Surroundings(self.around.clone()), Step::Services(stay.chain(gone).collect())]
    }

    fn prune(&self) -> Step {
        Step::Prune(self.services.iter().map(|(key, _)| key.clone()).collect())
    }
}

impl Change<'_> {
    /// Does steps until the first failure.
    fn go(maps: Doomed<Fake>, steps: &[Step]) -> Doomed<Fake> {
        let mut world = World::over(maps);
        world.restart();
        for step in steps {
            if world.maps.has_failed() || world.step(step).is_err() {
                break;
            }
        }
        world.maps
    }

    fn anew(&self) -> Vec<Step> {
        let mut steps = self.after.steps(&Wanted::default()).to_vec();
        steps.push(self.after.prune());
        steps
    }
}

impl Run for Change<'_> {
    fn run(&self, maps: Doomed<Fake>) -> Doomed<Fake> {
        Self::go(maps, &self.after.steps(self.before))
    }

    fn recover(&self, maps: Fake) -> Fake {
        let mut world = World::over(maps);
        world.restart();
        self.anew().iter().for_each(|step| world.insist(step));
        world.maps
    }

    fn recover_and_die(&self, maps: Doomed<Fake>) -> Doomed<Fake> {
        Self::go(maps, &self.anew())
    }

    fn live_on(&self, maps: Doomed<Fake>) -> Fake {
        let mut world = World::over(maps);
        world.restart();
        self.after.steps(self.before).iter().for_each(|step| world.insist(step));
        world.maps.inner().clone()
    }
}

/// Services come, change, hand each other addresses and go; what is around them changes.
fn story() -> Vec<Wanted> {
    let web = || plan().cluster_ip("10.96.0.1:80").here("10.1.0.2:80").there("10.1.1.2:80");
    let api = || plan().closed("10.96.0.2:80").there("10.1.1.3:80").there("10.1.1.4:80");
    let guarded = |plan: Plan, range| plan.guarded("192.0.2.1:80").range(range);
    let six = || plan().cluster_ip("[fd96::1]:80").here("[fd01::2]:80");
    let wanted = |services, around| Wanted { services, around };
    let small = surroundings(&["10.1.0.0/16"], &["192.168.0.1/32"], &["10.96.0.0/16"], &[7]);
    let nets = ["10.1.0.0/17", "10.1.128.0/17", "fd01::/64"];
    let large = surroundings(&nets, &[], &["10.96.0.0/16", "10.97.0.0/16", "fd96::/108"], &[8, 9]);
    let twice = guarded(api().affinity(60).there("10.1.1.5:80"), "10.0.0.0/8");
    vec![
        Wanted::default(),
        wanted(vec![(key("web"), web())], small.clone()),
        wanted(vec![(key("web"), guarded(web(), "10.0.0.0/8")), (key("api"), api())], small),
        wanted(vec![(key("web"), web().affinity(9)), (key("api"), twice)], large.clone()),
        wanted(
            vec![
                (key("api"), web().leaving("10.1.1.3:80", true)),
                (key("web"), guarded(api(), "203.0.113.0/24")),
                (key6("web"), six()),
            ],
            large,
        ),
        wanted(vec![(key6("web"), six().there("[fd01::3]:80"))], Surroundings::default()),
        Wanted::default(),
    ]
}

#[test]
fn every_step_between_two_plans_may_be_the_last() {
    let (mut tried, mut maps) = (Tried::default(), Fake::default());
    for (number, pair) in story().windows(2).enumerate() {
        let change = Change { before: &pair[0], after: &pair[1] };
        let expected = dump(&change.recover(Fake::default()));
        check(&change, &maps, &expected, &format!("change {number}"), &mut tried);
        maps = change.live_on(Doomed::killing(maps, usize::MAX, Failure::Missing));
    }
    eprintln!("plans: {tried:?}");
    assert!(tried.crashes > 100 && tried.crashes_after_crashes > 100, "{tried:?}");
}
