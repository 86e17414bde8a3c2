//! Events: what cannot be used is told to people who look at the object, and that the agent has
//! started to those who look at the Node.
//!
//! Every agent of the cluster finds the same faults. So the name of an Event follows from what it
//! says: the first agent creates it, and to all others it exists already, which is just as well.
//!
//! Best effort. What is told here was logged before; an Event that the API server does not take is
//! a line at debug level, and what does not fit into the queue is left out. Nothing waits for it.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use crate::model::{Kind, NamespacedName, Rejection, Subject};

/// Rejections that may wait to be told; what does not fit is in the log alone.
pub const QUEUE: usize = 64;

/// The pause after each Event: a cluster full of faults is no burden to the API server.
const PAUSE: Duration = Duration::from_millis(100);

/// Who reports, as `kubectl describe` shows it.
const REPORTER: &str = "waggle";

/// Where Events about objects without a namespace belong.
const NAMESPACE_OF_THE_REST: &str = "default";

/// The longest note that the API takes, in bytes.
const LONGEST_NOTE: usize = 1024;

/// The longest name of an object, in bytes (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// Tells of the start, and what is received, as Events of `node_name`, until nobody sends any more.
pub async fn run(client: Client, node_name: &str, mut rejections: mpsc::Receiver<Rejection>) {
    if let Err(error) = publish_start(&client, node_name).await {
        debug!("no Event about the start: {error:#}");
    }
    while let Some(rejection) = rejections.recv().await {
        // A file is no object of the cluster.
        let Subject::Object(kind, name) = &rejection.object else { continue };
        if let Err(error) = publish(&client, node_name, *kind, name, &rejection).await {
            debug!("no Event about {rejection}: {error:#}");
        }
        sleep(PAUSE).await;
    }
}

/// At the Node, as kube-proxy tells it.
async fn publish_start(client: &Client, node_name: &str) -> anyhow::Result<()> {
    let node = NamespacedName::new("", node_name);
    let Some(node) = reference(client, Kind::Node, &node).await? else { return Ok(()) };
    let event = start_event(node, node_name, Timestamp::now());
    let api = Api::namespaced(client.clone(), NAMESPACE_OF_THE_REST);
    api.create(&PostParams::default(), &event).await.map(drop).context("create it")
}

async fn publish(
    client: &Client,
    node_name: &str,
    kind: Kind,
    name: &NamespacedName,
    rejection: &Rejection,
) -> anyhow::Result<()> {
    let Some(object) = reference(client, kind, name).await? else { return Ok(()) };
    let event = event(object, rejection, node_name, Timestamp::now());
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    match Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => created.map(drop).context("create it"),
    }
}

/// The object as it is now; `None` if it is gone. People's tools find Events by the uid, which
/// nothing else here needs, so it is asked for: with a list, which the agent may do anyway.
async fn reference(
    client: &Client,
    kind: Kind,
    name: &NamespacedName,
) -> anyhow::Result<Option<ObjectReference>> {
    let resource = resource(kind);
    let client = client.clone();
    let api: Api<DynamicObject> = match &*name.namespace {
        "" => Api::all_with(client, &resource),
        namespace => Api::namespaced_with(client, namespace, &resource),
    };
    let named = ListParams::default().fields(&format!("metadata.name={}", name.name));
    let found = api.list_metadata(&named.match_any()).await.context("find the object")?;
    Ok(found.items.into_iter().next().map(|object| ObjectReference {
        api_version: Some(resource.api_version),
        kind: Some(resource.kind),
        name: object.metadata.name,
        namespace: object.metadata.namespace,
        uid: object.metadata.uid,
        ..ObjectReference::default()
    }))
}

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::EndpointSlice => ApiResource::erase::<EndpointSlice>(&()),
        Kind::Node => ApiResource::erase::<Node>(&()),
        Kind::ServiceCidr => ApiResource::erase::<ServiceCIDR>(&()),
        Kind::Pod => ApiResource::erase::<Pod>(&()),
    }
}

