//! The Services that Waggle serves: the one that is dialled, and others that are in its way.

use anyhow::Result;
use lb_tests::lab::{Node, Pod};
use lb_tests::objects::{
    Manifests,
    Protocol::{Tcp, Udp},
    service, slice,
};
use serde_json::{Value, json};

use crate::rig::{SERVICE_PORT, endpoint_ip, service_ip};

/// Services a file. A file of JSON is read in a fraction of the time that YAML takes.
const FILE: u32 = 1000;

/// `services` Services, of which `server` has one, at `port`.
pub(crate) fn write(of: &Node, server: &Pod, port: u16, services: u32) -> Result<Manifests> {
    let manifests = Manifests::new();
    let own = lb_tests::objects::Node::from(of).object();
    let [web, endpoints] = dialled(server, port, &of.name);
    write_file(&manifests, "web", &[own, web, endpoints])?;
    for first in (1..services).step_by(FILE as usize) {
        let numbers = first..services.min(first + FILE);
        let objects: Vec<_> = numbers.flat_map(|n| other(n, &of.name)).collect();
        write_file(&manifests, &format!("others-{first}"), &objects)?;
    }
    Ok(manifests)
}

fn dialled(server: &Pod, port: u16, node: &str) -> [Value; 2] {
    let web = service("default/web")
        .cluster_ip(&service_ip(0).to_string())
        .port("tcp", SERVICE_PORT, Tcp)
        .port("udp", SERVICE_PORT, Udp);
    let endpoints = slice("default/web-1")
        .service("web")
        .port("tcp", port, Tcp)
        .port("udp", port, Udp)
        .endpoint(&server.v4.to_string())
        .on(node);
    [web.object(), endpoints.object()]
}

fn other(number: u32, node: &str) -> [Value; 2] {
    let name = format!("other-{number}");
    let service = service(&format!("default/{name}"))
        .cluster_ip(&service_ip(number).to_string())
        .port("http", SERVICE_PORT, Tcp);
    let endpoints = slice(&format!("default/{name}-1"))
        .service(&name)
        .port("http", 8080, Tcp)
        .endpoint(&endpoint_ip(number).to_string())
        .on(node);
    [service.object(), endpoints.object()]
}

fn write_file(manifests: &Manifests, name: &str, items: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    manifests.write_text(&format!("{name}.json"), &serde_json::to_string(&list)?);
    Ok(())
}
