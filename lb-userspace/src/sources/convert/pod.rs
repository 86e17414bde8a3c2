//! Pods.

use k8s_openapi::api::core::v1 as api;

use super::annotation;
use crate::model::{Outcome, Pod};

/// `"off"`: the sockets of the pod are left alone.
const SOCKET_LB: &str = "waggle.dev/socket-lb";
/// Only at the API server's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What the kubelet takes for the uid of a static pod.
const HASH: &str = "kubernetes.io/config.hash";

/// A pod, if it is to be left to its packets, has a network of its own and is not over.
#[must_use]
pub fn pod(pod: &api::Pod) -> Outcome<Pod> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_over = matches!(phase, Some("Succeeded" | "Failed"));
    let is_host = spec.and_then(|spec| spec.host_network) == Some(true);
    if annotation(meta, SOCKET_LB) != Some("off") || is_over || is_host {
        return Outcome::NotOurs;
    }
    let hash = annotation(meta, MIRROR).and_then(|_| annotation(meta, HASH));
    let node = spec.and_then(|spec| spec.node_name.as_deref());
    match (node, hash.or(meta.uid.as_deref())) {
        (Some(node), Some(uid)) => {
            Outcome::Usable(Pod { node: node.into(), uid: uid.into() }, Vec::new())
        }
        _ => Outcome::NotOurs,
    }
}
