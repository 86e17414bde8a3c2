//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use lb_common::net::Family;

use super::address::{prefix, unicast};
use super::name::dns_label;
use super::{annotation, keep_good, label, name, port, protocol};
use crate::model::{Affinity, Algorithm, Outcome, Service, ServicePort, TrafficPolicy};

const ALGORITHM: &str = "waggle.dev/algorithm";
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The API server's default of `timeoutSeconds`: three hours.
const DEFAULT_AFFINITY_S: u32 = 10_800;
const MAX_AFFINITY_S: u32 = 86_400;

/// The label selector of the Services that [`service_of`] the same `proxy_name` takes.
#[must_use]
pub fn service_selector(proxy_name: Option<&str>) -> String {
    proxy_name.map_or_else(|| format!("!{PROXY_NAME}"), |name| format!("{PROXY_NAME}={name}"))
}

/// A Service that is nobody's in particular: [`service_of`] no name.
#[must_use]
pub fn service(service: &api::Service) -> Outcome<Service> {
    service_of(None, service)
}

/// A Service whose label `service.kubernetes.io/service-proxy-name` is `proxy_name`; without
/// `proxy_name`, one without the label. Without a valid ClusterIP or without any valid port there
/// is nothing to balance; whatever else is wrong with it is left out.
#[must_use]
pub fn service_of(proxy_name: Option<&str>, service: &api::Service) -> Outcome<Service> {
    let ours = label(&service.metadata, PROXY_NAME) == proxy_name;
    let Some(spec) = service.spec.as_ref().filter(|spec| ours && is_balanced(spec)) else {
        return Outcome::NotOurs;
    };
    let mut problems = Vec::new();
    let cluster_ips = match cluster_ips(spec, &mut problems) {
        Ok(ips) => ips,
        Err(reason) => return Outcome::Rejected(reason),
    };
    let ports = ports(spec, &mut problems);
    if ports.is_empty() {
        let reasons = std::iter::once("has no ports".to_owned()).chain(problems);
        return Outcome::Rejected(reasons.collect::<Vec<_>>().join("; "));
    }
    let policy = |field, value, problems: &mut _| policy(field, value, problems);
    let internal = spec.internal_traffic_policy.as_deref();
    let external = spec.external_traffic_policy.as_deref();
    let external_policy = policy("externalTrafficPolicy", external, &mut problems);
    let (load_balancer_ips, source_ranges) = load_balancer(service, spec, &mut problems);
    let created = service.metadata.creation_timestamp.as_ref();
    let service = Service {
        name: name(&service.metadata),
        created_s: created.map_or(0, |time| time.0.as_second()),
        cluster_ips,
        external_ips: external_ips(spec, &mut problems),
        load_balancer_ips,
        source_ranges,
        internal_policy: policy("internalTrafficPolicy", internal, &mut problems),
        external_policy,
        health_check_node_port: health_check_node_port(spec, external_policy, &mut problems),
        affinity: affinity(spec, &mut problems),
        algorithm: algorithm(service, &mut problems),
        ports,
    };
    Outcome::Usable(service, problems)
}

/// Neither headless nor a mere name.
fn is_balanced(spec: &api::ServiceSpec) -> bool {
    let ips = cluster_ip_texts(spec);
    spec.type_.as_deref() != Some("ExternalName") && !ips.is_empty() && !ips.contains(&"None")
}

/// `clusterIPs`, or `clusterIP` where the former say nothing.
fn cluster_ip_texts(spec: &api::ServiceSpec) -> Vec<&str> {
    let many: Vec<_> = spec.cluster_ips.iter().flatten().map(String::as_str).collect();
    if many.iter().any(|ip| !ip.is_empty()) {
        return many;
    }
    spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty()).into_iter().collect()
}

