//! Random histories of a cluster. The domains are small, so that objects meet: four Services claim
//! four ClusterIPs and six other addresses, six addresses are endpoints of all of them.
//!
//! What the API server does not let through is not made: two ports of one name or of one number in
//! an object. Nor is what kube-proxy leaves open (§2.11): an address has one state while it is
//! alive and one while it terminates, in all slices.

use lb_tests::oracle::{
    AddressType, Detector, Endpoint, Ingress, IpMode, Masquerade, Node, NodePortAddresses, Policy,
    Prefix, Protocol, Service, ServicePort, ServiceType, Settings, SlicePort,
};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::history::{Change, History, Pod, Probe, SliceDraft, State, Step, Target};

pub(crate) const SERVICES: usize = 4;
pub(crate) const SLICES: usize = 6;
pub(crate) const PODS: usize = 6;
pub(crate) const NODES: [&str; 3] = ["here", "there", "far"];
const NAMES: [(&str, &str); SERVICES] =
    [("one", "web"), ("one", "api"), ("two", "web"), ("two", "db")];
const PORT_NAMES: [&str; 3] = ["", "http", "dns"];
const SLICE_PORTS: [u16; 3] = [8080, 5353, 80];

/// The addresses of endpoints: two pods of this node, one of each other, the node itself, a stranger.
pub(crate) const PODS_V4: [&str; PODS] =
    ["10.180.0.1", "10.180.0.2", "10.180.1.1", "10.180.2.1", "192.168.0.2", "198.51.100.7"];
/// Their twins.
pub(crate) const PODS_V6: [&str; PODS] =
    ["fd00:10::1", "fd00:10::2", "fd00:10:0:1::1", "fd00:10:0:2::1", "2001:db8::1", "2600:5200::7"];
/// LoadBalancer and external addresses: of nobody, of a node, of another node.
const EXTERNAL: [&str; 9] = [
    "1.2.3.4",
    "5.6.7.8",
    "9.10.11.12",
    "192.168.0.2",
    "192.168.0.3",
    "2001:db8:ffff::1",
    "2001:db8:ffff::2",
    "2001:db8::1",
    "2001:db8::2",
];
/// Clients that are no endpoint.
pub(crate) const CLIENTS: [&str; 15] = [
    "10.180.0.9",
    "10.180.1.9",
    "10.180.0.254",
    "192.168.1.2",
    "192.168.0.3",
    "203.0.113.2",
    "203.0.113.130",
    "1.2.3.4",
    "9.10.11.12",
    "fd00:10::9",
    "fd00:10:0:1::9",
    "2001:db8:1::2",
    "2001:db8::2",
    "2600:5200::2",
    "2001:db8:ffff::1",
];
/// What is dialled although perhaps nobody claims it.
pub(crate) const DIALLED: [&str; 10] = [
    "172.30.0.1",
    "172.30.0.50",
    "172.31.0.50",
    "1.2.3.4",
    "9.10.11.12",
    "192.168.0.2",
    "192.168.1.2",
    "198.51.100.80",
    "fd00:10:96::50",
    "2001:db8::1",
];
pub(crate) const PORTS: [u16; 6] = [80, 443, 53, 30080, 30053, 8080];
const RANGES: [&str; 9] = [
    "203.0.113.0/25",
    " 203.0.113.0/25 ",
    "192.168.0.0/24",
    "10.180.0.0/24",
    "0.0.0.0/0",
    "1.2.3.4/32",
    "2600:5200::/64",
    "\t2001:db8::/64",
    "::/0",
];

