//! A cluster of a size: objects as long as a real API server sends them.

use std::net::Ipv4Addr;

use lb_tests::apiserver::{ApiServer, Gone};
use lb_tests::lab::{Lab, Node, ROUTER_V4};
use lb_tests::objects::Protocol::Tcp;
use lb_tests::objects::{Service, Slice, service, slice};
use serde_json::{Value, json};

use crate::Size;

/// An API server that has them all.
pub(crate) fn serve(lab: &Lab, node: &Node, size: Size) -> ApiServer {
    let server = ApiServer::start_in(&lab.router, (ROUTER_V4, 6443).into());
    server.apply(&lb_tests::objects::Node::from(node));
    for number in 0..size.services {
        server.apply(&one_service(number));
        server.apply(&one_slice(number, size.endpoints, &node.name));
    }
    // Nobody watches from before this, and the history takes more room than the objects.
    server.expire(Gone::AsStatus);
    server
}

fn one_service(number: u32) -> Service {
    service(&format!("default/service-{number}"))
        .label("app.kubernetes.io/name", "service")
        .label("app.kubernetes.io/managed-by", "Helm")
        .with("/metadata/managedFields", managed_fields())
        .with("/spec/selector", json!({"app.kubernetes.io/name": "service"}))
        .cluster_ip(&Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 10)) + number).to_string())
        .port("http", 80, Tcp)
}

fn one_slice(number: u32, endpoints: u32, node: &str) -> Slice {
    let empty = slice(&format!("default/service-{number}-x7k2p"))
        .service(&format!("service-{number}"))
        .label("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
        .with("/metadata/managedFields", managed_fields())
        .port("http", 8080, Tcp);
    let first = u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number * endpoints;
    (0..endpoints).fold(empty, |slice, at| {
        let reference = json!({
            "kind": "Pod",
            "namespace": "default",
            "name": format!("service-{number}-6d4cf56db6-{at:05}"),
            "uid": format!("5f3c1a2e-7a0b-4a55-9d1c-{:012x}", first + at),
        });
        let slice = slice.endpoint(&Ipv4Addr::from(first + at).to_string()).on(node).zone("zone-a");
        slice.with(&format!("/endpoints/{at}/targetRef"), reference)
    })
}

/// What every object of a real cluster carries, and nobody here reads.
fn managed_fields() -> Value {
    let fields = json!({
        "f:metadata": {"f:annotations": {".": {}, "f:endpoints.kubernetes.io/last-change-trigger-time": {}},
            "f:generateName": {}, "f:labels": {".": {}, "f:kubernetes.io/service-name": {}},
            "f:ownerReferences": {".": {}, "k:{\"uid\":\"0b7c7b9a-8f5e-4f0e-8f2c-1f6d2a9f3f11\"}": {}}},
        "f:ports": {},
    });
    json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}])
}
