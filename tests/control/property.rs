//! Whatever happened on the way: the maps end as if only the last plans had ever been.

use std::collections::{BTreeMap, BTreeSet};

use lb_userspace::maps::dump::Ids;
use lb_userspace::plan::ServiceKey;
use proptest::prelude::*;

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, key, key6, plan};

/// What is done in a random run. Services and addresses are small numbers.
#[derive(Clone, Debug)]
enum Action {
    /// A service is planned with these frontends (bits) and pods; who had the frontends before
    /// loses them, earlier or later in the same batch.
    Put {
        service: u8,
        frontends: u8,
        pods: Vec<(u8, Pod)>,
        affinity: bool,
        losers_first: bool,
    },
    Remove(u8),
    Restart,
    Prune,
}

#[derive(Clone, Copy, Debug)]
enum Pod {
    Here,
    There,
    Leaving(bool),
}

fn action() -> impl Strategy<Value = Action> {
    let pod = prop_oneof![Just(Pod::Here), Just(Pod::There), any::<bool>().prop_map(Pod::Leaving)];
    let pods = prop::collection::vec((0u8..6, pod), 0..6);
    prop_oneof![
        8 => (0u8..5, 0u8..16, pods, any::<bool>(), any::<bool>()).prop_map(
            |(service, frontends, pods, affinity, losers_first)| {
                Action::Put { service, frontends, pods, affinity, losers_first }
            }
        ),
        2 => (0u8..5).prop_map(Action::Remove),
        1 => Just(Action::Restart),
        1 => Just(Action::Prune),
    ]
}

/// What is wanted of each service: a mask of frontends and the rest of its plan.
type Wanted = BTreeMap<u8, (u8, Plan)>;

/// Service 4 is the twin of service 0 in the other family.
fn service_key(service: u8) -> ServiceKey {
    if service == 4 { key6("s0") } else { key(&format!("s{service}")) }
}

fn pods(service: u8, pods: &[(u8, Pod)], affinity: bool) -> Plan {
    let plan = if affinity { plan().affinity(60) } else { plan() };
    let unique: BTreeMap<_, _> = pods.iter().copied().collect();
    unique.into_iter().fold(plan, |plan, (number, pod)| {
        let address = if service == 4 {
            format!("[fd01::{number}]:80")
        } else {
            format!("10.1.1.{number}:80")
        };
        match pod {
            Pod::Here => plan.here(&address),
            Pod::There => plan.there(&address),
            Pod::Leaving(serving) => plan.leaving(&address, serving),
        }
    })
}

fn step(service: u8, (frontends, rest): &(u8, Plan)) -> Step {
    let numbers = (0..4).filter(|bit| frontends & 1 << bit != 0);
    let plan = numbers.fold(rest.clone(), |plan, number| match (service, number) {
        (4, _) => plan.cluster_ip(&format!("[fd96::{number}]:80")),
        (_, 3) => plan.local_node_port("192.0.2.1:30080"),
        _ => plan.cluster_ip(&format!("10.96.0.{number}:80")),
    });
    put(service_key(service), plan)
}

/// The steps that follow from `action`; `wanted` is kept up to date.
fn steps(wanted: &mut Wanted, action: &Action) -> Vec<Step> {
    match action {
        Action::Put { service, frontends, pods: these, affinity, losers_first } => {
            let mut steps = Vec::new();
            for (loser, plan) in wanted.iter_mut().filter(|(it, _)| *it != service && **it != 4) {
                if *service != 4 && plan.0 & frontends != 0 {
                    plan.0 &= !frontends;
                    steps.push(step(*loser, plan));
                }
            }
            let plan = (*frontends, pods(*service, these, *affinity));
            let at = if *losers_first { steps.len() } else { 0 };
            steps.insert(at, step(*service, &plan));
            wanted.insert(*service, plan);
            steps
        }
        Action::Remove(service) => {
            wanted.remove(service);
            vec![gone(service_key(*service))]
        }
        Action::Prune => vec![prune(wanted)],
        Action::Restart => Vec::new(),
    }
}

fn prune(wanted: &Wanted) -> Step {
    Step::Prune(wanted.keys().map(|service| service_key(*service)).collect::<BTreeSet<_>>())
}

proptest! {
    #[test]
    fn faults_and_restarts_leave_no_trace(
        actions in prop::collection::vec((action(), 0usize..4), 1..30),
        every in 2usize..12,
    ) {
        let (mut world, mut wanted) = (World::flaky(every), Wanted::new());
        for (action, attempts) in &actions {
            let steps = steps(&mut wanted, action);
            // Only so many attempts: the next action meets whatever half is done.
            for step in &steps {
                let _done = (0..*attempts).any(|_| world.step(step).is_ok());
            }
            if matches!(action, Action::Restart) {
                world.restart();
            }
        }
        let mut fresh = World::new();
        for (service, plan) in &wanted {
            world.insist(&step(*service, plan));
            fresh.insist(&step(*service, plan));
        }
        world.insist(&prune(&wanted));
        prop_assert_eq!(world.dump(Ids::Masked), fresh.dump(Ids::Masked));
        world.restart();
        prop_assert_eq!(world.dump(Ids::Masked), fresh.dump(Ids::Masked));
        for (service, plan) in &wanted {
            prop_assert_eq!(world.maps.writes(), {
                world.insist(&step(*service, plan));
                world.maps.writes()
            });
        }
    }
}
