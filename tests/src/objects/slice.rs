//! EndpointSlices.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Protocol, common_methods, last, named, push};

/// An EndpointSlice under construction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Slice {
    object: Value,
}

common_methods!(Slice);

/// An EndpointSlice `namespace/name`, for IPv4 until an endpoint says otherwise, without ports and
/// endpoints so far.
#[must_use]
pub fn slice(name: &str) -> Slice {
    let mut object = named("discovery.k8s.io/v1", "EndpointSlice", name);
    object["addressType"] = json!("IPv4");
    object["ports"] = json!([]);
    object["endpoints"] = json!([]);
    Slice { object }
}

impl Slice {
    /// The Service it belongs to, in its own namespace.
    #[must_use]
    pub fn service(self, name: &str) -> Self {
        self.label("kubernetes.io/service-name", name)
    }

    /// Adds a port, of the name it has in the Service.
    #[must_use]
    pub fn port(mut self, name: &str, port: u16, protocol: Protocol) -> Self {
        push(&mut self.object["ports"], json!({"name": name, "port": port, "protocol": protocol}));
        self
    }

    /// Adds an endpoint that is ready; its family is that of the slice.
    #[must_use]
    pub fn endpoint(mut self, address: &str) -> Self {
        self.object["addressType"] = json!(if address.contains(':') { "IPv6" } else { "IPv4" });
        let conditions = json!({"ready": true, "serving": true, "terminating": false});
        push(
            &mut self.object["endpoints"],
            json!({"addresses": [address], "conditions": conditions}),
        );
        self
    }

    /// Puts the last endpoint on a node.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        self.of_last("nodeName", json!(node))
    }

    /// Puts the last endpoint in a zone.
    #[must_use]
    pub fn zone(self, zone: &str) -> Self {
        self.of_last("zone", json!(zone))
    }

    /// Hints that the last endpoint is for clients in these zones.
    #[must_use]
    pub fn for_zones(self, zones: &[&str]) -> Self {
        let zones: Vec<_> = zones.iter().map(|zone| json!({"name": zone})).collect();
        self.of_last("hints", json!({"forZones": zones}))
    }

    /// Makes the last endpoint ready, as it is at first.
    #[must_use]
    pub fn ready(self) -> Self {
        self.conditions(true, true, false)
    }

    /// Makes the last endpoint neither ready nor serving.
    #[must_use]
    pub fn not_ready(self) -> Self {
        self.conditions(false, false, false)
    }

    /// Makes the last endpoint terminate, still serving or not.
    #[must_use]
    pub fn terminating(self, serving: bool) -> Self {
        self.conditions(false, serving, true)
    }

    fn conditions(self, ready: bool, serving: bool, terminating: bool) -> Self {
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        self.of_last("conditions", conditions)
    }

    #[track_caller]
    fn of_last(mut self, field: &str, value: Value) -> Self {
        last(&mut self.object["endpoints"], "an endpoint")[field] = value;
        self
    }
}
