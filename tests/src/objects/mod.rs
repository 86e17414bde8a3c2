//! Kubernetes objects, built in a line: what a test means, and sensible defaults for the rest.
//!
//! ```
//! use lb_tests::objects::{Manifests, Protocol::Tcp, node, service, slice};
//!
//! let web = service("default/web").cluster_ip("10.96.0.10").port("http", 80, Tcp).node_port(30080);
//! let endpoints = slice("default/web-1").service("web").port("http", 8080, Tcp).endpoint("10.1.0.2").on("node1");
//! let manifests = Manifests::new();
//! manifests.write("web.yaml", &[web.object(), endpoints.object()]);
//! manifests.write("nodes.yaml", &[node("node1").address("192.168.0.11").pod_cidr("10.1.0.0/24").object()]);
//! ```
//!
//! A builder is `Serialize`, so it also goes to [`crate::apiserver::ApiServer::apply`] as it is.
//! Whatever no method names is reached by `with("/spec/…", value)`.

use serde::Serialize;
use serde_json::{Value, json};

mod manifests;
mod node;
mod service;
mod service_cidr;
mod slice;

pub use manifests::Manifests;
pub use node::{Node, node};
pub use service::{Service, service};
pub use service_cidr::{ServiceCidr, service_cidr};
pub use slice::{Slice, slice};

/// A transport protocol, as the API spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Methods that every builder has.
macro_rules! common_methods {
    ($builder:ident) => {
        impl $builder {
            /// Adds a label.
            #[must_use]
            pub fn label(mut self, key: &str, value: &str) -> Self {
                self.object["metadata"]["labels"][key] = json!(value);
                self
            }

            /// Adds an annotation.
            #[must_use]
            pub fn annotation(mut self, key: &str, value: &str) -> Self {
                self.object["metadata"]["annotations"][key] = json!(value);
                self
            }

            /// Sets a field by its JSON pointer; missing parents are made.
            #[must_use]
            pub fn with(mut self, pointer: &str, value: impl Serialize) -> Self {
                let value = serde_json::to_value(value).expect("a field is JSON");
                crate::objects::set(&mut self.object, pointer, value);
                self
            }

            /// The object as JSON.
            #[must_use]
            pub fn object(&self) -> Value {
                self.object.clone()
            }
        }
    };
}
use common_methods;

/// Sets the field at `pointer`: numbers index arrays that are there, all else names a field.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let place = pointer.split('/').skip(1).fold(object, |place, part| {
        match (place.is_array(), part.parse::<usize>()) {
            (true, Ok(index)) => &mut place[index],
            _ => &mut place[part.replace("~1", "/")],
        }
    });
    *place = value;
}

/// An object of a kind with nothing but its name, `namespace/name` or `name`.
fn named(api_version: &str, kind: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let Some((namespace, name)) = name.split_once('/') {
        object["metadata"] = json!({"name": name, "namespace": namespace});
    }
    object
}

/// Appends to an array, which is made if there is none.
fn push(array: &mut Value, item: Value) {
    match array {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// The item added last, to which a method refers.
#[track_caller]
fn last<'a>(array: &'a mut Value, what: &str) -> &'a mut Value {
    let item = array.as_array_mut().and_then(|items| items.last_mut());
    item.unwrap_or_else(|| panic!("add {what} first: this method is about the last one"))
}
