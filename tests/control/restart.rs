//! What a new run makes of the maps of an earlier one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::abi::service::SlotRange;
use lb_common::net::Family;
use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::{AddressEntry, BackendEntry, FrontendEntry, ServiceEntry, Write};

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, frontend, key, plan, surroundings};

fn service(address: &str, pod: &str) -> Plan {
    plan().cluster_ip(address).there(pod)
}

fn prune(keep: &[&str]) -> Step {
    Step::Prune(keep.iter().map(|name| key(name)).collect::<BTreeSet<_>>())
}

/// Services `a`, `b` and `c` with ids 1, 2 and 3.
fn world() -> World<lb_userspace::maps::fake::Fake> {
    let mut world = World::new();
    for (at, name) in (1..).zip(["a", "b", "c"]) {
        let step = put(key(name), service(&format!("10.96.0.{at}:80"), &format!("10.1.1.{at}:80")));
        world.step(&step).expect("maps without faults");
    }
    world
}

#[test]
fn ids_survive_a_restart_in_whatever_order_the_services_come() {
    let mut world = world();
    world.step(&gone(key("b"))).expect("maps without faults");
    let before = world.dump(Ids::Shown);
    world.restart();
    let again = [("c", 3), ("a", 1)];
    for (name, at) in again {
        let step = put(key(name), service(&format!("10.96.0.{at}:80"), &format!("10.1.1.{at}:80")));
        assert_eq!(world.writes(&step), []);
    }
    assert_eq!(world.writes(&prune(&["a", "c"])), []);
    assert_eq!(world.dump(Ids::Shown), before);
    world.step(&put(key("d"), service("10.96.0.4:80", "10.1.1.4:80"))).expect("no faults");
    let last = world.dump(Ids::Shown);
    assert!(last.contains("SERVICES 2 demo/d:http/TCP IPv4 cluster=[2]"), "{last}");
    assert!(last.contains("BACKENDS_V4 2 10.1.1.4:80 service=2 generation=2"), "{last}");
}

#[test]
fn leftovers_stay_until_everything_to_be_kept_is_known() {
    let mut world = world();
    world.restart();
    world.step(&put(key("b"), service("10.96.0.1:80", "10.1.1.2:80"))).expect("no faults");
    assert!(world.dump(Ids::Masked).contains("SERVICES demo/a:http/TCP"));
    world.step(&prune(&["b"])).expect("maps without faults");
    assert_eq!(
        world.dump(Ids::Shown),
        "FRONTENDS_V4 10.96.0.1:80/TCP service=2\n\
         SERVICES 2 demo/b:http/TCP IPv4 cluster=[2] local=[] affinity=0s\n\
         BACKENDS_V4 2 10.1.1.2:80 service=2 generation=1 serving\n\
         ADDRESSES_V4 10.96.0.1\n",
        "the address that `a` left behind belongs to `b` by now"
    );
}

fn backend(service: u32, address: &str) -> BackendEntry {
    let address: SocketAddr = address.parse().expect("an address and a port");
    BackendEntry {
        address,
        service,
        generation: 9,
        serving: true,
        local: false,
        in_cluster_list: true,
        in_local_list: false,
    }
}

/// What `damage` did to `world` is undone by the next run.
#[track_caller]
fn check(damage: &[Write]) {
    let mut world = world();
    let before = world.dump(Ids::Shown);
    for write in damage {
        world.maps.vandalize(write);
    }
    assert_ne!(world.dump(Ids::Shown), before, "the damage is to be seen");
    world.restart();
    for (at, name) in (1..).zip(["a", "b", "c"]) {
        let step = put(key(name), service(&format!("10.96.0.{at}:80"), &format!("10.1.1.{at}:80")));
        world.step(&step).expect("maps without faults");
    }
    world.step(&prune(&["a", "b", "c"])).expect("maps without faults");
    assert_eq!(world.dump(Ids::Shown), before);
    assert_eq!(world.writes(&prune(&["a", "b", "c"])), []);
}

