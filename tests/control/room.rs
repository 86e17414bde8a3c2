//! Maps that are full: all or nothing per service.

use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::{Capacities, MapError, ReadBack};

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, key, key6, plan, surroundings};

/// Room for one service with one frontend and two backends, and for changing one of them.
const SMALL: Capacities = Capacities {
    frontends: 2,
    services: 3,
    slots: 5,
    backends: 4,
    flows: 8,
    sockets: 8,
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
fn source_ranges_that_do_not_fit_leave_everything_as_it_was() {
    let guarded = || plan().guarded("192.0.2.1:80").range("10.0.0.0/8");
    let too_much = || plan().guarded("192.0.2.2:80").range("10.8.0.0/16").range("10.9.0.0/16");
    let mut world = World::with(SMALL);
    world.step(&put(key("web"), guarded())).expect("it fits");
    let before = world.maps.snapshot().expect("maps in memory");
    world.maps.take_log();
    for name in ["web", "new"] {
        let error = world.step(&put(key(name), too_much())).expect_err("it does not fit");
        let full = "map SRC_RANGES_V4 is full at 2 entries; raise --max-source-ranges";
        assert_eq!(error.to_string(), full);
    }
    assert_eq!(world.maps.snapshot().expect("maps in memory"), before);
    assert_eq!(world.maps.take_log(), [], "not even for a moment");
    world.step(&put(key6("six"), plan().range("fd00::/8").range("fe00::/8"))).expect("it fits");
    world.step(&gone(key("web"))).expect("it goes");
    world.step(&put(key("new"), too_much())).expect("it fits now");
}

#[test]
fn clients_that_do_not_fit_do_not_keep_others_out() {
    let mut world = World::with(SMALL);
    let clients = |pods: &[&str]| {
        Step::Surroundings(surroundings(pods, &[], &["10.96.0.0/16", "fd96::/108"], &[7]))
    };
    let error = world.step(&clients(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "fd01::/64"]));
    let error = error.expect_err("they do not fit").to_string();
    assert_eq!(error, "map CLIENTS_V4 is full at 2 entries; raise --max-clients");
    assert_eq!(
        world.dump(Ids::Masked),
        "CLIENTS_V4 10.1.0.0/16 pod\n\
         CLIENTS_V4 10.2.0.0/16 pod\n\
         CLIENTS_V6 fd01::/64 pod\n\
         SVC_CIDRS_V4 10.96.0.0/16\n\
         SVC_CIDRS_V6 fd96::/108\n\
         INTERFACES 7 workload\n"
    );
    world.insist(&clients(&["10.2.0.0/16", "10.3.0.0/16"]));
    let text = world.dump(Ids::Masked);
    assert!(text.contains("10.3.0.0/16") && !text.contains("10.1.0.0/16"), "{text}");
}

#[test]
fn too_many_service_cidrs_leave_those_of_the_other_family() {
    let mut world = World::with(SMALL);
    let cidrs: Vec<_> =
        (0..9).map(|n| format!("10.{n}.0.0/16")).chain(["fd96::/108".into()]).collect();
    let cidrs: Vec<_> = cidrs.iter().map(String::as_str).collect();
    let error = world.step(&Step::Surroundings(surroundings(&[], &[], &cidrs, &[])));
    assert!(matches!(error, Err(MapError::Full { map: "SVC_CIDRS_V4", setting: None, .. })));
    assert_eq!(world.dump(Ids::Masked), "SVC_CIDRS_V6 fd96::/108\n");
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
