//! Passes over maps in memory.

mod growth;

use std::net::{IpAddr, SocketAddr};

use lb_common::net::Family;

use super::*;
use crate::maps::fake::{Fake, Flaky};
use crate::maps::{Capacities, Write};
use crate::model::{
    Affinity, Endpoint, NamespacedName, Outcome, Protocol, Service, ServiceCidr, ServicePort,
    Slice, SlicePort, TrafficPolicy,
};
use crate::plan::{InterfaceEntry, Settings};
use crate::store::{Event, Update};
use crate::tables::{GRACE, MapUsage};

fn service(name: &str, ip: &str) -> (NamespacedName, Outcome<Service>) {
    let name = NamespacedName::new("default", name);
    let service = Service {
        name: name.clone(),
        created_s: 0,
        cluster_ips: vec![ip.parse().unwrap()],
        external_ips: BTreeSet::new(),
        load_balancer_ips: BTreeSet::new(),
        source_ranges: BTreeSet::new(),
        health_check_node_port: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        algorithm: None,
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
    };
    (name, Outcome::Usable(service, vec![]))
}

fn slice(service: &str, ip: &str) -> (NamespacedName, Outcome<Slice>) {
    let name = NamespacedName::new("default", service);
    let endpoint = Endpoint {
        address: ip.parse().unwrap(),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    };
    let slice = Slice {
        name: name.clone(),
        service: name.clone(),
        family: Family::V4,
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![endpoint],
        triggered: None,
    };
    (name, Outcome::Usable(slice, vec![]))
}

fn reconciler<M: Maps + ReadBack>(maps: M) -> Reconciler<M> {
    let planner = Planner::new("node", Settings::default());
    Reconciler::restore(planner, maps).unwrap()
}

/// The services named are all there are, each with one endpoint.
fn list<M: Maps>(reconciler: &mut Reconciler<M>, names: &[&str]) {
    let ip = |third: usize, n: usize| format!("10.{third}.0.{}", n + 1);
    let services = names.iter().enumerate().map(|(n, name)| service(name, &ip(96, n)));
    let slices = names.iter().enumerate().map(|(n, name)| slice(name, &ip(1, n)));
    reconciler.planner().apply(Event::Services(Update::Replace(services.collect())));
    reconciler.planner().apply(Event::Slices(Update::Replace(slices.collect())));
    reconciler.planner().apply(Event::Nodes(Update::Replace(vec![])));
    reconciler.planner().apply(Event::ServiceCidrs(Update::Replace(vec![])));
}

fn frontends(maps: &impl ReadBack) -> Vec<IpAddr> {
    maps.snapshot().unwrap().frontends.keys().map(|address| address.ip).collect()
}

fn backends(maps: &impl ReadBack) -> Vec<SocketAddr> {
    maps.snapshot().unwrap().backends.values().map(|entry| entry.address).collect()
}

/// Passes until nothing is left to do, as the agent does; returns how many it took.
fn settle<M: Maps>(reconciler: &mut Reconciler<M>) -> usize {
    let mut now = Duration::ZERO;
    for passes in 1..1000 {
        match reconciler.pass(now) {
            None => return passes,
            Some(pause) => now += pause,
        }
    }
    panic!("it does not converge: {:?}", reconciler.pending);
}

#[test]
fn nothing_is_written_before_every_source_has_delivered() {
    let mut reconciler = reconciler(Fake::default());
    reconciler.planner().apply(Event::Services(Update::Replace(vec![service("a", "10.96.0.1")])));
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    assert!(reconciler.maps.take_log().is_empty());
    list(&mut reconciler, &["a"]);
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    assert_eq!(frontends(&reconciler.maps).len(), 1);
    assert_eq!(backends(&reconciler.maps), ["10.1.0.1:8080".parse().unwrap()]);
}

#[test]
fn what_is_wrong_is_told_before_every_source_has_delivered() {
    let mut reconciler = reconciler(Fake::default());
    let trouble = vec!["cannot be read".to_owned()];
    reconciler.planner().apply(Event::File("manifests".into(), trouble));
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    assert_eq!(reconciler.planner().take_rejections(), [], "they were told");
}

