//! What a cluster's controllers make of Services and pods: EndpointSlices, the records of the DNS,
//! the targets of an ingress. Pure: objects in, objects and text out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use crate::objects::{Protocol, slice};

/// The manifests of the story.
pub(super) const SERVICES: &str = include_str!("../../../deploy/story/services.yaml");

/// What the containers of an app call their ports.
const NAMED_PORTS: [(&str, &str, u16, Protocol); 4] = [
    ("web-server", "http", 8080, Protocol::Tcp),
    ("ingress", "http", 8080, Protocol::Tcp),
    ("kube-dns", "dns", 53, Protocol::Udp),
    ("kube-dns", "dns-tcp", 53, Protocol::Tcp),
];

/// A pod as controllers see it.
#[derive(Clone, Debug)]
pub(super) struct PodStatus {
    /// Its label `app`.
    pub(super) app: &'static str,
    /// The node that it runs on.
    pub(super) node: String,
    /// Its IPv4 address.
    pub(super) v4: Ipv4Addr,
    /// Its IPv6 address.
    pub(super) v6: Ipv6Addr,
    /// It was told to end, and still serves.
    pub(super) is_terminating: bool,
}

impl PodStatus {
    fn ips(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// The Services of the story.
pub(super) fn services() -> Vec<Value> {
    serde_saphyr::from_multiple(SERVICES).expect("read the Services of the story")
}

/// The EndpointSlices of every Service that selects pods, one a family.
pub(super) fn slices(services: &[Value], pods: &[PodStatus]) -> Vec<Value> {
    let selecting = services.iter().filter(|service| service["spec"]["selector"].is_object());
    selecting.flat_map(|service| [0, 1].map(|family| slice_of(service, pods, family))).collect()
}

fn slice_of(service: &Value, pods: &[PodStatus], family: usize) -> Value {
    let (namespace, name) = name(service);
    let mut made = slice(&format!("{namespace}/{name}-{family}"))
        .service(name)
        .with("/addressType", ["IPv4", "IPv6"][family]);
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let (number, protocol) = target(service, port);
        made = made.port(text(&port["name"]), number, protocol);
    }
    for pod in pods.iter().filter(|pod| selects(service, pod)) {
        made = made.endpoint(&pod.ips()[family].to_string()).on(&pod.node);
        made = if pod.is_terminating { made.terminating(true) } else { made };
    }
    made.object()
}

/// A hosts file with a line for each address of each Service: its own, or those of its pods if it
/// is headless.
pub(super) fn hosts(services: &[Value], pods: &[PodStatus]) -> String {
    let lines = services.iter().flat_map(|service| {
        let name = full_name(service);
        addresses(service, pods).into_iter().map(move |ip| format!("{ip} {name}\n"))
    });
    lines.collect()
}

fn addresses(service: &Value, pods: &[PodStatus]) -> Vec<IpAddr> {
    let own = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let own: Vec<_> = own.filter_map(|ip| text(ip).parse().ok()).collect();
    if !own.is_empty() {
        return own;
    }
    ready(service, pods).flat_map(PodStatus::ips).collect()
}

/// Alias and target of each Service that is only a name.
pub(super) fn aliases(services: &[Value]) -> Vec<(String, String)> {
    let outside = services.iter().filter(|service| service["spec"]["type"] == "ExternalName");
    outside.map(|it| (full_name(it), text(&it["spec"]["externalName"]).to_owned())).collect()
}

/// Where an ingress sends what is for a Service: its ready pods, never its ClusterIP.
pub(super) fn upstreams(services: &[Value], of: &str, pods: &[PodStatus]) -> Vec<SocketAddr> {
    let service = services.iter().find(|service| name(service).1 == of);
    let service = service.unwrap_or_else(|| panic!("{of} is a Service of the story"));
    let (port, _) = target(service, &service["spec"]["ports"][0]);
    let ips = ready(service, pods).flat_map(PodStatus::ips);
    ips.map(|ip| SocketAddr::new(ip, port)).collect()
}

fn ready<'a>(service: &Value, pods: &'a [PodStatus]) -> impl Iterator<Item = &'a PodStatus> {
    pods.iter().filter(move |pod| selects(service, pod) && !pod.is_terminating)
}

fn selects(service: &Value, pod: &PodStatus) -> bool {
    service["spec"]["selector"]["app"] == pod.app
}

/// The container port that a Service's port names.
fn target(service: &Value, port: &Value) -> (u16, Protocol) {
    let (app, wanted) = (&service["spec"]["selector"]["app"], &port["targetPort"]);
    let found = NAMED_PORTS.iter().find(|(of, name, ..)| app == of && wanted == name);
    let (.., number, protocol) = found.unwrap_or_else(|| panic!("{app} has a port {wanted}"));
    (*number, *protocol)
}

fn full_name(service: &Value) -> String {
    let (namespace, name) = name(service);
    format!("{name}.{namespace}.svc.cluster.local")
}

/// Namespace and name.
fn name(service: &Value) -> (&str, &str) {
    (text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]))
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(number: u8, is_terminating: bool) -> PodStatus {
        let (v4, v6) = (Ipv4Addr::new(10, 1, 0, number), Ipv6Addr::from(u128::from(number)));
        PodStatus { app: "web-server", node: "node1".to_owned(), v4, v6, is_terminating }
    }

    #[test]
    fn slices_name_the_ports_of_the_service_and_carry_the_numbers_of_the_pods() {
        let slices = slices(&services(), &[web(2, false), web(3, true)]);
        let of_web = |slice: &&Value| slice["metadata"]["name"] == "web-server-service-1";
        let slice = slices.iter().find(of_web).unwrap();
        assert_eq!(slice["ports"][0]["name"], "web");
        assert_eq!(slice["ports"][0]["port"], 8080);
        assert_eq!(slice["endpoints"][0]["addresses"][0], "::2");
        assert_eq!(slice["endpoints"][1]["conditions"]["terminating"], true);
        assert_eq!(slices.len(), 8, "a Service without a selector has none");
    }

    #[test]
    fn names_lead_to_services_and_those_of_headless_ones_to_ready_pods() {
        let hosts = hosts(&services(), &[web(2, false), web(3, true)]);
        let of = |name: &str| -> Vec<_> {
            let lines = hosts.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|(_, it)| it.starts_with(name)).map(|(ip, _)| ip).collect()
        };
        assert_eq!(
            of("web-server-service.default.svc.cluster.local"),
            ["10.96.0.80", "fd00:96::80"]
        );
        assert_eq!(of("web-server-pods.default.svc.cluster.local"), ["10.1.0.2", "::2"]);
        assert_eq!(of("database"), [""; 0]);
        let database = "database.default.svc.cluster.local".to_owned();
        assert_eq!(aliases(&services()), [(database, "database.example.org".to_owned())]);
    }

    #[test]
    fn an_ingress_goes_to_ready_pods() {
        let found = upstreams(&services(), "web-server-service", &[web(2, false), web(3, true)]);
        assert_eq!(found, ["10.1.0.2:8080", "[::2]:8080"].map(|it| it.parse().unwrap()));
    }
}