/// Histories of up to nine states.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    let later = prop::collection::vec(step(1..5), 0..=8);
    (settings(), state(), step(4..16), later).prop_map(|(settings, start, first, later)| {
        let steps = std::iter::once(first).chain(later).collect();
        History { settings, start, steps }
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<bool>(), prop::bool::weighted(0.2), detector(), node_ports(), prop::bool::weighted(0.1))
        .prop_map(|(like_kube_proxy, masquerade_all, detector, node_ports, ignores)| Settings {
            masquerade: if like_kube_proxy { Masquerade::KubeProxy } else { Masquerade::Remote },
            masquerade_all,
            detector,
            node_ports,
            ignores_external_ips: ignores,
        })
}

fn detector() -> impl Strategy<Value = Detector> {
    let prefixes = ["10.180.0.0/16", "10.180.0.0/24", "fd00:10::/48"];
    let one_per_family = |prefixes: Vec<&str>| {
        let mut prefixes = parsed(&prefixes);
        prefixes.dedup_by_key(|prefix| prefix.family());
        Detector::ClusterCidr(prefixes)
    };
    prop_oneof![
        3 => Just(Detector::Auto),
        2 => subsequence(prefixes.to_vec(), 1..=3).prop_map(one_per_family),
        1 => Just(Detector::None),
    ]
}

fn node_ports() -> impl Strategy<Value = NodePortAddresses> {
    let prefixes = ["192.168.1.0/24", "192.168.0.0/16", "2001:db8::/64", "0.0.0.0/0"];
    prop_oneof![
        2 => Just(NodePortAddresses::Primary),
        2 => subsequence(prefixes.to_vec(), 1..=3)
            .prop_map(|it| NodePortAddresses::Within(parsed(&it))),
        1 => Just(NodePortAddresses::All),
    ]
}

/// A cluster without Services.
fn state() -> impl Strategy<Value = State> {
    let pods = prop::collection::vec((pod(false), pod(true)), PODS);
    let nodes = (node(0), node(1), node(2)).prop_map(|(a, b, c)| vec![Some(a), Some(b), Some(c)]);
    (pods, nodes, service_cidrs(), bound(), any::<bool>()).prop_map(
        |(pods, nodes, service_cidrs, bound, is_workload)| State {
            services: vec![None; SERVICES],
            slices: vec![None; SLICES],
            pods,
            nodes,
            service_cidrs,
            bound,
            is_workload,
        },
    )
}

fn step(changes: std::ops::Range<usize>) -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec(change(), changes);
    let probes = prop::collection::vec(probe(), 8..16);
    (changes, probes, prop::bool::weighted(0.2)).prop_map(|(changes, probes, relists)| Step {
        changes,
        probes,
        relists,
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..SERVICES).prop_flat_map(|n| service(n).prop_map(move |it| Change::Service(n, it))),
        1 => (0..SERVICES).prop_map(Change::NoService),
        8 => (0..SLICES, slice()).prop_map(|(number, slice)| Change::Slice(number, Some(slice))),
        1 => (0..SLICES).prop_map(|number| Change::Slice(number, None)),
        3 => (0..PODS, any::<bool>()).prop_flat_map(|(number, is_terminating)| {
            pod(is_terminating).prop_map(move |pod| Change::Pod(number, is_terminating, pod))
        }),
        // Who has not heard of its own Node yet does as it likes.
        1 => node(0).prop_map(|node| Change::Node(0, Some(node))),
        1 => (1..NODES.len()).prop_flat_map(|number| {
            of(node(number)).prop_map(move |node| Change::Node(number, node))
        }),
        1 => service_cidrs().prop_map(Change::ServiceCidrs),
        1 => bound().prop_map(Change::Bound),
        1 => any::<bool>().prop_map(Change::Interface),
    ]
}

