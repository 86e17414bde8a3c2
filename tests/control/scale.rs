//! The cost of a change does not depend on how many Services there are.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use lb_common::net::Family;
use lb_userspace::maps::{Capacities, MapError, Maps, ReadBack, ServiceId, Snapshot, Write};
use lb_userspace::model::{
    Affinity, Endpoint, NamespacedName, Outcome, Protocol, Service, ServicePort, Slice, SlicePort,
    TrafficPolicy,
};
use lb_userspace::plan::{Planner, Settings};
use lb_userspace::reconcile::Reconciler;
use lb_userspace::store::{Event, Update};

const SERVICES: u16 = 10_000;
const ENDPOINTS: u8 = 10;

/// Empty maps that keep what is written and check nothing: the strict ones look at everything
/// after every write.
#[derive(Default)]
struct Log(Vec<Write>);

impl Maps for Log {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        self.0.push(write.clone());
        Ok(())
    }
}

impl ReadBack for Log {
    fn capacities(&self) -> Capacities {
        Capacities::default()
    }

    fn snapshot(&self) -> Result<Snapshot, MapError> {
        Ok(Snapshot::default())
    }
}

fn name(number: u16) -> NamespacedName {
    NamespacedName::new("demo", &format!("s{number}"))
}

fn service(number: u16) -> (NamespacedName, Outcome<Service>) {
    let [high, low] = number.to_be_bytes();
    let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
    let service = Service {
        name: name(number),
        created_s: 0,
        cluster_ips: vec![Ipv4Addr::new(10, 96, high, low).into()],
        external_ips: BTreeSet::new(),
        load_balancer_ips: BTreeSet::new(),
        source_ranges: BTreeSet::new(),
        health_check_node_port: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        algorithm: None,
        ports: vec![port],
    };
    (name(number), Outcome::Usable(service, vec![]))
}

/// The endpoint `host` of the Service `number`.
fn pod(number: u16, host: u8) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 128 + high, low, host).into(), 8080)
}

fn slice(number: u16, hosts: impl Iterator<Item = u8>) -> (NamespacedName, Outcome<Slice>) {
    let endpoint = |host| Endpoint {
        address: pod(number, host).ip(),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    };
    let slice = Slice {
        name: name(number),
        service: name(number),
        family: Family::V4,
        ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: hosts.map(endpoint).collect(),
        triggered: None,
    };
    (name(number), Outcome::Usable(slice, vec![]))
}

/// A reconciler that has written all services, and where it wrote them.
fn settled() -> Reconciler<Log> {
    let planner = Planner::new("n1", Settings::default());
    let mut reconciler = Reconciler::restore(planner, Log::default()).expect("maps in memory");
    let hosts = || 1..=ENDPOINTS;
    let services = (0..SERVICES).map(service).collect();
    let slices = (0..SERVICES).map(|number| slice(number, hosts())).collect();
    reconciler.planner().apply(Event::Services(Update::Replace(services)));
    reconciler.planner().apply(Event::Slices(Update::Replace(slices)));
    reconciler.planner().apply(Event::Nodes(Update::Replace(vec![])));
    reconciler.planner().apply(Event::ServiceCidrs(Update::Replace(vec![])));
    assert_eq!(reconciler.pass(Duration::ZERO), None);
    reconciler
}

#[test]
fn one_endpoint_of_ten_thousand_services_costs_one_plan_and_its_own_writes() {
    let mut reconciler = settled();
    let written = reconciler.maps().0.len();
    let backends = usize::from(SERVICES) * usize::from(ENDPOINTS);
    // Slots, the service, its name, its frontend and its address.
    assert_eq!(written, backends + 5 * usize::from(SERVICES));

    let (slice_name, changed) = slice(4711, (1..ENDPOINTS).chain([99]));
    reconciler.planner().apply(Event::Slices(Update::Apply(slice_name, changed)));
    let plans = reconciler.planner().clone().changes();
    let planned: Vec<_> = plans.iter().map(|(key, _)| key.name.to_string()).collect();
    assert_eq!(planned, ["demo/s4711/TCP"]);

    assert_eq!(reconciler.pass(Duration::from_secs(5)), None);
    let (before, after) = reconciler.maps().0.split_at(written);
    let id = id_of(before, "demo/s4711/TCP");
    let [put, slots, list, free] = after else { panic!("{after:?}") };
    let Write::PutBackend(Family::V4, new, entry) = put else { panic!("{put:?}") };
    assert_eq!((entry.address, entry.service), (pod(4711, 99), id));
    let Write::PutSlots { backends, .. } = slots else { panic!("{slots:?}") };
    assert_eq!(backends.len(), usize::from(ENDPOINTS));
    assert!(backends.contains(new));
    assert!(matches!(list, Write::PutService(service, _) if *service == id), "{list:?}");
    let gone = |write: &&Write| match write {
        Write::PutBackend(.., entry) => entry.address == pod(4711, 10),
        _ => false,
    };
    let Some(Write::PutBackend(family, old, _)) = before.iter().find(gone) else { panic!("none") };
    assert_eq!(*free, Write::FreeBackend(*family, *old));
}

fn id_of(writes: &[Write], wanted: &str) -> ServiceId {
    let named = |write: &Write| match write {
        Write::PutServiceName(id, name, _) if name == wanted => Some(*id),
        _ => None,
    };
    writes.iter().find_map(named).expect("a service of this name")
}
