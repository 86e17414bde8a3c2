//! Nodes.

use k8s_openapi::api::core::v1 as api;

use super::address::{prefix, unicast};
use super::{keep_good, label, name};
use crate::model::{Node, Outcome};

const ZONE: &str = "topology.kubernetes.io/zone";
/// What the cluster autoscaler puts on a Node that it is about to delete.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

/// A Node; addresses and pod CIDRs that cannot be read are left out.
#[must_use]
pub fn node(node: &api::Node) -> Outcome<Node> {
    let mut problems = Vec::new();
    let addresses = ["InternalIP", "ExternalIP"].into_iter().flat_map(|wanted| {
        let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        all.filter(move |address| address.type_ == wanted)
            .map(|address| unicast(&address.address).map_err(|e| format!("address left out: {e}")))
    });
    let addresses = keep_good(addresses, &mut problems);
    let pod_cidrs = pod_cidrs(node).map(|cidr| prefix(cidr).map_err(|e| format!("pod CIDR: {e}")));
    let pod_cidrs = keep_good(pod_cidrs, &mut problems);
    let zone = label(&node.metadata, ZONE).unwrap_or_default().into();
    let (name, leaving) = (name(&node.metadata).name, is_leaving(node));
    Outcome::Usable(Node { name, zone, addresses, pod_cidrs, leaving }, problems)
}

fn is_leaving(node: &api::Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    node.metadata.deletion_timestamp.is_some() || taints.any(|taint| taint.key == LEAVING)
}

/// `podCIDRs`, or the older `podCIDR`.
fn pod_cidrs(node: &api::Node) -> impl Iterator<Item = &String> {
    let spec = node.spec.as_ref();
    let many = spec.and_then(|spec| spec.pod_cidrs.as_ref()).filter(|cidrs| !cidrs.is_empty());
    let one = spec.and_then(|spec| spec.pod_cidr.as_ref()).filter(|_| many.is_none());
    many.into_iter().flatten().chain(one).filter(|cidr| !cidr.is_empty())
}