fn service(number: usize) -> impl Strategy<Value = Box<Service>> {
    let shape = (
        service_type(),
        cluster_ips(number),
        prop::option::weighted(0.05, select(vec![String::new(), "other".into()])),
        0i64..3,
        prop::bool::weighted(0.15),
    );
    let external = (
        subsequence(EXTERNAL.to_vec(), 0..3),
        prop::collection::vec(ingress(), 0..3),
        prop_oneof![Just(Vec::new()), subsequence(RANGES.to_vec(), 1..4)],
    );
    (shape, external, service_ports(), of(policy()), of(policy())).prop_map(
        move |(shape, external, ports, internal_policy, external_policy)| {
            let (service_type, cluster_ips, proxy_name, created_s, has_affinity) = shape;
            let (external_ips, ingress, source_ranges) = external;
            Box::new(Service {
                namespace: NAMES[number].0.into(),
                name: NAMES[number].1.into(),
                created_s,
                proxy_name,
                service_type,
                cluster_ips,
                ports,
                external_ips: external_ips.into_iter().map(ip).collect(),
                ingress,
                source_ranges: source_ranges.into_iter().map(String::from).collect(),
                internal_policy,
                external_policy,
                has_affinity,
            })
        },
    )
}

fn service_type() -> impl Strategy<Value = ServiceType> {
    prop_oneof![
        3 => Just(ServiceType::ClusterIp),
        3 => Just(ServiceType::NodePort),
        6 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
    ]
}

/// Mostly its own, sometimes another Service's.
fn cluster_ips(number: usize) -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![4 => Just(number), 1 => 0..SERVICES];
    (number, 0..12u8).prop_map(|(number, families)| {
        let (v4, v6) = (format!("172.30.0.{number}"), format!("fd00:10:96::{number}"));
        match families {
            0 => vec!["None".into()],
            1..4 => vec![v4],
            4..6 => vec![v6],
            6..9 => vec![v6, v4],
            _ => vec![v4, v6],
        }
    })
}

fn ingress() -> impl Strategy<Value = Ingress> {
    (select(EXTERNAL.to_vec()), of(select(vec![IpMode::Vip, IpMode::Proxy])))
        .prop_map(|(text, mode)| Ingress { ip: ip(text), mode })
}

fn service_ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let node_port = prop_oneof![Just(None), select(vec![Some(30080), Some(30053), Some(80)])];
    let port = (port_name(), of(protocol()), select(vec![80u16, 443, 53]), node_port).prop_map(
        |(name, protocol, port, node_port)| ServicePort { name, protocol, port, node_port },
    );
    prop::collection::vec(port, 1..4).prop_map(|ports| {
        let mut kept: Vec<ServicePort> = Vec::new();
        for port in ports {
            if !kept.iter().any(|other| clashes(other, &port)) {
                kept.push(port);
            }
        }
        kept
    })
}

/// Whether the API server would refuse to have both in one Service.
fn clashes(one: &ServicePort, other: &ServicePort) -> bool {
    let name = |it: &ServicePort| it.name.clone().unwrap_or_default();
    let protocol = |it: &ServicePort| it.protocol.unwrap_or(Protocol::Tcp);
    let same_number =
        one.port == other.port || (one.node_port.is_some() && one.node_port == other.node_port);
    name(one) == name(other) || (protocol(one) == protocol(other) && same_number)
}

