//! Somebody edits the maps under a running agent: it is counted and put right, ids and all.

use std::collections::BTreeSet;

use lb_common::abi::map;
use lb_common::abi::service::SlotRange;
use lb_common::net::Family;
use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::fake::Fake;
use lb_userspace::maps::{
    AddressEntry, BackendEntry, FrontendEntry, ReadBack, ServiceEntry, Write,
};
use lb_userspace::plan::{Client, InterfaceEntry};
use lb_userspace::tables::Drift;

use crate::harness::{Step, World};
use crate::plans::{frontend, key, plan, surroundings};

/// All that is wanted: services `a` and `b` with ids 1 and 2, and what is around them.
fn steps() -> Vec<Step> {
    let a = plan().cluster_ip("10.96.0.1:80").there("10.1.1.1:80").here("10.1.1.2:80");
    let b = plan().guarded("10.96.0.2:80").range("10.0.0.0/8").there("10.1.1.3:80");
    let around = surroundings(&["10.244.0.0/16"], &["192.168.0.1/32"], &["10.96.0.0/16"], &[7]);
    let services = vec![(key("a"), Some(a.0)), (key("b"), Some(b.0))];
    let keys = [key("a"), key("b")].into_iter().collect::<BTreeSet<_>>();
    vec![Step::Surroundings(around), Step::Services(services), Step::Prune(keys)]
}

fn world() -> World<Fake> {
    let mut world = World::new();
    for step in steps() {
        world.insist(&step);
    }
    world
}

fn compare(world: &mut World<Fake>) -> Drift {
    let found = world.maps.snapshot().expect("maps that can be read");
    world.tables.compare(found)
}

/// What `damage` did is counted as `expected`, and undone.
#[track_caller]
fn check(damage: &[Write], expected: &[(&'static str, u64)]) {
    let mut world = world();
    let before = world.dump(Ids::Shown);
    for write in damage {
        world.maps.vandalize(write);
    }
    assert_ne!(world.dump(Ids::Shown), before, "the damage is to be seen");
    assert_eq!(compare(&mut world), expected.iter().copied().collect());
    for step in steps() {
        world.insist(&step);
    }
    assert_eq!(world.dump(Ids::Shown), before);
    assert_eq!(compare(&mut world), Drift::new());
    let writes: Vec<_> = steps().iter().flat_map(|step| world.writes(step)).collect();
    assert_eq!(writes, []);
}

fn backend(service: u32, address: &str, generation: u32) -> BackendEntry {
    BackendEntry {
        address: address.parse().expect("an address and a port"),
        service,
        generation,
        serving: true,
        local: false,
        in_cluster_list: false,
        in_local_list: false,
    }
}

#[test]
fn maps_that_nobody_has_touched_differ_in_nothing() {
    let mut world = world();
    assert_eq!(compare(&mut world), Drift::new());
}

#[test]
fn what_was_edited_is_written_again_under_its_ids() {
    let v4 = Family::V4;
    let slots = SlotRange::new(1, 1);
    let entry = ServiceEntry { cluster: slots, local: slots, usable: true, affinity_s: 9 };
    check(&[Write::PutService(1, entry)], &[(map::SERVICES, 1)]);
    check(&[Write::PutSlots { offset: 0, backends: vec![2, 9] }], &[(map::SLOTS, 2)]);
    check(&[Write::PutServiceName(2, "junk".into(), v4)], &[(map::SERVICE_NAMES, 1)]);
    check(&[Write::PutBackend(v4, 1, backend(1, "10.9.9.9:9", 1))], &[(map::BACKENDS_V4, 1)]);
    check(&[Write::PutBackend(v4, 1, backend(1, "10.1.1.1:80", 7))], &[(map::BACKENDS_V4, 1)]);
    let other = FrontendEntry { service: 2, ..FrontendEntry::default() };
    check(&[Write::PutFrontend(frontend("10.96.0.1:80"), other)], &[(map::FRONTENDS_V4, 1)]);
    let ip = "10.96.0.2".parse().expect("an address");
    check(&[Write::PutAddress(ip, AddressEntry { closed: false })], &[(map::ADDRESSES_V4, 1)]);
    let net = "10.244.0.0/16".parse().expect("a prefix");
    check(&[Write::PutClient(net, Client::default())], &[(map::CLIENTS_V4, 1)]);
    check(&[Write::PutInterface(7, InterfaceEntry::default())], &[(map::INTERFACES, 1)]);
    check(&[Write::PutServiceCidrs(v4, vec![net])], &[(map::SERVICE_CIDRS_V4, 1)]);
}

#[test]
fn what_was_removed_comes_back_under_its_ids() {
    let v4 = Family::V4;
    let net = "10.0.0.0/8".parse().expect("a prefix");
    let ip = "10.96.0.1".parse().expect("an address");
    check(&[Write::FreeService(1)], &[(map::SERVICES, 1)]);
    check(&[Write::DeleteServiceName(1)], &[(map::SERVICE_NAMES, 1)]);
    check(&[Write::FreeBackend(v4, 3)], &[(map::BACKENDS_V4, 1)]);
    check(&[Write::DeleteFrontend(frontend("10.96.0.1:80"))], &[(map::FRONTENDS_V4, 1)]);
    check(&[Write::DeleteAddress(ip)], &[(map::ADDRESSES_V4, 1)]);
    check(&[Write::DeleteSourceRange(2, net)], &[(map::SOURCE_RANGES_V4, 1)]);
    check(
        &[Write::DeleteClient("192.168.0.1/32".parse().expect("a prefix"))],
        &[(map::CLIENTS_V4, 1)],
    );
    check(&[Write::DeleteInterface(7)], &[(map::INTERFACES, 1)]);
    check(&[Write::PutServiceCidrs(v4, vec![])], &[(map::SERVICE_CIDRS_V4, 1)]);
}

#[test]
fn what_nobody_wants_goes() {
    let entry = FrontendEntry { service: 1, ..FrontendEntry::default() };
    let (v4, net) = (Family::V4, "172.16.0.0/12".parse().expect("a prefix"));
    let slots = SlotRange::new(0, 1);
    let service =
        ServiceEntry { cluster: slots, local: SlotRange::EMPTY, usable: true, affinity_s: 0 };
    let ip = "10.96.9.9".parse().expect("an address");
    check(&[Write::PutFrontend(frontend("10.96.9.9:80"), entry)], &[(map::FRONTENDS_V4, 1)]);
    check(&[Write::PutAddress(ip, AddressEntry { closed: false })], &[(map::ADDRESSES_V4, 1)]);
    check(&[Write::PutService(9, service)], &[(map::SERVICES, 1)]);
    check(&[Write::PutServiceName(9, "demo/z:http/TCP".into(), v4)], &[(map::SERVICE_NAMES, 1)]);
    check(&[Write::PutBackend(v4, 8, backend(1, "10.1.1.8:80", 1))], &[(map::BACKENDS_V4, 1)]);
    check(&[Write::PutSourceRange(2, net)], &[(map::SOURCE_RANGES_V4, 1)]);
    check(&[Write::PutSourceRange(9, net)], &[(map::SOURCE_RANGES_V4, 1)]);
    check(&[Write::PutClient(net, Client::default())], &[(map::CLIENTS_V4, 1)]);
    check(&[Write::PutInterface(8, InterfaceEntry::default())], &[(map::INTERFACES, 1)]);
}