#[test]
fn an_address_that_a_service_leaves_to_another_is_never_missing() {
    for (old, new) in [("a", "b"), ("b", "a")] {
        let mut reconciler = reconciler(Fake::default());
        list(&mut reconciler, &[old]);
        settle(&mut reconciler);
        reconciler.maps.take_log();
        list(&mut reconciler, &[new]);
        settle(&mut reconciler);
        assert_eq!(frontends(&reconciler.maps).len(), 1);
        let log = reconciler.maps.take_log();
        let is_gap = |write: &Write| matches!(write, Write::DeleteFrontend(_));
        assert!(!log.iter().any(is_gap), "{old} to {new}: {log:?}");
    }
}

/// The Services `a` and `b` with an external IP each.
fn external<M: Maps>(reconciler: &mut Reconciler<M>, ips: [&str; 2]) {
    for ((name, cluster_ip), ip) in [("a", "10.96.0.1"), ("b", "10.96.0.2")].into_iter().zip(ips) {
        let (name, Outcome::Usable(mut service, _)) = service(name, cluster_ip) else { panic!() };
        service.external_ips.insert(ip.parse().unwrap());
        let put = Update::Apply(name, Outcome::Usable(service, vec![]));
        reconciler.planner().apply(Event::Services(put));
    }
}

#[test]
fn addresses_that_two_services_swap_are_never_missing() {
    let mut reconciler = reconciler(Fake::default());
    list(&mut reconciler, &["a", "b"]);
    external(&mut reconciler, ["192.0.2.1", "192.0.2.2"]);
    settle(&mut reconciler);
    reconciler.maps.take_log();
    external(&mut reconciler, ["192.0.2.2", "192.0.2.1"]);
    settle(&mut reconciler);
    let log = reconciler.maps.take_log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log.iter().all(|write| matches!(write, Write::PutFrontend(..))), "{log:?}");
}

