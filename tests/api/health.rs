//! What the agent says of itself while it follows an API server.

use std::net::{SocketAddr, TcpListener};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use lb_tests::apiserver::Trouble;
use lb_tests::lab::wait_until;
use lb_tests::traffic::Connection;
use serde_json::Value;

use crate::world::{PATIENCE, World, endpoints, web, web_served_by};

/// The health check node port of `default/web`.
const CHECK_PORT: u16 = 32_000;

/// The status of the agent's own `/healthz` or `/livez`.
#[track_caller]
fn status(world: &World, path: &str) -> u16 {
    let address = SocketAddr::from(([127, 0, 0, 1], 10_256));
    let connection = Connection::open(&world.node.ns, address, None, PATIENCE);
    connection.and_then(|mut connection| connection.get(path)).expect("an answer").status
}

/// Whether the one line of the metrics that begins with `name` ends with `value`.
#[track_caller]
fn shows(world: &World, name: &str, value: &str) -> bool {
    let lines = world.metrics(name);
    let [line] = &lines[..] else { panic!("{name}: {lines:?}") };
    line.ends_with(&format!(" {value}"))
}

fn event(world: &World, reason: &str) -> Option<Value> {
    world.server().objects("events").into_iter().find(|event| event["reason"] == reason)
}

#[test]
fn a_start_is_told_at_the_node() {
    let world = World::with_web();
    wait_until("there is an Event", PATIENCE, || event(&world, "Starting").is_some());
    let event = event(&world, "Starting").unwrap();
    let node = &world.server().objects("nodes")[0];
    assert_eq!(event["type"], "Normal", "{event}");
    assert_eq!(event["action"], "StartKubeProxy", "{event}");
    assert_eq!(event["regarding"]["kind"], "Node", "{event}");
    assert_eq!(event["regarding"]["uid"], node["metadata"]["uid"], "{event}");
}

#[test]
fn an_api_server_that_is_away_is_seen_in_the_metrics_and_is_no_illness() {
    let world = World::with_web();
    let kinds = ["service", "endpointslice", "node", "servicecidr"];
    let all_are = |value: &str| {
        let name = |kind: &&str| format!("waggle_watch_up{{kind=\"{kind}\"}}");
        kinds.iter().all(|kind| shows(&world, &name(kind), value))
    };
    wait_until("all watches are up", PATIENCE, || all_are("1"));
    assert!(shows(&world, "waggle_watch_lists_total{kind=\"node\"}", "1"));
    world.disconnect_into(Trouble::Status(500));
    wait_until("all watches are down", PATIENCE, || all_are("0"));
    assert_eq!((status(&world, "/healthz"), status(&world, "/livez")), (200, 200));
    assert!(!shows(&world, "waggle_watch_failures_total{kind=\"node\"}", "0"));
    let failed = world.metrics("rest_client_requests_total{code=\"500\",method=\"GET\"");
    assert!(!failed.is_empty(), "{:?}", world.metrics("rest_client_requests_total"));
    world.server().trouble(Trouble::None);
    // Nothing happens in them: that they were answered is enough.
    wait_until("all watches are up again", PATIENCE, || all_are("1"));
}

#[test]
fn the_way_of_a_change_into_the_maps_is_timed_from_its_trigger() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    const SUM: &str = "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"}";
    let mut world = World::with_web();
    let before: f64 = world.metrics(COUNT)[0].rsplit(' ').next().unwrap().parse().unwrap();
    let triggered = Timestamp::now() - SignedDuration::from_secs(7);
    let slice = endpoints(&[2, 3, 4]);
    let key = "endpoints.kubernetes.io/last-change-trigger-time";
    world.server().apply(&slice.annotation(key, &triggered.to_string()));
    world.until_maps_are(&web_served_by(&[2, 3, 4]));
    wait_until("it is timed", PATIENCE, || shows(&world, COUNT, &(before + 1.0).to_string()));
    let sum: f64 = world.metrics(SUM)[0].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(sum >= 7.0, "{sum}");
    assert!(shows(&world, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", "0"));
}

#[test]
fn services_without_the_endpoint_their_policy_wants_are_counted() {
    let world = World::with_web();
    let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    let gauge = format!("{name}{{traffic_policy=\"internal\",ip_family=\"IPv4\"}}");
    assert!(shows(&world, &gauge, "0"));
    world.server().apply(&web().internal_local());
    wait_until("it is counted", PATIENCE, || shows(&world, &gauge, "1"));
    world.server().apply(&endpoints(&[]).endpoint("10.1.0.2").on(&world.node.name));
    wait_until("it has an endpoint here", PATIENCE, || shows(&world, &gauge, "0"));
}

#[test]
fn a_health_check_whose_port_is_taken_has_an_event_at_its_service() {
    let world = World::with_web();
    let taken = SocketAddr::new(world.node.v4.into(), CHECK_PORT);
    let _thief = world.node.ns.run(|| TcpListener::bind(taken)).unwrap();
    let service = web().load_balancer_ip("198.51.100.10").external_local();
    world.server().apply(&service.with("/spec/healthCheckNodePort", CHECK_PORT));
    let reason = "FailedToStartServiceHealthcheck";
    wait_until("there is an Event", PATIENCE, || event(&world, reason).is_some());
    let event = event(&world, reason).unwrap();
    assert_eq!(event["type"], "Warning", "{event}");
    assert_eq!(event["action"], "Listen", "{event}");
    assert_eq!(event["regarding"]["name"], "web", "{event}");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains(&world.node.name) && note.contains(&taken.to_string()), "{note}");
}
