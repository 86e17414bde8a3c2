//! The agent's control plane, told of one change after the other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_tests::oracle::{Cluster, Detector, NodePortAddresses, Prefix, Settings};
use lb_userspace::maps::{Maps, ReadBack, Snapshot};
use lb_userspace::model::{NamespacedName, Outcome};
use lb_userspace::netlink::{Interface, InterfaceAddress, LinkHeader, Network, Scope};
use lb_userspace::plan::{self, Planner};
use lb_userspace::reconcile::Reconciler;
use lb_userspace::sources::convert;
use lb_userspace::store::{Event, Update};
use lb_userspace::tables::GRACE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::generate::NODES;
use crate::render::Id;

/// An agent, what it was told, and the time.
pub(crate) struct Agent<M> {
    reconciler: Reconciler<M>,
    told: BTreeMap<Id, Value>,
    now: Duration,
}

impl<M: Maps + ReadBack> Agent<M> {
    /// An agent that starts over `maps` and knows nothing yet.
    pub(crate) fn start(maps: M, settings: &Settings) -> Self {
        let planner = Planner::new(NODES[0], plan_settings(settings));
        let reconciler = Reconciler::restore(planner, maps).expect("maps that can be read");
        Self { reconciler, told: BTreeMap::new(), now: Duration::ZERO }
    }

    /// Tells it what the node's network is. Packets come in at the interface 1: a pod's, or an
    /// uplink.
    pub(crate) fn set_network(&mut self, cluster: &Cluster, is_workload: bool) {
        let interface = |index, name: &str, kind: &str| Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            header: LinkHeader::Ethernet,
            master: None,
            peer_elsewhere: kind == "veth",
            up: true,
        };
        let packets = if is_workload { ("veth1", "veth") } else { ("eth1", "") };
        let interfaces = [interface(1, packets.0, packets.1), interface(2, "eth0", "")];
        let address = |ip: &IpAddr| InterfaceAddress {
            interface: 2,
            ip: *ip,
            prefix_len: 24,
            scope: Scope::Global,
            preferred: true,
        };
        self.reconciler.planner().set_network(Arc::new(Network {
            interfaces: interfaces.into_iter().map(|it| (it.index, it)).collect(),
            addresses: cluster.interface_addresses.iter().map(address).collect(),
        }));
    }

    /// Tells it that `objects` are all there are, as lists or as what has changed, and lets it write
    /// until nothing is left to do. What it rejects is its business.
    pub(crate) fn tell(&mut self, objects: BTreeMap<Id, Value>, relists: bool) {
        let is_first = self.told.is_empty();
        let events =
            if relists || is_first { lists(&objects) } else { changes(&self.told, &objects) };
        self.told = objects;
        for event in events {
            self.reconciler.planner().apply(event);
        }
        self.now += GRACE;
        while let Some(pause) = self.reconciler.pass(self.now) {
            self.now += pause;
            assert!(self.now < Duration::from_hours(100), "the maps never become as planned");
        }
        self.reconciler.planner().take_rejections();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.reconciler.maps().snapshot().expect("maps that can be read")
    }
}

fn plan_settings(settings: &Settings) -> plan::Settings {
    let nets = |prefixes: &[Prefix]| -> Vec<ipnet::IpNet> {
        prefixes.iter().map(|prefix| prefix.to_string().parse().expect("a prefix")).collect()
    };
    plan::Settings {
        node_ports: match &settings.node_ports {
            NodePortAddresses::Primary => plan::NodePortAddresses::Primary,
            NodePortAddresses::All => plan::NodePortAddresses::All,
            NodePortAddresses::Within(prefixes) => plan::NodePortAddresses::Cidrs(nets(prefixes)),
        },
        detector: match &settings.detector {
            Detector::Auto => plan::Detector::Auto,
            Detector::ClusterCidr(prefixes) => plan::Detector::ClusterCidr(nets(prefixes)),
            Detector::None => plan::Detector::None,
        },
        ignore_external_ips: settings.ignores_external_ips,
        ..plan::Settings::default()
    }
}

/// One full list per kind.
fn lists(objects: &BTreeMap<Id, Value>) -> Vec<Event> {
    let of =
        |kind: &'static str| objects.iter().filter(move |(id, _)| id.0 == kind).map(|(_, it)| it);
    vec![
        Event::Services(Update::Replace(
            of("Service").map(|it| read(it, convert::service)).collect(),
        )),
        Event::Slices(Update::Replace(
            of("EndpointSlice").map(|it| read(it, convert::slice)).collect(),
        )),
        Event::Nodes(Update::Replace(of("Node").map(|it| read(it, convert::node)).collect())),
        Event::ServiceCidrs(Update::Replace(
            of("ServiceCIDR").map(|it| read(it, convert::service_cidr)).collect(),
        )),
    ]
}

/// What is gone, then what is new or different.
fn changes(old: &BTreeMap<Id, Value>, new: &BTreeMap<Id, Value>) -> Vec<Event> {
    let gone = old.keys().filter(|id| !new.contains_key(*id)).map(|id| event(id, None));
    let applied = new.iter().filter(|(id, object)| old.get(*id) != Some(object));
    gone.chain(applied.map(|(id, object)| event(id, Some(object)))).collect()
}

fn event(id: &Id, object: Option<&Value>) -> Event {
    let (kind, namespace, name) = id;
    let name = NamespacedName::new(namespace, name);
    match *kind {
        "Service" => Event::Services(update(name, object.map(|it| read(it, convert::service)))),
        "EndpointSlice" => Event::Slices(update(name, object.map(|it| read(it, convert::slice)))),
        "Node" => Event::Nodes(update(name, object.map(|it| read(it, convert::node)))),
        _ => Event::ServiceCidrs(update(name, object.map(|it| read(it, convert::service_cidr)))),
    }
}

fn update<T>(name: NamespacedName, new: Option<(NamespacedName, Outcome<T>)>) -> Update<T> {
    new.map_or(Update::Delete(name), |(name, outcome)| Update::Apply(name, outcome))
}

fn read<K, T>(object: &Value, convert: fn(&K) -> Outcome<T>) -> (NamespacedName, Outcome<T>)
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let object = K::deserialize(object).expect("an object of the API");
    (convert::name(object.metadata()), convert(&object))
}
