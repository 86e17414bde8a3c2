//! The planner as the reconcile loop sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::net::Family;
use proptest::prelude::*;

use crate::model::fixture::{name, node, port, service, slice};
use crate::model::{
    Affinity, NamespacedName, Node, Outcome, Protocol, Service, Slice, TrafficPolicy,
};
use crate::netlink::Network;
use crate::netlink::fixture::network;
use crate::plan::{FrontendAddress, FrontendUse, Planner, ServiceKey, ServicePlan, Settings};
use crate::store::{Event, Update};

/// A planner of node `n1` that has heard the first lists, which were empty.
pub(super) fn planner() -> Planner {
    settled(Settings::default()).into_planner()
}

/// A planner with other settings and its plans, likewise.
pub(super) fn settled(settings: Settings) -> Applied {
    let mut planner = Planner::new("n1", settings);
    planner.apply(Event::Nodes(Update::Replace(vec![])));
    planner.apply(Event::ServiceCidrs(Update::Replace(vec![])));
    planner.apply(Event::Services(Update::Replace(vec![])));
    planner.apply(Event::Slices(Update::Replace(vec![])));
    Applied::new(planner)
}

/// A planner and the plans that a reader of its changes has.
pub(super) struct Applied {
    planner: Planner,
    plans: BTreeMap<ServiceKey, ServicePlan>,
}

impl Applied {
    pub(super) fn new(planner: Planner) -> Self {
        Self { planner, plans: BTreeMap::new() }
    }

    pub(super) fn into_planner(self) -> Planner {
        self.planner
    }

    pub(super) fn put(&mut self, service: Service) -> Vec<String> {
        self.apply(put_service(service))
    }

    pub(super) fn delete(&mut self, service: &str) -> Vec<String> {
        self.apply(Event::Services(Update::Delete(name(service))))
    }

    /// Applies an event and returns the keys that were planned again, `-` before those gone.
    pub(super) fn apply(&mut self, event: Event) -> Vec<String> {
        self.planner.apply(event);
        self.catch_up()
    }

    /// The node has this network now; returns the keys as [`apply`](Self::apply) does.
    pub(super) fn set_network(&mut self, network: Network) -> Vec<String> {
        self.planner.set_network(network.into());
        self.catch_up()
    }

    fn catch_up(&mut self) -> Vec<String> {
        let mut keys = Vec::new();
        for (key, plan) in self.planner.changes() {
            let gone = if plan.is_none() { "-" } else { "" };
            keys.push(format!("{gone}{}{:?}", key.name, key.family).replace("V4", ""));
            match plan {
                Some(plan) => self.plans.insert(key, plan),
                None => self.plans.remove(&key),
            };
        }
        keys
    }

    pub(super) fn owner(&self, ip: &str) -> String {
        let ip: IpAddr = ip.parse().unwrap();
        let owners: Vec<_> = self
            .plans
            .iter()
            .filter(|(_, plan)| plan.frontends.keys().any(|address| address.ip == ip))
            .map(|(key, _)| key.name.service.to_string())
            .collect();
        owners.join(" ")
    }

    /// How many frontends are claimed more than once, and how many objects lack something.
    pub(super) fn conflicts(&self) -> (usize, usize) {
        (self.planner.contested(), self.planner.rejected().len())
    }

    pub(super) fn rejections(&mut self) -> Vec<String> {
        self.planner.take_rejections().iter().map(ToString::to_string).collect()
    }

    fn all_frontends(&self) -> impl Iterator<Item = (&FrontendAddress, FrontendUse)> {
        let all = self.plans.values().flat_map(|plan| &plan.frontends);
        all.map(|(address, used)| (address, *used))
    }