#[test]
fn what_makes_no_sense_is_cleared() {
    let (v4, slots) = (Family::V4, SlotRange::new(0, 1));
    let service =
        ServiceEntry { cluster: slots, local: SlotRange::EMPTY, usable: true, affinity_s: 5 };
    let entry = FrontendEntry { service: 77, ..FrontendEntry::default() };
    check(&[Write::PutFrontend(frontend("10.96.9.9:80"), entry)]);
    check(&[Write::PutFrontend(frontend("10.96.0.1:80"), entry)]);
    check(&[Write::PutFrontend(frontend("[fd96::1]:80"), FrontendEntry { service: 1, ..entry })]);
    check(&[Write::PutBackend(v4, 8, backend(77, "10.1.1.8:80"))]);
    check(&[Write::PutBackend(v4, 8, backend(1, "10.1.1.1:80"))]);
    check(&[Write::PutBackend(Family::V6, 8, backend(1, "[fd01::1]:80"))]);
    check(&[Write::PutService(9, service)]);
    check(&[Write::PutService(9, service), Write::PutServiceName(9, "junk".to_owned(), v4)]);
    check(&[Write::PutService(9, service), Write::PutServiceName(9, "demo/a:http/TCP".into(), v4)]);
    check(&[Write::PutServiceName(9, "demo/z:http/TCP".into(), v4)]);
    check(&[Write::PutSlots { offset: 1, backends: vec![99] }]);
    check(&[Write::PutSlots { offset: 1, backends: vec![1] }]);
    check(&[Write::PutService(2, service)]);
    check(&[Write::DeleteFrontend(frontend("10.96.0.1:80"))]);
}

#[test]
fn addresses_and_source_ranges_that_nobody_owns_are_cleared() {
    let ip = |ip: &str| ip.parse().expect("an address");
    let net = |net: &str| net.parse().expect("a prefix");
    let entry = |closed| AddressEntry { closed };
    let shut = FrontendEntry { service: 77, closed: true, ..FrontendEntry::default() };
    let at_shut = [
        Write::PutFrontend(frontend("10.96.0.9:80"), shut),
        Write::PutAddress(ip("10.96.0.9"), entry(true)),
    ];
    check(&[Write::PutAddress(ip("10.96.9.9"), entry(false))]);
    check(&[Write::PutAddress(ip("fd96::9"), entry(false))]);
    check(&at_shut);
    check(&[
        Write::PutFrontend(frontend("10.96.0.1:81"), shut),
        Write::PutAddress(ip("10.96.0.1"), entry(true)),
    ]);
    check(&[
        Write::DeleteFrontend(frontend("10.96.0.1:80")),
        Write::DeleteAddress(ip("10.96.0.1")),
    ]);
    check(&[Write::PutSourceRange(77, net("10.0.0.0/8"))]);
    check(&[Write::PutSourceRange(u32::MAX, net("10.0.0.0/8"))]);
    check(&[Write::PutSourceRange(1, net("10.0.0.0/8"))]);
    check(&[Write::PutSourceRange(1, net("2001:db8::/32"))]);
    let guarded = FrontendEntry { service: 1, guarded: true, ..FrontendEntry::default() };
    check(&[Write::PutFrontend(frontend("10.96.0.1:80"), guarded)]);
}

#[test]
fn an_id_that_leftovers_name_is_free_only_after_them() {
    let mut world = World::new();
    let net = "10.0.0.0/8".parse().expect("a prefix");
    world.maps.vandalize(&Write::PutSourceRange(1, net));
    let dangling = FrontendEntry { service: 2, ..FrontendEntry::default() };
    world.maps.vandalize(&Write::PutFrontend(frontend("10.96.9.9:80"), dangling));
    world.restart();
    world.step(&put(key("a"), service("10.96.0.1:80", "10.1.1.1:80"))).expect("no faults");
    let text = world.dump(Ids::Shown);
    assert!(text.contains("SERVICES 3 demo/a:http/TCP"), "{text}");
    world.step(&prune(&["a"])).expect("maps without faults");
    world.step(&put(key("b"), service("10.96.0.2:80", "10.1.1.2:80"))).expect("no faults");
    let text = world.dump(Ids::Shown);
    assert!(text.contains("SERVICES 1 demo/b:http/TCP") && !text.contains("SRC"), "{text}");
}

#[test]
fn surroundings_of_an_earlier_run_go_with_the_first_new_ones() {
    let mut world = World::new();
    let cidrs = ["10.96.0.0/16"];
    let before = surroundings(&["10.244.0.0/16", "::/0"], &["192.168.0.1/32"], &cidrs, &[7, 8]);
    world.step(&Step::Surroundings(before)).expect("maps without faults");
    world.restart();
    let mut after = surroundings(&["10.244.0.0/16"], &[], &[], &[8]);
    world.step(&Step::Surroundings(after.clone())).expect("maps without faults");
    assert_eq!(world.dump(Ids::Shown), "CLIENTS_V4 10.244.0.0/16 pod\nINTERFACES 8 workload\n");
    for (v4, line) in [("192.168.0.11", "8 workload 192.168.0.11\n"), ("", "8 workload\n")] {
        after.interfaces.values_mut().for_each(|entry| entry.v4 = v4.parse().ok());
        world.restart();
        world.step(&Step::Surroundings(after.clone())).expect("maps without faults");
        assert!(world.dump(Ids::Shown).ends_with(line), "{}", world.dump(Ids::Shown));
    }
}
