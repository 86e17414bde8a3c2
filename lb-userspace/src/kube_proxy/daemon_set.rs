//! kube-proxy's `DaemonSet`: what brings it back, on nodes where it is not seen now as well.

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-proxy";

/// On how many nodes the cluster wants kube-proxy to run; `None` if it has no such `DaemonSet`.
pub async fn nodes(client: Client) -> anyhow::Result<Option<i32>> {
    let sets: Api<DaemonSet> = Api::namespaced(client, NAMESPACE);
    let found = sets.get_opt(NAME).await;
    let found = found.with_context(|| format!("get the DaemonSet {NAMESPACE}/{NAME}"))?;
    Ok(found.map(|set| set.status.unwrap_or_default().desired_number_scheduled))
}
