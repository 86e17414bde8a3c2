//! Objects change while everything is well.

use lb_tests::objects::{self, Protocol::Tcp, Protocol::Udp};
use serde_json::Value;

use crate::world::{World, endpoints, web, web_served_by};

#[test]
fn a_service_and_its_slices_created_over_http_are_in_the_maps() {
    let mut world = World::new();
    world.until_watching();
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    world.send("POST", "/api/v1/namespaces/default/services", &web().object(), 201);
    world.until_maps_are(&web_served_by(&[]));
    world.send("POST", slices, &endpoints(&[2, 3]).object(), 201);
    world.until_maps_are(&web_served_by(&[2, 3]));
    let second = endpoints(&[4]).with("/metadata/name", "web-2");
    world.send("POST", slices, &second.object(), 201);
    world.until_maps_are(&web_served_by(&[2, 3, 4]));
    world.send("DELETE", &format!("{slices}/web-1"), &Value::Null, 200);
    world.until_maps_are(&web_served_by(&[4]));
    world.send("DELETE", "/api/v1/namespaces/default/services/web", &Value::Null, 200);
    world.until_maps_are("");
}

#[test]
fn a_slice_edit_is_in_the_maps() {
    let mut world = World::with_web();
    for (slice, expected) in [
        (endpoints(&[2, 3, 4]), web_served_by(&[2, 3, 4])),
        (endpoints(&[3, 4]), web_served_by(&[3, 4])),
        (
            endpoints(&[3, 4]).not_ready(),
            format!("{}\nkept (10.1.0.4:8080) default/web:http/TCP", web_served_by(&[3])),
        ),
        (endpoints(&[3, 4]).ready(), web_served_by(&[3, 4])),
        (
            endpoints(&[3, 4]).terminating(true),
            format!("{}\nkept 10.1.0.4:8080 default/web:http/TCP", web_served_by(&[3])),
        ),
        // Those that terminate are better than none.
        (endpoints(&[4]).terminating(true), web_served_by(&[4])),
        (
            endpoints(&[4]).terminating(false),
            format!("{}\nkept (10.1.0.4:8080) default/web:http/TCP", web_served_by(&[])),
        ),
        (endpoints(&[2, 3]), web_served_by(&[2, 3])),
    ] {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-1";
        world.send("PUT", path, &slice.object(), 200);
        world.until_maps_are(&expected);
    }
}

#[test]
fn a_service_edit_is_in_the_maps() {
    let mut world = World::with_web();
    let two = || web().port("dns", 53, Udp);
    let served = web_served_by(&[2, 3]);
    let two_served = format!("{served}\n10.96.0.10:53/UDP default/web:dns/UDP:");
    let node_port = |port: u16| {
        format!(
            "{served}\n192.168.0.11:{port}/TCP default/web:http/TCP: 10.1.0.2:8080 10.1.0.3:8080"
        )
    };
    for (service, expected) in [
        (two(), two_served),
        (web(), served.clone()),
        (web().node_port(30_080), node_port(30_080)),
        (web().node_port(30_081), node_port(30_081)),
        (web().with("/spec/type", "ExternalName"), String::new()),
        (web(), served.clone()),
        (web().label("service.kubernetes.io/service-proxy-name", "another"), String::new()),
        (web(), served.clone()),
        (
            objects::service("default/web").cluster_ip("10.96.0.11").port("http", 81, Tcp),
            served.replace("10.96.0.10:80", "10.96.0.11:81"),
        ),
    ] {
        let path = "/api/v1/namespaces/default/services/web";
        world.send("PUT", path, &service.object(), 200);
        world.until_maps_are(&expected);
    }
}

#[test]
fn node_ports_move_with_the_nodes_address() {
    let mut world = World::with_web();
    world.server().apply(&web().node_port(30_080));
    let at = |address: &str| {
        let served = web_served_by(&[2, 3]);
        format!("{served}\n{}", served.replace("10.96.0.10:80", &format!("{address}:30080")))
    };
    world.until_maps_are(&at("192.168.0.11"));
    world.server().apply(&objects::node(&world.node.name).address("192.168.0.77"));
    world.until_maps_are(&at("192.168.0.77"));
}

#[test]
fn the_service_of_the_api_server_is_never_emptied() {
    let mut world = World::with_web();
    let kubernetes = objects::service("default/kubernetes").cluster_ip("10.96.0.1");
    world.server().apply(&kubernetes.port("https", 443, Tcp));
    let slice =
        || objects::slice("default/kubernetes").service("kubernetes").port("https", 6443, Tcp);
    let served = |web: &[u8], by: &str| {
        format!("{}\n10.96.0.1:443/TCP default/kubernetes:https/TCP: {by}:6443", web_served_by(web))
    };
    world.server().apply(&slice().endpoint("192.168.0.1"));
    world.until_maps_are(&served(&[2, 3], "192.168.0.1"));
    // What comes after it in the same watch shows that the agent has seen it.
    world.server().apply(&slice().endpoint("192.168.0.1").not_ready());
    world.server().apply(&endpoints(&[4]));
    world.until_maps_are(&served(&[4], "192.168.0.1"));
    world.server().apply(&slice());
    world.server().apply(&endpoints(&[5]));
    world.until_maps_are(&served(&[5], "192.168.0.1"));
    world.server().delete("endpointslices", "default/kubernetes");
    world.server().apply(&endpoints(&[6]));
    world.until_maps_are(&served(&[6], "192.168.0.1"));
    world.server().apply(&slice().endpoint("192.168.0.2"));
    world.until_maps_are(&served(&[6], "192.168.0.2"));
}