fn port_name() -> impl Strategy<Value = Option<String>> {
    of(select(PORT_NAMES.to_vec()).prop_map(String::from))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 4 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn policy() -> impl Strategy<Value = Policy> {
    select(vec![Policy::Cluster, Policy::Local])
}

fn slice() -> impl Strategy<Value = SliceDraft> {
    let number = prop_oneof![1 => Just(None), 12 => select(SLICE_PORTS.to_vec()).prop_map(Some)];
    let protocol = of(protocol());
    let ports = prop::collection::vec((protocol, number), PORT_NAMES.len());
    let address_type = prop_oneof![
        6 => Just(AddressType::Ipv4),
        4 => Just(AddressType::Ipv6),
        1 => Just(AddressType::Fqdn),
    ];
    let service = prop_oneof![15 => select(NAMES.to_vec()).prop_map(Some), 1 => Just(None)];
    let endpoints = prop::collection::vec((0..PODS, prop::bool::weighted(0.3)), 0..6);
    (service, prop::bool::weighted(0.05), address_type, ports, endpoints).prop_map(
        |(service, is_headless, address_type, ports, endpoints)| SliceDraft {
            service,
            is_headless,
            address_type,
            ports: PORT_NAMES
                .into_iter()
                .zip(ports)
                .map(|(name, (protocol, port))| SlicePort {
                    name: Some(name.into()),
                    protocol,
                    port,
                })
                .collect(),
            endpoints,
        },
    )
}

/// What is known of an address while it is alive, or while it terminates.
fn pod(is_terminating: bool) -> impl Strategy<Value = Pod> {
    let condition = || prop_oneof![2 => Just(None), 4 => Just(Some(true)), 3 => Just(Some(false))];
    let node = prop::option::weighted(0.85, select(NODES.to_vec()));
    let terminating = if is_terminating {
        Just(Some(true)).boxed()
    } else {
        select(vec![None, Some(false)]).boxed()
    };
    let zones = subsequence(vec!["a", "b"], 0..=2);
    let nodes = subsequence(NODES.to_vec(), 0..=2);
    (node, condition(), condition(), terminating, zones, nodes).prop_map(
        |(node, ready, serving, terminating, zones, nodes)| {
            Pod(Endpoint {
                addresses: Vec::new(),
                node: node.map(String::from),
                ready,
                serving,
                terminating,
                zone_hints: zones.into_iter().map(String::from).collect(),
                node_hints: nodes.into_iter().map(String::from).collect(),
            })
        },
    )
}

fn node(number: usize) -> impl Strategy<Value = Node> {
    let own = [format!("192.168.0.{}", number + 2), format!("2001:db8::{}", number + 1)];
    let cidrs = [format!("10.180.{number}.0/24"), format!("fd00:10:0:{number}::/64")];
    let zone = of(select(vec!["a", "b"]));
    (zone, subsequence(own.to_vec(), 1..=2), any::<bool>(), subsequence(cidrs.to_vec(), 0..=2))
        .prop_map(move |(zone, addresses, is_external, cidrs)| {
            let addresses: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
            let at = if is_external { 1 } else { addresses.len() };
            let (internal, external) = addresses.split_at(at);
            Node {
                name: NODES[number].into(),
                zone: zone.map(String::from),
                internal_ips: internal.to_vec(),
                external_ips: external.to_vec(),
                pod_cidrs: cidrs.iter().map(|cidr| cidr.parse().expect("a prefix")).collect(),
            }
        })
}

fn service_cidrs() -> impl Strategy<Value = Vec<Prefix>> {
    let all = vec!["172.30.0.0/16", "172.31.0.0/24", "fd00:10:96::/112"];
    subsequence(all, 0..=3).prop_map(|cidrs| parsed(&cidrs))
}

/// Addresses that the node has besides its own: a VIP, its end of the pods' bridge.
fn bound() -> impl Strategy<Value = Vec<std::net::IpAddr>> {
    let all = vec!["9.10.11.12", "10.180.0.254", "2001:db8:ffff::2"];
    subsequence(all, 0..=3).prop_map(|texts| texts.into_iter().map(ip).collect())
}

fn probe() -> impl Strategy<Value = Probe> {
    let protocol = || select(vec![Protocol::Tcp, Protocol::Udp]);
    let target = prop_oneof![
        8 => any::<Index>().prop_map(Target::Claim),
        1 => (any::<Index>(), select(PORTS.to_vec()), protocol())
            .prop_map(|(at, port, protocol)| Target::Beside(at, port, protocol)),
        1 => (select(DIALLED.to_vec()), select(PORTS.to_vec()), protocol())
            .prop_map(|(at, port, protocol)| Target::Free(ip(at), port, protocol)),
    ];
    (target, any::<Index>()).prop_map(|(target, client)| Probe { target, client })
}

fn parsed(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

pub(crate) fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}
