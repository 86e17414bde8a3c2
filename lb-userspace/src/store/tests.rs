//! What the store keeps, and what it calls dirty.

use jiff::Timestamp;
use lb_common::net::Family;

use super::*;
use crate::model::fixture::{name, node, service, slice};

fn usable<T>(name: &NamespacedName, object: T) -> (NamespacedName, Outcome<T>) {
    (name.clone(), Outcome::Usable(object, vec![]))
}

fn services(list: &[Service]) -> Event {
    let named = list.iter().map(|service| usable(&service.name, service.clone()));
    Event::Services(Update::Replace(named.collect()))
}

fn put_slice(slice: Slice) -> Event {
    let (name, outcome) = usable(&slice.name.clone(), slice);
    Event::Slices(Update::Apply(name, outcome))
}

fn dirty(store: &mut Store) -> Vec<String> {
    store.take_dirty().iter().map(ToString::to_string).collect()
}

fn rejections(store: &mut Store) -> Vec<String> {
    store.take_rejections().iter().map(ToString::to_string).collect()
}

#[test]
fn it_is_synced_when_every_kind_has_delivered_its_first_list() {
    let lists = [
        services(&[]),
        Event::Slices(Update::Replace(vec![])),
        Event::Nodes(Update::Replace(vec![])),
        Event::ServiceCidrs(Update::Replace(vec![])),
    ];
    for last in 0..lists.len() {
        let mut store = Store::new("n1");
        // A single object is no list.
        store.apply(put_slice(slice("d/x", "d/a", ".1 L r")));
        let others = lists.iter().enumerate().filter(|(at, _)| *at != last);
        others.for_each(|(_, list)| store.apply(list.clone()));
        assert!(!store.is_synced(), "{:?} is missing", lists[last]);
        store.apply(lists[last].clone());
        assert!(store.is_synced());
    }
}

#[test]
fn a_new_list_removes_what_vanished_and_touches_nothing_else() {
    let mut store = Store::new("n1");
    let (a, b) = (service("d/a", "10.96.0.1"), service("d/b", "10.96.0.2"));
    store.apply(services(&[a.clone(), b]));
    assert_eq!(dirty(&mut store), ["d/a", "d/b"]);
    store.apply(services(std::slice::from_ref(&a)));
    assert_eq!(dirty(&mut store), ["d/b"]);
    assert_eq!(store.service(&name("d/b")), None);
    store.apply(services(&[a]));
    assert!(dirty(&mut store).is_empty());
}

#[test]
fn a_slice_that_moves_makes_both_services_dirty() {
    let mut store = Store::new("n1");
    store.apply(put_slice(slice("d/x", "d/a", ".1 L r")));
    assert_eq!(dirty(&mut store), ["d/a"]);
    store.apply(put_slice(slice("d/x", "d/b", ".1 L r")));
    assert_eq!(dirty(&mut store), ["d/a", "d/b"]);
    assert!(store.slices(&name("d/a")).is_empty());
    assert_eq!(store.slices(&name("d/b")).len(), 1);
    store.apply(Event::Slices(Update::Delete(name("d/unknown"))));
    assert!(dirty(&mut store).is_empty());
}

#[test]
fn a_rejected_object_is_told_once_and_no_longer_kept() {
    let mut store = Store::new("n1");
    let reject = || {
        let rejected = Outcome::Rejected("has no ports".into());
        Event::Services(Update::Apply(name("d/a"), rejected))
    };
    store.apply(services(&[service("d/a", "10.96.0.1")]));
    store.apply(reject());
    assert_eq!(store.service(&name("d/a")), None);
    assert_eq!(rejections(&mut store), ["service d/a: has no ports"]);
    store.apply(reject());
    assert!(rejections(&mut store).is_empty());
    store.apply(services(&[]));
    store.apply(reject());
    assert_eq!(rejections(&mut store), ["service d/a: has no ports"]);
}

#[test]
fn an_object_that_cannot_be_read_any_more_stays_as_it_was() {
    let mut store = Store::new("n1");
    let unreadable = || Outcome::Unreadable("cannot be read: bad port".into());
    let update = || Event::Services(Update::Apply(name("d/a"), unreadable()));
    let list = || Event::Services(Update::Replace(vec![(name("d/a"), unreadable())]));
    store.apply(update());
    assert_eq!(store.service(&name("d/a")), None);
    assert_eq!(rejections(&mut store), ["service d/a: cannot be read: bad port"]);
    let web = service("d/a", "10.96.0.1");
    store.apply(services(std::slice::from_ref(&web)));
    dirty(&mut store);
    for broken in [update(), list()] {
        store.apply(broken);
        assert_eq!(store.service(&name("d/a")), Some(&web));
        assert!(dirty(&mut store).is_empty());
    }
    assert_eq!(rejections(&mut store), ["service d/a: cannot be read: bad port"]);
    assert_eq!(store.rejected().count(), 1);
    store.apply(Event::Services(Update::Delete(name("d/a"))));
    assert_eq!(store.service(&name("d/a")), None);
    assert_eq!(store.rejected().count(), 0);
}