/// One address per family, the first that can be used.
fn cluster_ips(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Result<Vec<IpAddr>, String> {
    let (mut ips, mut bad): (Vec<IpAddr>, _) = (Vec::new(), Vec::new());
    for text in cluster_ip_texts(spec) {
        match unicast(text) {
            Ok(ip) if ips.iter().any(|other| Family::of(other) == Family::of(&ip)) => {
                bad.push(format!("clusterIP {ip} is left out: it is the second of its family"));
            }
            Ok(ip) => ips.push(ip),
            Err(problem) => bad.push(format!("a clusterIP is left out: {problem}")),
        }
    }
    if ips.is_empty() {
        return Err(format!("has no clusterIP that can be used: {}", bad.join("; ")));
    }
    problems.append(&mut bad);
    Ok(ips)
}

fn algorithm(service: &api::Service, problems: &mut Vec<String>) -> Option<Algorithm> {
    match annotation(&service.metadata, ALGORITHM)? {
        "random" => Some(Algorithm::Random),
        "maglev" => Some(Algorithm::Maglev),
        other => {
            problems
                .push(format!("annotation {ALGORITHM}={other:?} is unknown; use random or maglev"));
            None
        }
    }
}

fn ports(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for api_port in spec.ports.iter().flatten() {
        match service_port(api_port, problems) {
            Ok(port)
                if ports.iter().any(|p| p.name == port.name && p.protocol == port.protocol) =>
            {
                let (number, name) = (port.port, &port.name);
                problems.push(format!("port {number} is left out: the name {name:?} is taken"));
            }
            Ok(port) => ports.push(port),
            Err(problem) => problems.push(problem),
        }
    }
    ports
}

fn service_port(
    api_port: &api::ServicePort,
    problems: &mut Vec<String>,
) -> Result<ServicePort, String> {
    let name = api_port.name.as_deref().unwrap_or_default();
    let left_out = |problem: String| format!("port {name:?} is left out: {problem}");
    if !name.is_empty() {
        dns_label(name).map_err(left_out)?;
    }
    let node_port = api_port.node_port.filter(|&number| number != 0).map(port);
    let node_port = keep_good(node_port.map(|r| r.map_err(|e| format!("nodePort: {e}"))), problems);
    Ok(ServicePort {
        name: name.into(),
        protocol: protocol(api_port.protocol.as_deref()).map_err(left_out)?,
        port: port(api_port.port).map_err(left_out)?,
        node_port: node_port.first().copied(),
    })
}

fn external_ips(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> BTreeSet<IpAddr> {
    let ips = spec.external_ips.iter().flatten();
    let ips = ips.map(|ip| unicast(ip).map_err(|e| format!("an externalIP is left out: {e}")));
    keep_good(ips, problems).into_iter().collect()
}

/// LoadBalancer addresses and who may use them. If a range cannot be read, the addresses of a
/// family for which none is left are left out too: it may have been the one that closed them.
fn load_balancer(
    service: &api::Service,
    spec: &api::ServiceSpec,
    problems: &mut Vec<String>,
) -> (BTreeSet<IpAddr>, BTreeSet<IpNet>) {
    let written = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let ranges = written
        .iter()
        .map(|range| prefix(range).map_err(|e| format!("a source range is left out: {e}")));
    let ranges = keep_good(ranges, problems);
    let some_are_bad = ranges.len() < written.len();
    let is_open = |ip: &IpAddr| {
        some_are_bad && !ranges.iter().any(|range| Family::of(&range.addr()) == Family::of(ip))
    };
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let ips = ingress
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter(|ingress| ingress.ip.as_deref().is_some_and(|ip| !ip.is_empty()))
        .map(|ingress| {
            vip(ingress).map_err(|problem| format!("a LoadBalancer IP is left out: {problem}"))
        });
    let (open, ips): (BTreeSet<_>, _) = keep_good(ips, problems).into_iter().partition(is_open);
    problems.extend(open.into_iter().map(|ip| {
        format!("the LoadBalancer IP {ip} is left out: no source range of its family is valid")
    }));
    (ips, ranges.into_iter().collect())
}

/// The address of a load balancer that does not ask for traffic to be sent to itself.
fn vip(ingress: &api::LoadBalancerIngress) -> Result<IpAddr, String> {
    let ip = ingress.ip.as_deref().unwrap_or_default();
    match ingress.ip_mode.as_deref() {
        None | Some("VIP") => unicast(ip),
        Some(other) => Err(format!("ipMode {other:?} of {ip:?} is unknown; use VIP or Proxy")),
    }
}

fn policy(field: &str, value: Option<&str>, problems: &mut Vec<String>) -> TrafficPolicy {
    match value {
        Some("Local") => TrafficPolicy::Local,
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some(other) => {
            problems.push(format!("{field} {other:?} is unknown and taken as Cluster"));
            TrafficPolicy::Cluster
        }
    }
}

fn health_check_node_port(
    spec: &api::ServiceSpec,
    external_policy: TrafficPolicy,
    problems: &mut Vec<String>,
) -> Option<u16> {
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    if !balanced || external_policy != TrafficPolicy::Local {
        return None;
    }
    let number = spec.health_check_node_port.unwrap_or_default();
    let result = port(number).map_err(|e| format!("healthCheckNodePort: {e}"));
    keep_good([result], problems).first().copied()
}

fn affinity(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> Affinity {
    match spec.session_affinity.as_deref() {
        Some("ClientIP") => Affinity::ClientIp { timeout_s: affinity_s(spec, problems) },
        None | Some("" | "None") => Affinity::None,
        Some(other) => {
            problems.push(format!("sessionAffinity {other:?} is unknown and taken as None"));
            Affinity::None
        }
    }
}

fn affinity_s(spec: &api::ServiceSpec, problems: &mut Vec<String>) -> u32 {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = config.and_then(|config| config.timeout_seconds) else {
        return DEFAULT_AFFINITY_S;
    };
    u32::try_from(seconds).ok().filter(|s| (1..=MAX_AFFINITY_S).contains(s)).unwrap_or_else(|| {
        problems.push(format!(
            "timeoutSeconds {seconds} is taken as {DEFAULT_AFFINITY_S}: use 1 to {MAX_AFFINITY_S}"
        ));
        DEFAULT_AFFINITY_S
    })
}
