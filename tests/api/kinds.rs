//! Kinds beside Services and their endpoints: all Nodes, and `ServiceCIDRs`, which old clusters lack.

use lb_tests::objects::{node, service_cidr};
use serde_json::Value;

use crate::world::{PATIENCE, World, endpoints, web, web_served_by};

#[test]
fn nodes_of_others_come_and_go_without_a_trace_in_the_services() {
    let mut world = World::with_web();
    world.until_watching();
    let nodes = "/api/v1/nodes";
    let asked = world.server().requests();
    let asked: Vec<_> = asked.iter().filter(|line| line.contains("/nodes?")).collect();
    assert!(!asked.is_empty());
    // But for the own one, about which there is an Event.
    let selects = |line: &&String| line.contains("Selector") && !line.contains("metadata.name");
    assert!(!asked.iter().copied().any(|line| selects(&line)), "all Nodes: {asked:?}");
    let foreign = node("other").address("192.168.0.99").pod_cidr("10.77.0.0/24");
    world.send("POST", nodes, &foreign.object(), 201);
    world.server().apply(&endpoints(&[4]));
    world.until_maps_are(&web_served_by(&[4]));
    world.send("DELETE", "/api/v1/nodes/other", &Value::Null, 200);
    world.server().apply(&endpoints(&[5]));
    world.until_maps_are(&web_served_by(&[5]));
}

#[test]
fn a_service_cidr_that_comes_and_goes_does_not_disturb() {
    let mut world = World::with_web();
    world.until_watching();
    let cidrs = "/apis/networking.k8s.io/v1/servicecidrs";
    world.send("POST", cidrs, &service_cidr("more").cidr("10.96.0.0/16").object(), 201);
    world.server().apply(&endpoints(&[4]));
    world.until_maps_are(&web_served_by(&[4]));
    world.send("DELETE", &format!("{cidrs}/more"), &Value::Null, 200);
    world.server().apply(&endpoints(&[5]));
    world.until_maps_are(&web_served_by(&[5]));
}

#[test]
fn an_api_server_without_service_cidrs_is_as_good() {
    let mut world = World::without_server();
    world.start_old_server();
    world.server().apply(&web());
    world.server().apply(&endpoints(&[2, 3]));
    world.until_maps_are(&web_served_by(&[2, 3]));
    world.agent.wait_printed("going on without servicecidrs", PATIENCE);
    // It is not asked again and again.
    let asked = |world: &World| {
        let requests = world.server().requests();
        requests.iter().filter(|line| line.contains("/servicecidrs?")).count()
    };
    assert_eq!(asked(&world), 1);
    assert_eq!(world.server().watches(), 3);
}