fn event(object: ObjectReference, rejection: &Rejection, node_name: &str, now: Timestamp) -> Event {
    // The same on every node for the same object and the same words.
    let fault = (&object.kind, &object.uid, rejection.problem, &rejection.reason);
    let name = event_name(&object, fault);
    Event {
        type_: Some("Warning".to_owned()),
        reason: Some(rejection.problem.to_string()),
        action: Some(rejection.problem.action().to_owned()),
        note: Some(shortened(&rejection.reason, LONGEST_NOTE).to_owned()),
        ..event_about(object, name, node_name, now)
    }
}

/// Every start is an Event of its own.
fn start_event(node: ObjectReference, node_name: &str, now: Timestamp) -> Event {
    let name = event_name(&node, now.as_nanosecond());
    Event {
        type_: Some("Normal".to_owned()),
        reason: Some("Starting".to_owned()),
        action: Some("StartKubeProxy".to_owned()),
        note: Some(format!("waggle {} has started", env!("CARGO_PKG_VERSION"))),
        ..event_about(node, name, node_name, now)
    }
}

fn event_about(object: ObjectReference, name: String, node_name: &str, now: Timestamp) -> Event {
    let namespace = object.namespace.as_deref().unwrap_or(NAMESPACE_OF_THE_REST);
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        regarding: Some(object),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(shortened(node_name, 128).to_owned()),
        event_time: Some(MicroTime(now)),
        ..Event::default()
    }
}

/// The name of the object, and a hash of what tells this Event from others about it.
fn event_name(object: &ObjectReference, what: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let hash = format!(".{:016x}", hasher.finish());
    let name = object.name.as_deref().unwrap_or_default();
    let name = shortened(name, LONGEST_NAME - hash.len()).trim_end_matches(['.', '-']);
    format!("{name}{hash}")
}

/// As much of `text` as fits into so many bytes.
fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Problem;

    fn object(name: &str, uid: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("Service".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }

    fn rejection(reason: &str) -> Rejection {
        Rejection {
            object: Subject::Object(Kind::Service, NamespacedName::new("shop", "web")),
            file: None,
            problem: Problem::AddressConflict,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn all_nodes_make_the_same_event_of_the_same_fault() {
        let made = |node, name: &str, uid, reason| {
            event(object(name, uid), &rejection(reason), node, Timestamp::UNIX_EPOCH)
        };
        let name = |event: &Event| event.metadata.name.clone();
        let one = made("node1", "web", "1", "taken");
        assert_eq!(name(&one), name(&made("node2", "web", "1", "taken")));
        assert_ne!(name(&one), name(&made("node1", "web", "1", "also taken")));
        assert_ne!(name(&one), name(&made("node1", "web", "2", "taken")), "another of its name");
        assert_eq!(one.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(one.reason.as_deref(), Some("AddressConflict"));
        assert_eq!(one.reporting_instance.as_deref(), Some("node1"));
    }

    #[test]
    fn every_start_has_an_event_at_the_node() {
        let node = || ObjectReference { namespace: None, ..object("node1", "1") };
        let at = |second| start_event(node(), "node1", Timestamp::from_second(second).unwrap());
        let event = at(1);
        assert_eq!(event.type_.as_deref(), Some("Normal"));
        assert_eq!(event.reason.as_deref(), Some("Starting"));
        assert_eq!(event.action.as_deref(), Some("StartKubeProxy"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_ne!(event.metadata.name, at(2).metadata.name);
    }

    #[test]
    fn an_event_about_a_node_is_in_the_default_namespace() {
        let node = ObjectReference { namespace: None, ..object("node1", "1") };
        let event = event(node, &rejection("bad"), "node1", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }

    #[test]
    fn long_names_and_notes_are_cut_to_what_the_api_takes() {
        let name = format!("{}-{}", "a".repeat(235), "b".repeat(17));
        let reason = format!("{}é", "x".repeat(LONGEST_NOTE - 1));
        let event = event(object(&name, "1"), &rejection(&reason), "node1", Timestamp::UNIX_EPOCH);
        let (name, note) = (event.metadata.name.unwrap(), event.note.unwrap());
        assert!(name.len() <= LONGEST_NAME && name.starts_with("aaa"), "{name}");
        assert!(!name.contains("-."), "a part of a name does not end like this: {name}");
        assert_eq!(note.len(), LONGEST_NOTE - 1);
    }
}
