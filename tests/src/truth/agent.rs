//! The agent's control plane without sources, network and clock.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_userspace::maps::{Maps, ReadBack, Snapshot};
use lb_userspace::model::{NamespacedName, Outcome, ServiceCidr};
use lb_userspace::plan::{Planner, Settings};
use lb_userspace::reconcile::Reconciler;
use lb_userspace::sources::convert;
use lb_userspace::store::{Event, Update};
use lb_userspace::tables::GRACE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::NODE_NAME;

/// An agent, and the time.
pub(super) struct Agent<M> {
    reconciler: Reconciler<M>,
    now: Duration,
}

impl<M: Maps + ReadBack> Agent<M> {
    /// An agent that starts over `maps` on a node with these addresses, and knows nothing yet.
    pub(super) fn start(maps: M, settings: &Settings, addresses: &[IpAddr]) -> Self {
        let mut planner = Planner::new(NODE_NAME, settings.clone());
        planner.set_interface_addresses(addresses.iter().copied().collect());
        let reconciler = Reconciler::restore(planner, maps).expect("maps that can be read");
        Self { reconciler, now: Duration::ZERO }
    }

    /// Tells it that `objects` are all there are, and lets it write until nothing is left to do.
    pub(super) fn show(&mut self, objects: &[Value]) {
        for event in lists(objects) {
            self.reconciler.planner().apply(event);
        }
        let news = self.reconciler.planner().take_rejections();
        assert!(news.is_empty(), "all objects can be used: {news:?}");
        self.now += GRACE;
        while let Some(pause) = self.reconciler.pass(self.now) {
            self.now += pause;
            assert!(self.now < Duration::from_mins(10), "the maps never become what was planned");
        }
    }

    pub(super) fn maps(&self) -> &M {
        self.reconciler.maps()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.maps().snapshot().expect("maps that can be read")
    }
}

/// One full list per kind.
fn lists(objects: &[Value]) -> [Event; 4] {
    [
        Event::Services(list(objects, "Service", convert::service)),
        Event::Slices(list(objects, "EndpointSlice", convert::slice)),
        Event::Nodes(list(objects, "Node", convert::node)),
        Event::ServiceCidrs(service_cidrs(objects)),
    ]
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = Value> + use<'a> {
    let kind = Value::from(kind);
    objects.iter().filter(move |object| object["kind"] == kind).cloned()
}

fn list<K, T>(objects: &[Value], kind: &str, convert: fn(&K) -> Outcome<T>) -> Update<T>
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let one = |object| {
        let object: K = serde_json::from_value(object).expect("an object of the API");
        (convert::name(object.metadata()), convert(&object))
    };
    Update::Replace(of_kind(objects, kind).map(one).collect())
}

fn service_cidrs(objects: &[Value]) -> Update<ServiceCidr> {
    let one = |object: Value| {
        let name = NamespacedName::new("", object["metadata"]["name"].as_str().expect("a name"));
        let cidrs = object["spec"]["cidrs"].as_array().expect("a list");
        let cidrs = cidrs.iter().map(|cidr| cidr.as_str().expect("text").parse().expect("a CIDR"));
        let cidr = ServiceCidr { name: name.clone(), cidrs: cidrs.collect() };
        (name, Outcome::Usable(cidr, Vec::new()))
    };
    Update::Replace(of_kind(objects, "ServiceCIDR").map(one).collect())
}
