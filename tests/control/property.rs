//! Whatever happened on the way: the maps end as if only the last plans had ever been.

use std::collections::BTreeMap;

use lb_userspace::maps::dump::Ids;
use lb_userspace::plan::{ServiceKey, Surroundings};
use proptest::prelude::*;

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, key, key6, plan, surroundings};

/// What is done in a random run. Services and addresses are small numbers.
#[derive(Clone, Debug)]
enum Action {
    /// A service is planned with these frontends (bits) and the rest; who had the frontends before
    /// loses them, earlier or later in the same batch.
    Put {
        service: u8,
        frontends: u8,
        rest: Rest,
        losers_first: bool,
    },
    Remove(u8),
    /// These pods, service CIDRs and interfaces (bits) are around.
    Surround {
        pods: u8,
        nodes: u8,
        cidrs: u8,
        interfaces: u8,
    },
    Restart,
    Prune,
}

#[derive(Clone, Copy, Debug)]
enum Pod {
    Here,
    There,
    Leaving(bool),
}

/// A service but for its frontends.
#[derive(Clone, Debug)]
struct Rest {
    pods: Vec<(u8, Pod)>,
    affinity: bool,
    /// Source ranges (bits): with any, every second frontend is guarded.
    ranges: u8,
    /// Whether frontends that are not guarded close their addresses.
    closed: bool,
}

fn rest() -> impl Strategy<Value = Rest> {
    let pod = prop_oneof![Just(Pod::Here), Just(Pod::There), any::<bool>().prop_map(Pod::Leaving)];
    let pods = prop::collection::vec((0u8..6, pod), 0..6);
    let ranges = prop_oneof![Just(0), 0u8..8];
    (pods, any::<bool>(), ranges, any::<bool>()).prop_map(|(pods, affinity, ranges, closed)| Rest {
        pods,
        affinity,
        ranges,
        closed,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0u8..5, 0u8..16, rest(), any::<bool>()).prop_map(
            |(service, frontends, rest, losers_first)| {
                Action::Put { service, frontends, rest, losers_first }
            }
        ),
        2 => (0u8..5).prop_map(Action::Remove),
        2 => (0u8..8, 0u8..8, 0u8..8, 0u8..8).prop_map(|(pods, nodes, cidrs, interfaces)| {
            Action::Surround { pods, nodes, cidrs, interfaces }
        }),
        1 => Just(Action::Restart),
        1 => Just(Action::Prune),
    ]
}

/// What is wanted last of all.
#[derive(Default)]
struct Wanted {
    /// A mask of frontends and the rest, by service.
    services: BTreeMap<u8, (u8, Rest)>,
    surroundings: Surroundings,
}

impl Wanted {
    /// Everything, in one go.
    fn steps(&self) -> Vec<Step> {
        let services = self.services.iter().map(|(service, plan)| step(*service, plan));
        services.chain([Step::Surroundings(self.surroundings.clone())]).collect()
    }

    fn prune(&self) -> Step {
        Step::Prune(self.services.keys().map(|service| service_key(*service)).collect())
    }
}

/// Service 4 is the twin of service 0 in the other family.
fn service_key(service: u8) -> ServiceKey {
    if service == 4 { key6("s0") } else { key(&format!("s{service}")) }
}

fn step(service: u8, (frontends, rest): &(u8, Rest)) -> Step {
    let numbers = bits(*frontends);
    put(
        service_key(service),
        numbers.fold(backed(service, rest), |plan, number| {
            let address = frontend(service, number);
            match number {
                1 | 3 if rest.ranges != 0 => plan.guarded(&address),
                3 => plan.local_node_port(&address),
                _ if rest.closed => plan.closed(&address),
                _ => plan.cluster_ip(&address),
            }
        }),
    )
}

/// Two frontends an address: every service but the twin may have any of them.
fn frontend(service: u8, number: u8) -> String {
    let (host, port) = (number / 2, 80 + number % 2);
    if service == 4 { format!("[fd96::{host}]:{port}") } else { format!("10.96.0.{host}:{port}") }
}

/// The plan of a service without frontends.
fn backed(service: u8, rest: &Rest) -> Plan {
    let plan = if rest.affinity { plan().affinity(60) } else { plan() };
    let range = |bit| {
        if service == 4 { format!("2001:db8:{bit}::/48") } else { format!("203.0.{bit}.0/24") }
    };
    let plan = bits(rest.ranges).fold(plan, |plan, bit| plan.range(&range(bit)));
    let unique: BTreeMap<_, _> = rest.pods.iter().copied().collect();
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

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| mask & 1 << bit != 0)
}

/// Of a prefix that is both, this node's use counts.
fn around(pods: u8, nodes: u8, cidrs: u8, interfaces: u8) -> Surroundings {
    const NETS: [&str; 3] = ["10.244.0.0/16", "10.244.1.0/24", "fd01::/64"];
    const CIDRS: [&str; 3] = ["10.96.0.0/16", "172.30.0.0/16", "fd96::/108"];
    let of = |nets: [&'static str; 3], mask| -> Vec<_> {
        bits(mask).map(|bit| nets[usize::from(bit)]).collect()
    };
    let interfaces: Vec<_> = bits(interfaces).map(u32::from).collect();
    let mut all = surroundings(&of(NETS, pods), &of(NETS, nodes), &of(CIDRS, cidrs), &interfaces);
    all.interfaces.values_mut().for_each(|entry| entry.v4 = Some([192, 168, 0, nodes].into()));
    all
}

/// The steps that follow from `action`; `wanted` is kept up to date.
fn steps(wanted: &mut Wanted, action: &Action) -> Vec<Step> {
    match action {
        Action::Put { service, frontends, rest, losers_first } => {
            let mut steps = Vec::new();
            let others = wanted.services.iter_mut().filter(|(it, _)| *it != service && **it != 4);
            for (loser, plan) in others {
                if *service != 4 && plan.0 & frontends != 0 {
                    plan.0 &= !frontends;
                    steps.push(step(*loser, plan));
                }
            }
            let plan = (*frontends, rest.clone());
            let at = if *losers_first { steps.len() } else { 0 };
            steps.insert(at, step(*service, &plan));
            wanted.services.insert(*service, plan);
            steps
        }
        Action::Remove(service) => {
            wanted.services.remove(service);
            vec![gone(service_key(*service))]
        }
        Action::Surround { pods, nodes, cidrs, interfaces } => {
            wanted.surroundings = around(*pods, *nodes, *cidrs, *interfaces);
            vec![Step::Surroundings(wanted.surroundings.clone())]
        }
        Action::Prune => vec![wanted.prune()],
        Action::Restart => Vec::new(),
    }
}

proptest! {
    #[test]
    fn faults_and_restarts_leave_no_trace(
        actions in prop::collection::vec((action(), 0usize..4), 1..30),
        every in 2usize..12,
    ) {
        let (mut world, mut wanted) = (World::flaky(every), Wanted::default());
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
        for step in wanted.steps() {
            world.insist(&step);
            fresh.insist(&step);
        }
        world.insist(&wanted.prune());
        prop_assert_eq!(world.dump(Ids::Masked), fresh.dump(Ids::Masked));
        world.restart();
        prop_assert_eq!(world.dump(Ids::Masked), fresh.dump(Ids::Masked));
        for step in wanted.steps() {
            prop_assert_eq!(world.maps.writes(), {
                world.insist(&step);
                world.maps.writes()
            });
        }
    }
}
