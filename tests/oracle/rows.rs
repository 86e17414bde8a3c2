//! The oracle against the tables of kube-proxy's own tests (§10 of its behaviour): if the model is
//! wrong about these, it is wrong about everything.

// tidy: long because all tables are here, in their order.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_tests::oracle::{
    AddressType, Answer, Cluster, Detector, Endpoint, Ingress, Interface, Masquerade, Node,
    NodePortAddresses, Packet, Policy, Protocol, Service, ServicePort, Settings, Slice, SlicePort,
    decide,
};

const POD: &str = "10.0.0.2";
const NODE: &str = "192.168.0.2";
const OUTSIDE: &str = "203.0.113.2";
const BLOCKED: &str = "203.0.113.130";

/// kube-proxy's rules, node `here`, pods in `10.0.0.0/8` and `fd00:10::/64`.
fn cluster(services: &[Service], slices: &[Slice]) -> Cluster {
    Cluster {
        services: services.to_vec(),
        slices: slices.to_vec(),
        nodes: vec![Node {
            name: "here".into(),
            internal_ips: vec![ip(NODE), ip("2001:db8::1")],
            ..Node::default()
        }],
        this_node: "here".into(),
        interface_addresses: [NODE, "192.168.1.2", "2001:db8::1", "2001:db8:1::2"].map(ip).into(),
        service_cidrs: prefixes(&["172.30.0.0/16"]),
        settings: Settings {
            masquerade: Masquerade::KubeProxy,
            detector: Detector::ClusterCidr(prefixes(&["10.0.0.0/8", "fd00:10::/64"])),
            ..Settings::default()
        },
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn prefixes(texts: &[&str]) -> Vec<lb_tests::oracle::Prefix> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

/// A Service `svc` with the port `p`, 80/TCP, and this node port.
fn service(name: &str, cluster_ip: &str, node_port: u16) -> Service {
    Service {
        namespace: "ns".into(),
        name: name.into(),
        cluster_ips: vec![cluster_ip.into()],
        ports: vec![port("p", Protocol::Tcp, 80, node_port)],
        ..Service::default()
    }
}

fn port(name: &str, protocol: Protocol, port: u16, node_port: u16) -> ServicePort {
    let node_port = Some(node_port).filter(|port| *port != 0);
    ServicePort { name: Some(name.into()), protocol: Some(protocol), port, node_port }
}

fn vips(addresses: &[&str]) -> Vec<Ingress> {
    addresses.iter().map(|address| Ingress { ip: ip(address), mode: None }).collect()
}

/// A slice of `service` whose port `p` is 80/TCP. Endpoints are an address, `L`ocal or `R`emote, and
/// `r`eady, `st` (serving while terminating), `t`erminating or `s`erving.
fn slice(service: &str, endpoints: &[&str]) -> Slice {
    let endpoints: Vec<_> = endpoints.iter().map(|text| endpoint(text)).collect();
    let is_v6 = endpoints.first().is_some_and(|it| it.addresses[0].contains(':'));
    Slice {
        namespace: "ns".into(),
        name: format!("{service}-1"),
        service: Some(service.into()),
        is_headless: false,
        address_type: if is_v6 { AddressType::Ipv6 } else { AddressType::Ipv4 },
        ports: vec![SlicePort { name: Some("p".into()), protocol: None, port: Some(80) }],
        endpoints,
    }
}

fn endpoint(text: &str) -> Endpoint {
    let words: Vec<_> = text.split(' ').collect();
    let [address, node, state] = words[..] else { panic!("{text} is no endpoint") };
    Endpoint {
        addresses: vec![address.into()],
        node: (node == "L").then(|| "here".into()),
        ready: Some(state == "r"),
        serving: Some(["r", "s", "st"].contains(&state)),
        terminating: Some(["st", "t"].contains(&state)),
        ..Endpoint::default()
    }
}

/// Sends over TCP, or over UDP if `to` ends in `/udp`.
fn send(cluster: &Cluster, from: &str, to: &str) -> Answer {
    let (to, protocol) =
        to.strip_suffix("/udp").map_or((to, Protocol::Tcp), |to| (to, Protocol::Udp));
    let destination: SocketAddr = to.parse().unwrap();
    let packet = Packet { source: ip(from), interface: Interface::Uplink, destination, protocol };
    decide(cluster, &packet)
}

/// `expected` is `reject`, `drop`, `none`, or the endpoints, each with `*` if it is masqueraded.
#[track_caller]
fn check(cluster: &Cluster, from: &str, to: &str, expected: &str) {
    let expected = match expected {
        "reject" => Answer::Reject,
        "drop" => Answer::Drop,
        "none" => Answer::NotHandled,
        endpoints => Answer::Reaches(
            endpoints
                .split(' ')
                .map(|it| (it.trim_end_matches('*').parse().unwrap(), it.ends_with('*')))
                .collect::<BTreeMap<SocketAddr, bool>>(),
        ),
    };
    assert_eq!(send(cluster, from, to), expected, "{from} to {to}");
}

#[track_caller]
fn check_all(cluster: &Cluster, rows: &[(&str, &str, &str)]) {
    for (from, to, expected) in rows {
        check(cluster, from, to, expected);
    }
}

#[test]
fn table_1_a_service_without_endpoints_is_rejected_everywhere() {
    let empty = Service {
        external_ips: vec![ip("192.168.99.11")],
        ingress: vips(&["1.2.3.4"]),
        ..service("svc", "172.30.0.41", 3001)
    };
    check_all(
        &cluster(&[empty], &[]),
        &[
            (POD, "172.30.0.41:80", "reject"),
            (OUTSIDE, "192.168.99.11:80", "reject"),
            (POD, "192.168.0.2:3001", "reject"),
            (OUTSIDE, "192.168.0.2:3001", "reject"),
            (POD, "1.2.3.4:80", "reject"),
            (OUTSIDE, "1.2.3.4:80", "reject"),
        ],
    );
}

#[test]
fn table_2_cluster_ips_lead_where_their_ports_say() {
    let named = |name: &str, protocol, number| SlicePort {
        name: Some(name.into()),
        protocol: Some(protocol),
        port: Some(number),
    };
    let svc2 = Service {
        ports: vec![
            port("p", Protocol::Tcp, 80, 0),
            port("https", Protocol::Tcp, 443, 0),
            port("dns", Protocol::Udp, 53, 0),
            port("dns-tcp", Protocol::Tcp, 53, 0),
        ],
        ..service("svc2", "172.30.0.42", 0)
    };
    let mut slice2 = slice("svc2", &["10.180.0.1 L r", "10.180.2.1 R r"]);
    slice2.ports.extend([
        named("https", Protocol::Tcp, 8443),
        named("dns", Protocol::Udp, 53),
        named("dns-tcp", Protocol::Tcp, 5353),
    ]);
    let slice1 = slice("svc1", &["10.180.0.1 L r"]);
    check_all(
        &cluster(&[service("svc1", "172.30.0.41", 0), svc2], &[slice1, slice2]),
        &[
            (POD, "172.30.0.41:80", "10.180.0.1:80"),
            ("10.180.0.1", "172.30.0.41:80", "10.180.0.1:80*"),
            (POD, "172.30.0.42:80", "10.180.0.1:80 10.180.2.1:80"),
            (POD, "172.30.0.42:443", "10.180.0.1:8443 10.180.2.1:8443"),
            (POD, "172.30.0.42:53", "10.180.0.1:5353 10.180.2.1:5353"),
            (POD, "172.30.0.42:53/udp", "10.180.0.1:53 10.180.2.1:53"),
            (POD, "172.30.0.42:80/udp", "reject"),
            (POD, "172.30.0.41:443", "reject"),
            (POD, "172.30.0.50:80", "drop"),
        ],
    );
}

/// The Service of table 3, with these source ranges.
fn guarded(ranges: &[&str]) -> Cluster {
    let svc = Service {
        ingress: vips(&["1.2.3.4", "5.6.7.8"]),
        external_ips: vec![ip("192.168.99.11")],
        source_ranges: ranges.iter().map(ToString::to_string).collect(),
        ..service("svc", "172.30.0.41", 3001)
    };
    cluster(&[svc], &[slice("svc", &["10.180.0.1 R r"])])
}

#[test]
fn table_3_source_ranges_guard_load_balancer_addresses_only() {
    let guarded = guarded(&["192.168.0.0/24", " 203.0.113.0/25"]);
    check(&guarded, POD, "172.30.0.41:80", "10.180.0.1:80");
    for (from, to) in [(OUTSIDE, "192.168.0.2:3001"), (BLOCKED, "192.168.0.2:3001")] {
        check(&guarded, from, to, "10.180.0.1:80*");
    }
    for vip in ["1.2.3.4", "5.6.7.8"] {
        let to = &format!("{vip}:80");
        check(&guarded, OUTSIDE, to, "10.180.0.1:80*");
        check(&guarded, BLOCKED, to, "drop");
        check(&guarded, POD, to, "drop");
        check(&guarded, NODE, to, "10.180.0.1:80*");
        check(&guarded, vip, to, "10.180.0.1:80*");
    }
    check(&guarded, BLOCKED, "192.168.99.11:80", "10.180.0.1:80*");
}

#[test]
fn ranges_without_the_node_shut_out_the_service_s_own_address() {
    check(&guarded(&["203.0.113.0/25"]), "1.2.3.4", "1.2.3.4:80", "drop");
}

#[test]
fn ranges_of_the_other_family_guard_nothing() {
    check(&guarded(&["2600:5200::/64"]), BLOCKED, "1.2.3.4:80", "10.180.0.1:80*");
}

#[test]
fn table_4_node_ports_are_open_where_the_setting_says() {
    let v4 = service("svc", "172.30.0.41", 3001);
    let v6 = service("six", "fd00:10:96::41", 3001);
    let both = "10.180.0.1:80* 10.180.2.1:80*";
    let both6 = "[fd00:10::1]:80* [fd00:10::2]:80*";
    let mut cluster = cluster(
        &[v4, v6],
        &[
            slice("svc", &["10.180.0.1 R r", "10.180.2.1 L r"]),
            slice("six", &["fd00:10::1 R r", "fd00:10::2 L r"]),
        ],
    );
    let always = [
        (POD, "172.30.0.41:80", "10.180.0.1:80 10.180.2.1:80"),
        (OUTSIDE, "192.168.0.2:3001", both),
        (NODE, "192.168.0.2:3001", both),
        ("fd00:10::9", "[fd00:10:96::41]:80", "[fd00:10::1]:80 [fd00:10::2]:80"),
        ("2600:5200::1", "[2001:db8::1]:3001", both6),
    ];
    check_all(&cluster, &always);
    check(&cluster, OUTSIDE, "192.168.1.2:3001", "none");
    check(&cluster, "2600:5200::1", "[2001:db8:1::2]:3001", "none");
    cluster.settings.node_ports = NodePortAddresses::Within(prefixes(&[
        "192.168.0.0/24",
        "192.168.1.0/24",
        "2001:db8::/64",
        "2001:db8:1::2/128",
    ]));
    check_all(&cluster, &always);
    check(&cluster, OUTSIDE, "192.168.1.2:3001", both);
    check(&cluster, "2600:5200::1", "[2001:db8:1::2]:3001", both6);
    cluster.settings.node_ports = NodePortAddresses::Within(prefixes(&["192.168.0.0/24"]));
    check(&cluster, OUTSIDE, "192.168.1.2:3001", "none");
    check(&cluster, "2600:5200::1", "[2001:db8:1::2]:3001", both6);
}

/// The Service of tables 5 and 6.
fn external(policy: Policy) -> Cluster {
    let svc = Service {
        ingress: vips(&["1.2.3.4"]),
        external_ips: vec![ip("192.168.99.11")],
        external_policy: Some(policy),
        ..service("svc", "172.30.0.41", 3001)
    };
    cluster(&[svc], &[slice("svc", &["10.180.0.1 R r", "10.180.2.1 L r"])])
}

const EXTERNAL: [&str; 3] = ["192.168.99.11:80", "1.2.3.4:80", "192.168.0.2:3001"];

#[test]
fn table_5_under_the_external_policy_local_only_strangers_are_kept_to_this_node() {
    let local = external(Policy::Local);
    check(&local, POD, "172.30.0.41:80", "10.180.0.1:80 10.180.2.1:80");
    for to in EXTERNAL {
        check(&local, POD, to, "10.180.0.1:80 10.180.2.1:80");
        check(&local, OUTSIDE, to, "10.180.2.1:80");
    }
}

#[test]
fn table_6_under_the_external_policy_cluster_all_are_masqueraded() {
    let everyone = external(Policy::Cluster);
    check(&everyone, POD, "172.30.0.41:80", "10.180.0.1:80 10.180.2.1:80");
    for to in EXTERNAL {
        check(&everyone, POD, to, "10.180.0.1:80* 10.180.2.1:80*");
        check(&everyone, OUTSIDE, to, "10.180.0.1:80* 10.180.2.1:80*");
    }
}

#[test]
fn by_default_a_local_endpoint_sees_the_client() {
    for (policy, from, expected) in [
        (Policy::Cluster, OUTSIDE, "10.180.0.1:80* 10.180.2.1:80"),
        (Policy::Cluster, POD, "10.180.0.1:80* 10.180.2.1:80"),
        (Policy::Cluster, "10.180.2.1", "10.180.0.1:80* 10.180.2.1:80*"),
        (Policy::Local, NODE, "10.180.0.1:80* 10.180.2.1:80"),
        (Policy::Local, OUTSIDE, "10.180.2.1:80"),
    ] {
        let mut cluster = external(policy);
        cluster.settings.masquerade = Masquerade::Remote;
        for to in EXTERNAL {
            check(&cluster, from, to, expected);
        }
    }
}

/// Table 7: client and destination; then endpoints and masquerade with a detector, without one, with
/// everything masqueraded, and with everything masqueraded and no detector.
const MATRIX: &str = "
    pod cluster 1:      LR no,  LR no,  LR yes, LR yes
    pod external 1:     LR yes, LR yes, LR yes, LR yes
    node cluster 1:     LR yes, LR no,  LR yes, LR yes
    node external 1:    LR yes, LR yes, LR yes, LR yes
    outside cluster 1:  LR yes, LR no,  LR yes, LR yes
    outside external 1: LR yes, LR yes, LR yes, LR yes
    pod cluster 2:      LR no,  LR no,  LR yes, LR yes
    pod external 2:     LR no,  L no,   LR no,  L no
    node cluster 2:     LR yes, LR no,  LR yes, LR yes
    node external 2:    LR yes, LR yes, LR yes, LR yes
    outside cluster 2:  LR yes, LR no,  LR yes, LR yes
    outside external 2: L no,   L no,   L no,   L no
    pod cluster 3:      L no,   L no,   L yes,  L yes
    pod external 3:     LR yes, LR yes, LR yes, LR yes
    node cluster 3:     L yes,  L no,   L yes,  L yes
    node external 3:    LR yes, LR yes, LR yes, LR yes
    outside cluster 3:  L yes,  L no,   L yes,  L yes
    outside external 3: LR yes, LR yes, LR yes, LR yes";

/// The three Services of the matrix.
fn matrix() -> Cluster {
    let mut services = ["1.2.3.4", "5.6.7.8", "9.10.11.12"]
        .map(|vip| Service { ingress: vips(&[vip]), ..service(vip, "", 0) });
    for (service, number) in services.iter_mut().zip(1..) {
        service.name = format!("svc{number}");
        service.cluster_ips = vec![format!("172.30.0.4{number}")];
        service.ports[0].node_port = Some(3000 + number);
    }
    services[1].external_policy = Some(Policy::Local);
    services[2].internal_policy = Some(Policy::Local);
    let slices = ["svc1", "svc2", "svc3"].map(|n| slice(n, &["10.180.0.1 L r", "10.180.2.1 R r"]));
    cluster(&services, &slices)
}

#[test]
fn table_7_the_full_matrix() {
    for row in MATRIX.lines().filter(|row| !row.is_empty()) {
        let (who, cells) = row.split_once(':').unwrap();
        let who: Vec<_> = who.split_whitespace().collect();
        let from = match who[0] {
            "pod" => POD,
            "node" => NODE,
            _ => OUTSIDE,
        };
        let number: usize = who[2].parse().unwrap();
        let vip = ["1.2.3.4", "5.6.7.8", "9.10.11.12"][number - 1];
        let to = match who[1] {
            "cluster" => vec![format!("172.30.0.4{number}:80")],
            _ => vec![format!("192.168.0.2:300{number}"), format!("{vip}:80")],
        };
        let settings = [(false, false), (true, false), (false, true), (true, true)];
        for (cell, (no_detector, masquerade_all)) in cells.split(',').zip(settings) {
            let mut cluster = matrix();
            cluster.settings.masquerade_all = masquerade_all;
            if no_detector {
                cluster.settings.detector = Detector::None;
            }
            let (list, masquerade) = cell.trim().split_once(' ').unwrap();
            let star = if masquerade.trim() == "yes" { "*" } else { "" };
            let local = format!("10.180.0.1:80{star}");
            let expected = if list == "L" { local } else { format!("{local} 10.180.2.1:80{star}") };
            for to in &to {
                check(&cluster, from, to, &expected);
            }
        }
    }
}

#[test]
fn table_8_the_internal_policy_local_drops_rather_than_leave_the_node() {
    for (policy, endpoints, expected) in [
        (Policy::Cluster, &["10.1.0.1 L r", "10.1.0.2 R r"][..], "10.1.0.1:80 10.1.0.2:80"),
        (Policy::Local, &["10.1.0.1 L r", "10.1.0.2 R r"], "10.1.0.1:80"),
        (
            Policy::Local,
            &["10.1.0.1 L r", "10.1.0.2 L r", "10.1.0.3 R r"],
            "10.1.0.1:80 10.1.0.2:80",
        ),
        (Policy::Local, &["10.1.0.1 R r", "10.1.0.2 R r"], "drop"),
        (Policy::Local, &[], "reject"),
        (Policy::Cluster, &[], "reject"),
    ] {
        let svc = Service { internal_policy: Some(policy), ..service("svc", "172.30.1.1", 0) };
        check(&cluster(&[svc], &[slice("svc", endpoints)]), POD, "172.30.1.1:80", expected);
    }
}

/// Tables 9 and 10: what a pod finds at the ClusterIP and a stranger at the VIP.
#[track_caller]
fn check_terminating(policy: Policy, endpoints: &[&str], pod: &str, stranger: &str) {
    let svc = Service {
        ingress: vips(&["1.2.3.4"]),
        external_policy: Some(policy),
        ..service("svc", "172.30.1.1", 0)
    };
    let cluster = cluster(&[svc], &[slice("svc", endpoints)]);
    check(&cluster, POD, "172.30.1.1:80", pod);
    check(&cluster, OUTSIDE, "1.2.3.4:80", stranger);
}

#[test]
fn table_9_a_local_list_falls_back_to_leaving_endpoints_by_itself() {
    let check = |endpoints: &[&str], pod, stranger| {
        check_terminating(Policy::Local, endpoints, pod, stranger);
    };
    let leaving = "10.1.0.3 L st";
    let gone = "10.1.0.4 L t";
    let remote = "10.1.0.5 R r";
    check(
        &["10.1.0.1 L r", "10.1.0.2 L r", leaving, gone, remote],
        "10.1.0.1:80 10.1.0.2:80 10.1.0.5:80",
        "10.1.0.1:80 10.1.0.2:80",
    );
    check(&["10.1.0.2 L st", leaving, gone, remote], "10.1.0.5:80", "10.1.0.2:80 10.1.0.3:80");
    check(&["10.1.0.5 R st"], "10.1.0.5:80", "drop");
    check(&["10.1.0.5 L t", "10.1.0.6 R t"], "reject", "reject");
    check(&[], "reject", "reject");
}

#[test]
fn table_10_the_cluster_list_falls_back_when_nobody_is_ready_anywhere() {
    let check = |endpoints: &[&str], pod: &str| {
        let masqueraded: Vec<_> = pod.split(' ').map(|it| format!("{it}*")).collect();
        let stranger = if pod == "reject" { pod.into() } else { masqueraded.join(" ") };
        check_terminating(Policy::Cluster, endpoints, pod, &stranger);
    };
    check(
        &["10.1.0.1 L r", "10.1.0.2 L r", "10.1.0.3 R st", "10.1.0.4 R t", "10.1.0.5 R r"],
        "10.1.0.1:80 10.1.0.2:80 10.1.0.5:80",
    );
    check(
        &["10.1.0.2 L st", "10.1.0.3 L st", "10.1.0.4 R t", "10.1.0.5 R st"],
        "10.1.0.2:80 10.1.0.3:80 10.1.0.5:80",
    );
    check(&["10.1.0.5 R st"], "10.1.0.5:80");
    check(&["10.1.0.5 L t", "10.1.0.6 R t"], "reject");
}

/// §3.1. Endpoints are node hints and zone hints, separated by a slash; the node is in zone `a`.
#[track_caller]
fn check_hints(endpoints: &[&str], expected: &[usize]) {
    let mut slice = slice("svc", &[]);
    for (hints, number) in endpoints.iter().zip(0..) {
        let (nodes, zones) = hints.split_once('/').unwrap();
        let names =
            |text: &str| -> Vec<String> { text.split_whitespace().map(String::from).collect() };
        slice.endpoints.push(Endpoint {
            addresses: vec![format!("10.1.0.{number}")],
            node_hints: names(nodes),
            zone_hints: names(zones),
            ..Endpoint::default()
        });
    }
    let mut cluster = cluster(&[service("svc", "172.30.1.1", 0)], &[slice]);
    cluster.nodes[0].zone = Some("a".into());
    let expected: Vec<_> = expected.iter().map(|number| format!("10.1.0.{number}:80")).collect();
    check(&cluster, POD, "172.30.1.1:80", &expected.join(" "));
}

#[test]
fn hints_count_if_all_have_them_and_one_names_us() {
    check_hints(&["here/", "there/"], &[0]);
    check_hints(&["here there/", "there/b"], &[0]);
    check_hints(&["here/", "/"], &[0, 1]);
    check_hints(&["there/a", "there/b"], &[0]);
    check_hints(&["here/b", "there/a"], &[0]);
    check_hints(&["there/", "there/a"], &[0, 1]);
    check_hints(&["/a", "/b", "/a b"], &[0, 2]);
    check_hints(&["/b", "/b"], &[0, 1]);
    check_hints(&["/a", "/"], &[0, 1]);
}