/// Two frontends each, and room for no other.
#[test]
fn services_that_move_in_full_maps_get_what_the_others_leave() {
    let capacities = Capacities { frontends: 4, ..Capacities::default() };
    let mut reconciler = reconciler(Fake::new(capacities));
    list(&mut reconciler, &["a", "b"]);
    external(&mut reconciler, ["192.0.2.1", "192.0.2.2"]);
    settle(&mut reconciler);
    external(&mut reconciler, ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(reconciler.pass(GRACE), None);
    assert!(reconciler.take_told().is_empty());
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(frontends(&reconciler.maps)[2..], [ip("192.0.2.2"), ip("192.0.2.3")]);
}

#[test]
fn leftovers_of_an_earlier_run_go_once_it_is_known_that_nobody_wants_them() {
    let mut earlier = reconciler(Fake::default());
    list(&mut earlier, &["a", "b", "c"]);
    settle(&mut earlier);
    let mut later = reconciler(earlier.maps);
    assert_eq!(later.pass(Duration::ZERO), None);
    assert_eq!(frontends(&later.maps).len(), 3);
    list(&mut later, &["a"]);
    settle(&mut later);
    assert_eq!(frontends(&later.maps), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_change_after_the_first_lists_is_written() {
    let mut reconciler = reconciler(Fake::default());
    list(&mut reconciler, &["a", "b"]);
    settle(&mut reconciler);
    let name = NamespacedName::new("default", "a");
    reconciler.planner().apply(Event::Services(Update::Delete(name)));
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    assert_eq!(frontends(&reconciler.maps), ["10.96.0.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn the_api_server_keeps_its_endpoints_over_a_restart_until_there_are_others() {
    let mut earlier = reconciler(Fake::default());
    list(&mut earlier, &["kubernetes", "web"]);
    settle(&mut earlier);
    let mut later = reconciler(earlier.maps);
    list(&mut later, &["kubernetes", "web"]);
    later.planner().apply(Event::Slices(Update::Replace(vec![])));
    assert_eq!(later.pass(Duration::ZERO), None);
    assert_eq!(backends(&later.maps), ["10.1.0.1:8080".parse().unwrap()]);
    assert_eq!(frontends(&later.maps).len(), 2);
    let (name, new) = slice("kubernetes", "10.1.0.9");
    later.planner().apply(Event::Slices(Update::Apply(name, new)));
    assert_eq!(later.pass(GRACE), None);
    assert_eq!(backends(&later.maps), ["10.1.0.9:8080".parse().unwrap()]);
}

#[test]
fn the_api_server_without_endpoints_in_the_maps_is_written_like_others() {
    let mut reconciler = reconciler(Fake::default());
    list(&mut reconciler, &["kubernetes"]);
    reconciler.planner().apply(Event::Slices(Update::Replace(vec![])));
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    assert_eq!(frontends(&reconciler.maps).len(), 1);
}

/// [`list`] of one service, and the `ServiceCIDR` that its address is of.
fn list_with_cidr<M: Maps>(reconciler: &mut Reconciler<M>) {
    list(reconciler, &["a"]);
    let name = NamespacedName::new("", "kubernetes");
    let cidrs = BTreeSet::from(["10.96.0.0/16".parse().unwrap()]);
    let cidr = ServiceCidr { name: name.clone(), cidrs };
    let all = vec![(name, Outcome::Usable(cidr, vec![]))];
    reconciler.planner().apply(Event::ServiceCidrs(Update::Replace(all)));
}

#[test]
fn who_asks_is_written_before_services_and_their_cidrs_after_them_until_both_are() {
    let mut maps = Fake::default();
    for index in 1..=4 {
        maps.vandalize(&Write::PutInterface(index, InterfaceEntry::default()));
    }
    let mut sound = reconciler(maps.clone());
    list_with_cidr(&mut sound);
    assert_eq!(sound.pass(Duration::ZERO), None);
    let log = sound.maps.take_log();
    assert!(matches!(log[..5], [.., Write::DeleteInterface(4), Write::PutBackend(..)]), "{log:?}");
    assert!(matches!(log[..], [.., Write::PutAddress(..), Write::PutServiceCidrs(..)]), "{log:?}");
    for every in 2..=5 {
        let mut flaky = reconciler(Flaky::new(maps.clone(), every));
        list_with_cidr(&mut flaky);
        assert!(settle(&mut flaky) > 1);
        assert_eq!(flaky.maps.snapshot().unwrap(), sound.maps.snapshot().unwrap(), "{every}");
    }
}

#[test]
fn maps_of_which_every_third_write_fails_end_up_the_same() {
    let names = ["a", "b", "c", "d"];
    let mut sound = reconciler(Fake::default());
    list(&mut sound, &names);
    assert_eq!(settle(&mut sound), 1);
    let mut flaky = reconciler(Flaky::new(Fake::default(), 3));
    list(&mut flaky, &names);
    assert!(settle(&mut flaky) > 1);
    assert_eq!(frontends(&flaky.maps), frontends(&sound.maps));
    list(&mut flaky, &["a"]);
    settle(&mut flaky);
    assert_eq!(frontends(&flaky.maps).len(), 1);
    assert_eq!(backends(&flaky.maps).len(), 1);
}

#[test]
fn a_service_that_finds_no_room_is_told_once() {
    let small = Capacities { services: 2, ..Capacities::default() };
    let mut reconciler = reconciler(Fake::new(small));
    list(&mut reconciler, &["a", "b"]);
    for _ in 0..3 {
        assert!(reconciler.pass(Duration::ZERO).is_some());
    }
    let told: Vec<_> = reconciler.take_told().iter().map(ToString::to_string).collect();
    let expected = "service default/b: default/b/TCP stays as it was: \
                    map SERVICES is full at 2 entries; raise --max-services";
    assert_eq!(told, [expected]);
    let usage = reconciler.figures().usage;
    assert_eq!((usage.services, usage.backends), (1, 1));
    assert_eq!(usage.maps[0], MapUsage { map: "SERVICES", entries: 1, capacity: 1 });
    assert_eq!(reconciler.figures().unwritten, 1);
    assert!(!reconciler.is_behind(Family::V4), "trying again is no help");
}

#[test]
fn a_family_is_behind_while_something_of_it_is_not_written() {
    let mut flaky = reconciler(Flaky::new(Fake::default(), 1));
    assert!(!flaky.is_behind(Family::V4), "nobody has told it anything");
    list(&mut flaky, &["a"]);
    flaky.pass(Duration::ZERO);
    assert!(flaky.is_behind(Family::V4));
    let mut sound = reconciler(Fake::default());
    list(&mut sound, &["a"]);
    sound.pass(Duration::ZERO);
    assert!(!sound.is_behind(Family::V4) && !sound.is_behind(Family::V6));
}

#[test]
fn a_change_of_endpoints_is_programmed_once_its_service_is_written() {
    let triggered = Timestamp::from_second(7).unwrap();
    let triggers = |name: &str| {
        let service = NamespacedName::new("default", name);
        Triggers::from([((service, Family::V4), vec![triggered])])
    };
    let small = Capacities { services: 2, ..Capacities::default() };
    let mut reconciler = reconciler(Fake::new(small));
    list(&mut reconciler, &["a", "b"]);
    reconciler.expect(triggers("a"));
    reconciler.expect(triggers("b"));
    reconciler.pass(Duration::ZERO);
    assert_eq!(reconciler.take_programmed(), [(Family::V4, triggered)], "b finds no room");
    list(&mut reconciler, &["b"]);
    reconciler.pass(GRACE);
    reconciler.pass(2 * GRACE);
    assert_eq!(reconciler.take_programmed(), [(Family::V4, triggered)]);
    assert_eq!(reconciler.take_programmed(), []);
}

#[test]
fn services_without_the_endpoint_that_their_policy_wants_are_counted() {
    let mut reconciler = reconciler(Fake::default());
    list(&mut reconciler, &["a", "b"]);
    let (name, Outcome::Usable(mut local, _)) = service("a", "10.96.0.1") else { panic!() };
    local.internal_policy = TrafficPolicy::Local;
    local.external_policy = TrafficPolicy::Local;
    let put = |reconciler: &mut Reconciler<Fake>, service: &Service| {
        let outcome = Outcome::Usable(service.clone(), vec![]);
        reconciler.planner().apply(Event::Services(Update::Apply(name.clone(), outcome)));
        reconciler.pass(Duration::ZERO);
        let stranded = reconciler.figures().stranded.v4;
        (stranded.internal, stranded.external)
    };
    assert_eq!(put(&mut reconciler, &local), (1, 0), "it has no external address");
    local.external_ips.insert("192.0.2.1".parse().unwrap());
    assert_eq!(put(&mut reconciler, &local), (1, 1));
    local.internal_policy = TrafficPolicy::Cluster;
    assert_eq!(put(&mut reconciler, &local), (0, 1));
    reconciler.planner().apply(Event::Slices(Update::Replace(vec![])));
    assert_eq!(put(&mut reconciler, &local), (0, 0), "others have no endpoint either");
}

#[test]
fn pauses_grow_up_to_a_limit_and_start_anew_after_success() {
    let mut reconciler = reconciler(Flaky::new(Fake::default(), 1));
    list(&mut reconciler, &["a"]);
    let pauses: Vec<_> = (0..12).map_while(|_| reconciler.pass(Duration::ZERO)).collect();
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
    assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
}

#[test]
fn it_is_told_once_when_a_backend_stops_serving_or_goes_and_never_when_one_comes() {
    let mut reconciler = reconciler(Fake::default());
    let mut stopped = |change: &dyn Fn(&mut Reconciler<Fake>)| {
        change(&mut reconciler);
        settle(&mut reconciler);
        let told = [reconciler.take_stopped(), reconciler.take_stopped()];
        assert!(!told[1], "told once");
        told[0]
    };
    let ending = |reconciler: &mut Reconciler<Fake>| {
        let (name, outcome) = slice("a", "10.1.0.1");
        let Outcome::Usable(mut slice, _) = outcome else { unreachable!() };
        slice.endpoints[0].ready = false;
        slice.endpoints[0].serving = false;
        slice.endpoints[0].terminating = true;
        let slices = vec![(name, Outcome::Usable(slice, vec![]))];
        reconciler.planner().apply(Event::Slices(Update::Replace(slices)));
    };
    assert!(!stopped(&|it| list(it, &["a"])));
    assert!(!stopped(&|it| list(it, &["a", "b"])), "one comes");
    assert!(stopped(&|it| list(it, &["a"])), "one goes");
    assert!(stopped(&ending), "one serves no more");
    assert!(!stopped(&ending), "it did not serve");
    assert!(!stopped(&|it| list(it, &["a"])), "it serves again");
}
