//! Maps that are full: all or nothing per service.

use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::{Capacities, MapError, ReadBack};

use crate::harness::{World, gone, put};
use crate::plans::{Plan, key, plan};

/// Room for one service with one frontend and two backends, and for changing one of them.
const SMALL: Capacities = Capacities {
    frontends: 2,
    services: 3,
    slots: 5,
    backends: 4,
    flows: 8,
    clients: 2,
    source_ranges: 2,
};

fn web() -> Plan {
    plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:80").there("10.1.1.3:80")
}

/// `too_much` does not fit next to `web`; nothing happens, and it fits once `web` is gone.
#[track_caller]
fn check(name: &str, too_much: Plan, full: &str) {
    let mut world = World::with(SMALL);
    world.step(&put(key("web"), web())).expect("it fits");
    let before = world.maps.snapshot().expect("maps in memory");
    world.maps.take_log();
    let error = world.step(&put(key(name), too_much.clone())).expect_err("it does not fit");
    assert_eq!(error.to_string(), full);
    assert_eq!(world.maps.snapshot().expect("maps in memory"), before);
    assert_eq!(world.maps.take_log(), [], "not even for a moment");
    world.step(&gone(key("web"))).expect("it goes");
    world.step(&put(key(name), too_much)).expect("it fits now");
}

#[test]
fn a_service_that_does_not_fit_leaves_everything_as_it_was() {
    let pods = |plan: Plan, pods: &[u8]| {
        pods.iter().fold(plan, |plan, pod| plan.there(&format!("10.1.2.{pod}:80")))
    };
    let backends = "map BACKENDS_V4 is full at 4 entries; raise --max-backends";
    check("new", pods(plan(), &[1, 2]), backends);
    check("web", pods(plan(), &[1, 2]), backends);
    let frontends = "map FRONTENDS_V4 is full at 2 entries; raise --max-frontends";
    check("new", plan().cluster_ip("10.96.0.11:80").cluster_ip("10.96.0.12:80"), frontends);
    check("web", plan().cluster_ip("10.96.0.11:80").cluster_ip("10.96.0.12:80"), frontends);
    let slots = "map SLOTS is full at 5 entries; raise --max-slots";
    check("web", web().here("10.1.0.2:80"), slots);
}

#[test]
fn a_service_too_many_is_refused_by_name() {
    let mut world = World::with(SMALL);
    world.step(&put(key("a"), plan())).expect("it fits");
    world.step(&put(key("b"), plan())).expect("it fits");
    let error = world.step(&put(key("c"), plan())).expect_err("it does not fit");
    assert!(matches!(error, MapError::Full { map: "SERVICES", setting: Some("max-services"), .. }));
    assert!(!world.dump(Ids::Masked).contains("demo/c"));
}

#[test]
fn a_full_map_takes_changes_that_need_no_room() {
    let mut world = World::with(SMALL);
    world.step(&put(key("web"), web().leaving("10.1.1.4:80", true))).expect("it fits");
    world.step(&put(key("web"), web().leaving("10.1.1.4:80", false))).expect("it still fits");
    world.step(&put(key("web"), web().affinity(60))).expect("it still fits");
    let last = world.dump(Ids::Masked);
    assert!(last.contains("affinity=60s") && !last.contains("10.1.1.4"), "{last}");
}
