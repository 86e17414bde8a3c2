//! An agent in a Pod finds the API server, whose in-cluster address is a Service's (design §4).

use lb_tests::objects::{Protocol::Tcp, service, slice};
use lb_tests::traffic::Connection;

use crate::world::{IN_CLUSTER, PATIENCE, World, address, endpoints, web, web_served_by};

/// The Service of the API server and its one endpoint.
fn publish_the_api(world: &World) {
    let in_cluster = service("default/kubernetes").cluster_ip(&IN_CLUSTER.ip().to_string());
    world.server().apply(&in_cluster.port("https", IN_CLUSTER.port(), Tcp));
    let slice = slice("default/kubernetes").service("kubernetes");
    let slice = slice.port("https", address().port(), Tcp);
    world.server().apply(&slice.endpoint(&address().ip().to_string()));
}

#[test]
fn the_kubelets_address_is_used_until_maps_lead_to_the_clusters_own() {
    let mut world = World::in_a_pod(&["--kubelet-kubeconfig=kubeconfig"]);
    publish_the_api(&world);
    let backend = address();
    world.until_maps_are(&format!("{IN_CLUSTER}/TCP default/kubernetes:https/TCP: {backend}"));
    let printed = world.agent.printed();
    assert!(printed.contains("asking the API server where the kubelet does"), "{printed}");
    world.agent.kill();
    let mut connection = Connection::open(&world.node.ns, IN_CLUSTER, None, PATIENCE).unwrap();
    assert_eq!(connection.get("/version").expect("the pinned maps still lead there").status, 200);
}

#[test]
fn what_the_flag_says_needs_no_kubelet() {
    let server = format!("--api-server=http://{}", address());
    let mut world = World::in_a_pod(&[&server, "--kubelet-kubeconfig=none"]);
    world.server().apply(&web());
    world.server().apply(&endpoints(&[2]));
    world.until_maps_are(&web_served_by(&[2]));
    assert!(!world.agent.printed().contains("does not answer"));
}