    /// Frontends with their flags.
    pub(super) fn frontends(&self) -> String {
        let one = |(address, used)| format!("{address}{}", flags(used));
        self.all_frontends().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The frontends that have `flag`.
    pub(super) fn with(&self, flag: &str) -> String {
        let with = self.all_frontends().filter(|(_, used)| flags(*used).contains(flag));
        with.map(|(address, _)| address.to_string()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn source_ranges(&self) -> String {
        let ranges = self.plans.values().flat_map(|plan| &plan.source_ranges);
        ranges.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

fn flags(used: FrontendUse) -> String {
    let flags = [
        (used.local, " local"),
        (used.external, " external"),
        (used.guarded, " guarded"),
        (used.closed, " closed"),
        (used.node_port, " node-port"),
    ];
    flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect()
}

fn put_service(service: Service) -> Event {
    Event::Services(Update::Apply(service.name.clone(), Outcome::Usable(service, vec![])))
}

fn put_slice(slice: Slice) -> Event {
    Event::Slices(Update::Apply(slice.name.clone(), Outcome::Usable(slice, vec![])))
}

pub(super) fn put_node(zone: &str, address: &str) -> Event {
    let node = Outcome::Usable(node(zone, address), vec![]);
    Event::Nodes(Update::Apply(NamespacedName::new("", "n1"), node))
}

/// Another Node, without pods.
pub(super) fn put_other_node(name: &str, address: &str) -> Event {
    let node = Node { name: name.into(), ..node("", address) };
    Event::Nodes(Update::Apply(NamespacedName::new("", name), Outcome::Usable(node, vec![])))
}

/// `NodePort` 3001 at 192.168.0.2, LoadBalancer 1.2.3.4, external 192.0.2.1.
fn exposed(internal: TrafficPolicy, external: TrafficPolicy) -> Service {
    let mut service = service("d/web", "172.30.0.41");
    service.ports[0].node_port = Some(3001);
    service.load_balancer_ips.insert("1.2.3.4".parse().unwrap());
    service.external_ips.insert("192.0.2.1".parse().unwrap());
    (service.internal_policy, service.external_policy) = (internal, external);
    service
}

/// §1.4 and §3.4.
#[test]
fn each_frontend_follows_the_policy_of_its_kind() {
    use TrafficPolicy::{Cluster, Local};
    let check = |internal, external, expected: &str| {
        let mut now = Applied::new(planner());
        now.apply(put_node("", "192.168.0.2"));
        now.put(exposed(internal, external));
        assert_eq!(now.frontends(), expected);
    };
    check(
        Cluster,
        Cluster,
        "1.2.3.4:80/TCP external closed, 172.30.0.41:80/TCP closed, 192.0.2.1:80/TCP external, 192.168.0.2:3001/TCP external node-port",
    );
    check(
        Local,
        Cluster,
        "1.2.3.4:80/TCP external closed, 172.30.0.41:80/TCP local closed, 192.0.2.1:80/TCP external, 192.168.0.2:3001/TCP external node-port",
    );
    check(
        Cluster,
        Local,
        "1.2.3.4:80/TCP local external closed, 172.30.0.41:80/TCP closed, 192.0.2.1:80/TCP local external, 192.168.0.2:3001/TCP local external node-port",
    );
}

/// §1.1.7.
#[test]
fn a_service_is_reached_only_in_the_families_of_its_cluster_ips() {
    let mut now = Applied::new(planner());
    now.apply(put_node("", "2001:db8::1"));
    let mut web = exposed(TrafficPolicy::Cluster, TrafficPolicy::Cluster);
    web.load_balancer_ips.insert("2001:db8::9".parse().unwrap());
    now.put(web.clone());
    assert_eq!(
        now.frontends(),
        "1.2.3.4:80/TCP external closed, 172.30.0.41:80/TCP closed, 192.0.2.1:80/TCP external"
    );
    web.cluster_ips.push("fd00::1".parse().unwrap());
    assert_eq!(now.put(web), ["d/web/TCP", "d/web/TCPV6"]);
    assert_eq!(now.plans.keys().map(|k| k.family).collect::<Vec<_>>(), [Family::V4, Family::V6]);
    assert!(now.frontends().ends_with(
        "[2001:db8::1]:3001/TCP external node-port, [2001:db8::9]:80/TCP external closed, [fd00::1]:80/TCP closed"
    ));
}

/// §10.12, first case.
#[test]
fn every_port_of_every_service_is_an_entry_of_its_own() {
    let mut now = Applied::new(planner());
    for (index, ports) in [3, 3, 2, 2].into_iter().enumerate() {
        let mut service = service(&format!("d/s{index}"), &format!("10.96.0.{}", index + 1));
        service.ports = (0..ports).map(|n| port(&format!("p{n}"), 80 + n)).collect();
        now.put(service);
    }
    assert_eq!(now.plans.len(), 10);
    let mut first = service("d/s0", "10.96.0.1");
    first.ports = vec![port("p0", 80)];
    assert_eq!(now.put(first), ["d/s0:p0/TCP", "-d/s0:p1/TCP", "-d/s0:p2/TCP"]);
    for gone in ["d/s1", "d/s2", "d/s3"] {
        now.delete(gone);
    }
    assert_eq!(now.plans.len(), 1);
}

/// §1.2: two ports may have one number.
#[test]
fn one_number_serves_two_protocols() {
    let mut dns = service("d/dns", "10.96.0.10");
    dns.ports = vec![port("dns-tcp", 53), port("dns", 53)];
    dns.ports[1].protocol = Protocol::Udp;
    let mut now = Applied::new(planner());
    now.put(dns);
    assert_eq!(now.frontends(), "10.96.0.10:53/UDP closed, 10.96.0.10:53/TCP closed");
    assert!(now.rejections().is_empty());
}

#[test]
fn affinity_is_planned_in_seconds() {
    let mut now = Applied::new(planner());
    let mut web = service("d/web", "10.96.0.1");
    web.affinity = Affinity::ClientIp { timeout_s: 30 };
    now.put(web.clone());
    assert_eq!(now.plans.values().next().unwrap().affinity_s, 30);
    web.affinity = Affinity::None;
    now.put(web);
    assert_eq!(now.plans.values().next().unwrap().affinity_s, 0);
}

#[test]
fn only_what_is_concerned_is_planned_again() {
    let mut now = Applied::new(planner());
    assert_eq!(now.put(service("d/a", "10.96.0.1")), ["d/a/TCP"]);
    assert_eq!(now.put(service("d/b", "10.96.0.2")), ["d/b/TCP"]);
    assert!(now.put(service("d/b", "10.96.0.2")).is_empty());
    assert_eq!(now.apply(put_slice(slice("d/s", "d/a", ".1 L r"))), ["d/a/TCP"]);
    assert!(now.apply(put_slice(slice("d/s", "d/a", ".1 L r"))).is_empty());
    assert_eq!(now.apply(put_slice(slice("d/s", "d/b", ".1 L r"))), ["d/a/TCP", "d/b/TCP"]);
    assert!(now.apply(put_slice(slice("d/t", "d/none", ".1 L r"))).is_empty());
    assert_eq!(now.apply(Event::Slices(Update::Delete(name("d/s")))), ["d/b/TCP"]);
    assert_eq!(now.apply(put_node("zone", "192.168.0.2")), ["d/a/TCP", "d/b/TCP"]);
    assert!(now.apply(put_node("zone", "192.168.0.2")).is_empty());
    assert!(now.set_network(network(&["eth0 - ether 192.168.0.3/24"])).is_empty());
    assert_eq!(now.delete("d/b"), ["-d/b/TCP"]);
}

#[test]
fn node_ports_follow_the_interfaces_while_there_is_no_node_object() {
    let mut now = Applied::new(planner());
    let mut web = service("d/web", "10.96.0.1");
    web.ports[0].node_port = Some(30_080);
    now.put(web);
    assert_eq!(now.frontends(), "10.96.0.1:80/TCP closed");
    now.set_network(network(&["eth0 - ether 192.168.0.2/24"]));
    assert_eq!(
        now.frontends(),
        "10.96.0.1:80/TCP closed, 192.168.0.2:30080/TCP external node-port"
    );
    now.apply(put_node("", "192.168.0.9"));
    assert_eq!(
        now.frontends(),
        "10.96.0.1:80/TCP closed, 192.168.0.9:30080/TCP external node-port"
    );
}

/// Something that may happen, made of few names and addresses so that they meet.
fn event() -> impl Strategy<Value = Event> {
    let services = (0..4u8, 0..3i64, 1..4u8, 0..2u8, 0..4u8, prop::bool::ANY).prop_map(
        |(n, created_s, ip, external, balanced, named)| {
            let mut service = service(&format!("d/s{n}"), &format!("10.96.0.{ip}"));
            service.created_s = created_s;
            service.ports[0].node_port = Some(30_000 + u16::from(external));
            service.external_ips.insert(IpAddr::from([192, 0, 2, external]));
            service.load_balancer_ips.insert(IpAddr::from([192, 168, 0, balanced]));
            service.source_ranges.insert(IpAddr::from([192, 168, 0, ip]).into());
            if named {
                service.ports.push(port("other", 80));
            }
            put_service(service)
        },
    );
    let slices = (0..3u8, 0..4u8, 0..4u8, prop::sample::select(vec!["L r", "R r", "R st", "R n"]))
        .prop_map(|(n, service, address, state)| {
            let of = format!("d/s{service}");
            put_slice(slice(&format!("d/x{n}"), &of, &format!(".{address} {state}")))
        });
    prop_oneof![
        4 => services,
        3 => slices,
        2 => (0..4u8).prop_map(|n| Event::Services(Update::Delete(name(&format!("d/s{n}"))))),
        1 => (0..3u8).prop_map(|n| Event::Slices(Update::Delete(name(&format!("d/x{n}"))))),
        1 => (1..3u8).prop_map(|n| put_node("", &format!("192.168.0.{n}"))),
        1 => (1..3u8, 1..4u8).prop_map(|(n, ip)| {
            put_other_node(&format!("other{n}"), &format!("192.168.0.{ip}"))
        }),
        1 => Just(Event::Nodes(Update::Replace(vec![]))),
        1 => Just(Event::Services(Update::Replace(vec![]))),
    ]
}

proptest! {
    #[test]
    fn the_sum_of_all_changes_is_what_a_new_planner_would_say(
        events in prop::collection::vec((event(), 0..4u8, prop::bool::ANY), 0..40)
    ) {
        let mut now = Applied::new(planner());
        let mut at_once = planner();
        for (event, address, look) in events {
            let network = network(&[&format!("eth0 - ether 192.168.0.{address}/24")]);
            at_once.set_network(network.clone().into());
            now.planner.set_network(network.into());
            at_once.apply(event.clone());
            now.planner.apply(event);
            if look {
                now.catch_up();
            }
        }
        now.catch_up();
        prop_assert_eq!(&now.plans, &at_once.all());
        prop_assert_eq!(&now.plans, &now.planner.all());
        prop_assert!(now.planner.changes().is_empty());

        let mut frontends: Vec<_> = now.plans.values().flat_map(|p| p.frontends.keys()).collect();
        frontends.sort();
        let count = frontends.len();
        frontends.dedup();
        prop_assert_eq!(count, frontends.len(), "a frontend leads to two services");
    }
}