/// A Node with an address and a pod CIDR.
fn put_node(name: &str, address: &str, pod_cidr: &str) -> Event {
    let name = NamespacedName::new("", name);
    let mut node = node("a", address);
    (node.name, node.pod_cidrs) = (name.name.clone(), vec![pod_cidr.parse().unwrap()]);
    Event::Nodes(Update::Apply(name, Outcome::Usable(node, vec![])))
}

fn pod_cidrs(store: &Store) -> Vec<String> {
    store.pod_cidrs().map(ToString::to_string).collect()
}

#[test]
fn the_own_node_is_kept_whole_and_as_it_was_last() {
    let mut store = Store::new("n1");
    store.apply(put_node("n2", "192.168.0.3", "10.1.2.0/24"));
    assert_eq!(store.node(), None);
    let own = usable(&NamespacedName::new("", "n1"), node("a", "192.168.0.2"));
    store.apply(Event::Nodes(Update::Replace(vec![own])));
    assert_eq!(store.node().map(|node| &*node.zone), Some("a"));
    let gone = NamespacedName::new("", "n1");
    for gone in [
        Update::Delete(gone.clone()),
        Update::Apply(gone.clone(), Outcome::Rejected("bad".into())),
        Update::Apply(gone, Outcome::Unreadable("bad".into())),
        Update::Replace(vec![]),
    ] {
        store.apply(Event::Nodes(gone));
        assert_eq!(store.node().map(|node| &*node.zone), Some("a"));
        assert!(store.is_of_a_node(&"192.168.0.2".parse().unwrap()));
    }
}

/// Its NodePorts would go, and those who dial them.
#[test]
fn the_own_node_keeps_its_addresses_until_it_has_others() {
    let mut store = Store::new("n1");
    let put = |store: &mut Store, name: &str, addresses: &[&str]| {
        let mut node = node("b", "192.168.0.2");
        node.addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        node.name = name.into();
        let (name, outcome) = usable(&NamespacedName::new("", name), node);
        store.apply(Event::Nodes(Update::Apply(name, outcome)));
    };
    let own = |store: &Store| store.node().unwrap().addresses.clone();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    put(&mut store, "n1", &[]);
    assert!(own(&store).is_empty());
    put(&mut store, "n1", &["192.168.0.2"]);
    put(&mut store, "n2", &["192.168.0.3"]);
    for name in ["n1", "n2"] {
        put(&mut store, name, &[]);
    }
    assert_eq!(own(&store), [ip("192.168.0.2")]);
    assert!(store.is_of_a_node(&ip("192.168.0.2")) && !store.is_of_a_node(&ip("192.168.0.3")));
    put(&mut store, "n1", &["192.168.0.4"]);
    assert_eq!(own(&store), [ip("192.168.0.4")]);
}

#[test]
fn the_pods_and_addresses_of_all_nodes_are_known_while_they_exist() {
    let mut store = Store::new("n1");
    let has = |store: &Store, ip: &str| store.is_of_a_node(&ip.parse().unwrap());
    store.apply(put_node("n2", "192.168.0.3", "10.1.2.0/24"));
    store.apply(put_node("n3", "192.168.0.3", "10.1.3.0/24"));
    assert_eq!(pod_cidrs(&store), ["10.1.2.0/24", "10.1.3.0/24"]);
    assert!(store.take_networks_changed() && !store.take_networks_changed());
    store.apply(Event::Nodes(Update::Delete(NamespacedName::new("", "n2"))));
    assert!(store.take_networks_changed());
    assert_eq!(pod_cidrs(&store), ["10.1.3.0/24"]);
    assert!(has(&store, "192.168.0.3"), "n3 has it still");
    store.apply(put_node("n3", "192.168.0.4", "10.1.3.0/24"));
    assert!(!store.take_networks_changed());
    assert!(!has(&store, "192.168.0.3") && has(&store, "192.168.0.4"));
    store.apply(Event::Nodes(Update::Replace(vec![])));
    assert!(store.take_networks_changed());
    assert!(pod_cidrs(&store).is_empty() && !has(&store, "192.168.0.4"));
}

#[test]
fn the_addresses_of_the_own_node_and_their_order_are_told() {
    let mut store = Store::new("n1");
    let put = |name: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let node = Node { name: name.into(), addresses, ..node("", "192.0.2.1") };
        Event::Nodes(Update::Apply(NamespacedName::new("", name), Outcome::Usable(node, vec![])))
    };
    for (name, addresses, changed) in [
        ("n1", &["10.0.0.1", "10.0.0.2"], true),
        ("n1", &["10.0.0.1", "10.0.0.2"], false),
        ("n2", &["10.0.0.2", "10.0.0.1"], false),
        ("n1", &["10.0.0.2", "10.0.0.1"], true),
    ] {
        store.apply(put(name, addresses));
        assert_eq!(store.take_networks_changed(), changed, "{name} {addresses:?}");
    }
}

