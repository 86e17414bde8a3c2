//! What the agent asks and tells for sockets: pods, where theirs are translated, and the port guard.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;

use aya::maps::{HashMap, Map, MapData};
use lb_common::abi::{exempt, map};
use lb_tests::lab::{Pod, wait_until};
use serde_json::{Value, json};

use crate::rejections::{events, uid};
use crate::world::{PATIENCE, World, web};

/// The requests for pods, without what differs between list and watch.
fn asked_for_pods(world: &World) -> BTreeSet<String> {
    let requests = world.server().requests();
    let pods = requests.iter().filter(|request| request.contains("/pods"));
    let selector = |request: &String| {
        let query = request.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find(|it| it.starts_with("fieldSelector=")).unwrap_or("all").to_owned()
    };
    pods.map(selector).collect()
}

fn pod(world: &World, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "shy", "namespace": "default", "annotations": annotations},
        "spec": {"nodeName": world.node.name},
    })
}

/// Its processes, once it is in the cluster: the API server gives it its uid.
fn start(world: &World) -> Pod {
    let pods = world.server().objects("pods");
    world.node.pod_with_uid("shy", pods[0]["metadata"]["uid"].as_str().unwrap())
}

/// The keys of `EXEMPT`.
fn exempt(world: &World) -> BTreeSet<u64> {
    let pin = MapData::from_pin(world.pins().maps().join(map::EXEMPT)).unwrap();
    let table = HashMap::<_, u64, u32>::try_from(Map::HashMap(pin)).unwrap();
    table.keys().collect::<Result<_, _>>().unwrap()
}

#[test]
fn pods_are_nobodys_business_where_only_the_nodes_sockets_are_translated() {
    let world = World::with_web();
    world.until_watching();
    assert_eq!(asked_for_pods(&world), BTreeSet::new());
}

#[test]
fn a_running_pod_that_is_annotated_is_exempt_from_then_on() {
    let world = World::with_flags(&["--socket-lb=all"]);
    world.server().apply(&pod(&world, &json!({})));
    let shy = start(&world);
    world.until_watches(5);
    let own = format!("fieldSelector=spec.nodeName={}", world.node.name);
    assert_eq!(asked_for_pods(&world), BTreeSet::from([own]), "those of its own node");
    assert_eq!(exempt(&world), BTreeSet::new());

    world.server().apply(&pod(&world, &json!({"waggle.dev/socket-lb": "off"})));
    let id = fs::metadata(shy.ns.cgroup().unwrap().path()).unwrap().ino();
    let expected = BTreeSet::from([exempt::ANY, id]);
    wait_until("the pod is exempt", PATIENCE, || exempt(&world) == expected);

    world.server().apply(&pod(&world, &json!({"waggle.dev/socket-lb": "on"})));
    wait_until("the pod is like all others", PATIENCE, || exempt(&world).is_empty());
}

#[test]
fn a_pod_that_is_deleted_is_exempt_no_more() {
    let world = World::with_flags(&["--socket-lb=all"]);
    world.server().apply(&pod(&world, &json!({"waggle.dev/socket-lb": "off"})));
    let _shy = start(&world);
    wait_until("the pod is exempt", PATIENCE, || {
        world.pins().maps().join(map::EXEMPT).exists() && exempt(&world).len() == 2
    });
    world.server().delete("pods", "default/shy");
    wait_until("the pod is gone", PATIENCE, || exempt(&world).is_empty());
}

#[test]
fn a_service_is_told_who_wanted_its_node_port() {
    let mut world = World::with_flags(&["--guard-node-ports"]);
    world.server().apply(&web().node_port(30_080));
    let node = world.node.name.clone();
    let bind = |world: &World| world.node.ns.run(|| TcpListener::bind("0.0.0.0:30080"));
    let refused = "a process of the node cannot bind the port";
    world.agent.wait_printed("every source has delivered", PATIENCE);
    wait_until(refused, PATIENCE, || {
        bind(&world).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    });
    wait_until("there is an Event", PATIENCE, || !events(&world).is_empty());
    let [event] = &events(&world)[..] else { panic!("{:?}", events(&world)) };
    let (before, after) = event.split_once(": the process ").unwrap();
    assert_eq!(before, format!("NodePortGuarded Service default/web ({})", uid(&world, "web")));
    let expected = format!(
        " of node {node} wanted to bind the node port 30080/TCP; let it listen at another port, or \
         give the Service another nodePort"
    );
    assert!(after.ends_with(&expected), "{after}");
}
