//! The kinds of objects that the server keeps.

use serde_json::Value;

/// A kind of objects and where it is found.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// As in an object's `apiVersion`.
    pub api_version: &'static str,
    /// As in an object's `kind`.
    pub kind: &'static str,
    /// As in paths.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What field selectors may ask for beside `metadata.name` and `metadata.namespace`.
    pub fields: &'static [&'static str],
}

/// All there are.
pub static RESOURCES: [Resource; 7] = [
    Resource {
        api_version: "v1",
        kind: "Service",
        plural: "services",
        namespaced: true,
        fields: &["spec.clusterIP", "spec.type"],
    },
    Resource {
        api_version: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        namespaced: true,
        fields: &[],
    },
    Resource {
        api_version: "v1",
        kind: "Pod",
        plural: "pods",
        namespaced: true,
        fields: &["spec.nodeName"],
    },
    Resource { api_version: "v1", kind: "Node", plural: "nodes", namespaced: false, fields: &[] },
    Resource {
        api_version: "networking.k8s.io/v1",
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        namespaced: false,
        fields: &[],
    },
    Resource {
        api_version: "events.k8s.io/v1",
        kind: "Event",
        plural: "events",
        namespaced: true,
        fields: &[],
    },
    Resource {
        api_version: "apps/v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        namespaced: true,
        fields: &[],
    },
];

impl Resource {
    /// The path of its API group's version.
    pub(super) fn prefix(&self) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        format!("{root}/{}", self.api_version)
    }
}

/// The resource of an object, by its `apiVersion` and `kind`.
pub(super) fn of_object(object: &Value) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| {
        object["kind"] == resource.kind && object["apiVersion"] == resource.api_version
    })
}

/// The resource of a name such as `services`.
pub(super) fn of_plural(plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.plural == plural)
}