#[test]
fn nodes_make_only_services_dirty_that_are_balanced_at_their_addresses() {
    let mut store = Store::new("n1");
    let balanced = |ip: &str| {
        let mut service = service("d/a", "10.96.0.1");
        service.load_balancer_ips.insert(ip.parse().unwrap());
        services(&[service, crate::model::fixture::service("d/b", "10.96.0.2")])
    };
    store.apply(balanced("192.168.0.3"));
    dirty(&mut store);
    store.apply(put_node("n3", "192.168.0.4", "10.1.3.0/24"));
    assert!(dirty(&mut store).is_empty());
    for event in [
        put_node("n2", "192.168.0.3", "10.1.2.0/24"),
        Event::Nodes(Update::Delete(NamespacedName::new("", "n2"))),
    ] {
        store.apply(event.clone());
        assert_eq!(dirty(&mut store), ["d/a"]);
        store.apply(event);
        assert!(dirty(&mut store).is_empty());
    }
    store.apply(balanced("192.168.0.9"));
    dirty(&mut store);
    store.touch(&"192.168.0.3".parse().unwrap());
    assert!(dirty(&mut store).is_empty());
    store.touch(&"192.168.0.9".parse().unwrap());
    assert_eq!(dirty(&mut store), ["d/a"]);
}

#[test]
fn service_cidrs_are_known_and_their_changes_told() {
    let mut store = Store::new("n1");
    let put = |cidr: &str| {
        let name = NamespacedName::new("", "kubernetes");
        let cidrs = [cidr.parse().unwrap()].into();
        let cidr = ServiceCidr { name: name.clone(), cidrs };
        Event::ServiceCidrs(Update::Apply(name, Outcome::Usable(cidr, vec![])))
    };
    for (cidr, changed) in [("10.96.0.0/16", true), ("10.96.0.0/16", false), ("10.0.0.0/8", true)] {
        store.apply(put(cidr));
        assert_eq!(store.take_networks_changed(), changed);
        assert_eq!(store.service_cidrs().map(ToString::to_string).collect::<Vec<_>>(), [cidr]);
    }
    store.apply(Event::ServiceCidrs(Update::Replace(vec![])));
    assert!(store.take_networks_changed());
    assert_eq!(store.service_cidrs().count(), 0);
}

#[test]
fn the_api_servers_own_service_keeps_its_last_endpoints() {
    let kubernetes = name("default/kubernetes");
    let own = |endpoints| put_slice(slice("default/kubernetes", "default/kubernetes", endpoints));
    let mut store = Store::new("n1");
    let addresses = |store: &Store| {
        let slices = store.slices(&kubernetes);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        endpoints.map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>()
    };
    assert!(addresses(&store).is_empty());
    store.apply(own(".1 R r"));
    for emptied in [own(""), own(".1 R t"), Event::Slices(Update::Replace(vec![]))] {
        store.apply(emptied);
        assert_eq!(addresses(&store), ["10.180.0.1"]);
    }
    store.apply(own(".2 R r"));
    assert_eq!(addresses(&store), ["10.180.0.2"]);
}

#[test]
fn a_node_takes_traffic_from_outside_until_it_leaves() {
    let mut store = Store::new("n1");
    let put = |name: &str, leaving| {
        let node = Node { name: name.into(), leaving, ..node("", "192.0.2.1") };
        Event::Nodes(Update::Apply(NamespacedName::new("", name), Outcome::Usable(node, vec![])))
    };
    let gone = || Event::Nodes(Update::Replace(vec![]));
    assert!(store.node_is_eligible(), "in a cluster without Nodes");
    for (event, expected) in [
        (put("n2", false), false),
        (put("n1", false), true),
        (put("n2", true), true),
        (put("n1", true), false),
        (put("n1", false), true),
        (Event::Nodes(Update::Delete(NamespacedName::new("", "n1"))), false),
        (put("n1", false), true),
        (gone(), false),
    ] {
        store.apply(event.clone());
        assert_eq!(store.node_is_eligible(), expected, "{event:?}");
    }
}

#[test]
fn changes_are_counted_and_those_of_endpoints_say_when_they_were_triggered() {
    let mut store = Store::new("n1");
    let at = |second, endpoints| {
        let triggered = Timestamp::from_second(second).ok();
        put_slice(Slice { triggered, ..slice("d/s", "d/a", endpoints) })
    };
    store.apply(at(1, ".1 L r"));
    store.apply(services(&[service("d/a", "10.96.0.1"), service("d/b", "10.96.0.2")]));
    let expected = Changes { services: 2, slices: 1, ..Changes::default() };
    assert_eq!(store.take_changes(), expected, "nothing of the first list says when");
    store.apply(Event::Slices(Update::Replace(vec![])));
    store.take_changes();
    for event in [at(2, ".1 L r"), at(3, ".1 L r"), at(4, ".2 L r")] {
        store.apply(event);
    }
    store.apply(services(&[service("d/a", "10.96.0.1")]));
    let Changes { services, slices, triggers } = store.take_changes();
    assert_eq!((services, slices), (1, 2), "one slice said nothing new");
    let times = [2, 4].map(|second| Timestamp::from_second(second).unwrap());
    assert_eq!(triggers, [((name("d/a"), Family::V4), times.to_vec())].into());
}
