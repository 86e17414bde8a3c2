//! Services whose lists are Maglev tables.

use std::net::SocketAddr;

use lb_common::net::Family;
use lb_userspace::maps::ReadBack as _;
use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::fake::Fake;

use crate::harness::{Step, World, put};
use crate::plans::{Plan, key, plan};

/// A Service with endpoints on this node (`here`) and another (`there`) and tables of seven slots.
fn web(there: &[&str]) -> Step {
    let here = plan().cluster_ip("10.96.0.1:80").table(7).here("10.1.0.1:80");
    put(key("web"), there.iter().fold(here, |plan: Plan, address| plan.there(address)))
}

/// Whose the slots of the first service's cluster list are.
fn owners(world: &World<Fake>) -> Vec<SocketAddr> {
    let snapshot = world.maps.snapshot().expect("maps that can be read");
    let service = snapshot.services.values().next().expect("a service");
    service.cluster.iter().map(|id| snapshot.backends[&(Family::V4, *id)].address).collect()
}

#[test]
fn a_table_shares_its_slots_out_and_a_single_backend_needs_none() {
    let mut world = World::new();
    world.step(&web(&["10.1.1.1:80"])).expect("maps without faults");
    let dump = world.dump(Ids::Masked);
    assert!(dump.contains("cluster=[10.1.0.1:80*4 10.1.1.1:80*3] local=[10.1.0.1:80] "), "{dump}");
}

#[test]
fn a_restart_finds_its_tables_and_writes_nothing() {
    let mut world = World::new();
    let step = web(&["10.1.1.1:80", "10.1.1.2:80"]);
    world.step(&step).expect("maps without faults");
    world.restart();
    assert_eq!(world.writes(&step), []);
}

#[test]
fn ids_do_not_decide_which_slot_is_whose() {
    let (mut one, mut other) = (World::new(), World::new());
    one.step(&web(&["10.1.1.1:80", "10.1.1.2:80"])).expect("maps without faults");
    other.step(&web(&["10.1.1.2:80"])).expect("maps without faults");
    other.step(&web(&["10.1.1.1:80", "10.1.1.2:80"])).expect("maps without faults");
    assert_ne!(one.dump(Ids::Shown), other.dump(Ids::Shown), "the ids differ");
    assert_eq!(owners(&one), owners(&other));
}
