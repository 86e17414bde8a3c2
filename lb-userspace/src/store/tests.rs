//! What the store keeps, and what it calls dirty.

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
    let mut store = Store::new("n1");
    for event in [
        services(&[]),
        put_slice(slice("d/x", "d/a", ".1 L r")),
        Event::Nodes(Update::Replace(vec![])),
    ] {
        store.apply(event);
        assert!(!store.is_synced());
    }
    store.apply(Event::Slices(Update::Replace(vec![])));
    assert!(store.is_synced());
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
fn other_nodes_are_nobodys_business() {
    let mut store = Store::new("n1");
    let other = NamespacedName::new("", "n2");
    store.apply(Event::Nodes(Update::Apply(other, Outcome::Rejected("bad".into()))));
    assert!(store.node().is_none() && rejections(&mut store).is_empty());
    let own = usable(&NamespacedName::new("", "n1"), node("a", "192.168.0.2"));
    store.apply(Event::Nodes(Update::Replace(vec![own])));
    assert_eq!(store.node().map(|node| &*node.zone), Some("a"));
    store.apply(Event::Nodes(Update::Replace(vec![])));
    assert_eq!(store.node(), None);
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
