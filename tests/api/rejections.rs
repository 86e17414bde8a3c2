//! What cannot be used is told: by an Event at the object, and by a number.

use std::net::TcpListener;

use lb_tests::lab::wait_until;
use lb_tests::objects::Service;
use serde_json::Value;

use crate::world::{PATIENCE, World, other, web, web_served_by};

/// The warnings among the Events as `REASON kind namespace/name (uid): note`.
pub(crate) fn events(world: &World) -> Vec<String> {
    let events = world.server().objects("events");
    events.iter().filter(|event| event["type"] == "Warning").map(shown).collect()
}

fn shown(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let about = &event["regarding"];
    let [kind, namespace, name, uid] =
        ["kind", "namespace", "name", "uid"].map(|field| text(&about[field]));
    let (reason, note) = (text(&event["reason"]), text(&event["note"]));
    format!("{reason} {kind} {namespace}/{name} ({uid}): {note}")
}

pub(crate) fn uid(world: &World, service: &str) -> String {
    let services = world.server().objects("services");
    let found = services.iter().find(|object| object["metadata"]["name"] == service).unwrap();
    found["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Has the address of `default/web`.
fn rival() -> Service {
    web().with("/metadata/name", "zzz")
}

#[test]
fn a_service_that_loses_its_address_has_one_event_and_a_number() {
    let mut world = World::with_web();
    assert_eq!(world.metrics("waggle_address_conflicts"), ["waggle_address_conflicts 0"]);
    world.server().apply(&rival());
    wait_until("there is an Event", PATIENCE, || !events(&world).is_empty());
    let expected = format!(
        "AddressConflict Service default/zzz ({}): default/zzz:http/TCP does not get \
         10.96.0.10:80/TCP: default/web:http/TCP has claimed it before",
        uid(&world, "zzz")
    );
    assert_eq!(events(&world), [expected.as_str()]);
    let events_now = world.server().objects("events");
    let event = events_now.iter().find(|event| event["type"] == "Warning").unwrap();
    assert_eq!(event["reportingController"], "waggle");
    assert_eq!(event["reportingInstance"], world.node.name);
    assert_eq!(world.metrics("waggle_address_conflicts"), ["waggle_address_conflicts 1"]);
    assert_eq!(
        world.metrics("waggle_rejected_objects"),
        ["waggle_rejected_objects{kind=\"service\"} 1"]
    );

    // Another agent, or this one after a restart, has nothing to add.
    world.agent.restart(&world.node.ns);
    // One about the start, and one about the fault.
    world.until_asked("POST /apis/events.k8s.io/v1/namespaces/default/events", 2);
    assert_eq!(events(&world), [expected.as_str()]);

    world.server().delete("services", "default/zzz");
    wait_until("the conflict is over", PATIENCE, || {
        world.metrics("waggle_address_conflicts") == ["waggle_address_conflicts 0"]
    });
    assert!(world.metrics("waggle_rejected_objects{").is_empty());
}

#[test]
fn an_object_that_cannot_be_used_has_an_event() {
    let mut world = World::with_web();
    world.server().apply(&other("bad", 2).with("/spec/ports/0/port", 99_999));
    wait_until("there is an Event", PATIENCE, || !events(&world).is_empty());
    let [event] = &events(&world)[..] else { panic!("{:?}", events(&world)) };
    let expected = format!("InvalidObject Service default/bad ({}): ", uid(&world, "bad"));
    assert!(event.starts_with(&expected) && event.contains("99999"), "{event}");
    world.until_maps_are(&web_served_by(&[2, 3]));
}

#[test]
fn the_metrics_show_what_is_in_the_maps() {
    let world = World::with_web();
    assert_eq!(world.metrics("waggle_services"), ["waggle_services 1"]);
    assert_eq!(world.metrics("waggle_backends"), ["waggle_backends 2"]);
    let full = |map| world.metrics(&format!("waggle_map_entries{{map=\"{map}\"}}"));
    assert_eq!(full("FRONTENDS_V4"), ["waggle_map_entries{map=\"FRONTENDS_V4\"} 1"]);
    assert_eq!(
        world.metrics("waggle_map_capacity{map=\"SLOTS\"}"),
        ["waggle_map_capacity{map=\"SLOTS\"} 1024"]
    );
    assert_eq!(
        world.metrics("waggle_datapath_events_total{event=\"new_flow\"}"),
        ["waggle_datapath_events_total{event=\"new_flow\"} 0"]
    );
}

#[test]
fn a_port_that_is_taken_is_no_obstacle() {
    let mut world = World::new();
    world.agent.kill();
    let taken = world.node.ns.run(|| TcpListener::bind("127.0.0.1:10249")).unwrap();
    world.agent.restart(&world.node.ns);
    world.agent.wait_printed("cannot serve metrics, trying again", PATIENCE);
    world.server().apply(&web());
    world.until_maps_are(&web_served_by(&[]));
    drop(taken);
    wait_until("metrics are served", PATIENCE, || world.try_metrics("waggle_services").is_ok());
}
