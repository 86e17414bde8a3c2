//! Where the API server is, seen from a pod on a node without kube-proxy.
//!
//! The in-cluster address is a Service's: somebody must translate it, and at the first start nobody does
//! yet. The kubelet of the node knows an address that needs nobody. Only that is taken from its file, no
//! credential. After a run of ours the pinned maps translate, and the in-cluster address answers at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use kube::config::Kubeconfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{info, warn};

/// Where kubelets have their kubeconfig: kubeadm and kind, managed clusters, k3s, RKE2, k0s.
const USUAL: [&str; 5] = [
    "/etc/kubernetes/kubelet.conf",
    "/var/lib/kubelet/kubeconfig",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "/var/lib/rancher/rke2/agent/kubelet.kubeconfig",
    "/var/lib/k0s/kubelet.conf",
];

/// How long an address may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// The address to use: `in_cluster` if somebody accepts connections there, else the one in the kubelet's
/// file, which is `kubelet` or at a usual place; `in_cluster` if there is none.
pub(super) async fn choose(in_cluster: Uri, kubelet: Option<&Path>) -> Uri {
    if answers(&in_cluster).await {
        return in_cluster;
    }
    let files = kubelet.map_or_else(|| USUAL.map(PathBuf::from).into(), |file| vec![file.into()]);
    let Some(server) = files.iter().find_map(|file| server_in(file)) else {
        let tried = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        warn!(
            "{in_cluster} does not answer, and no kubeconfig of a kubelet is at {}; give --api-server \
             or --kubelet-kubeconfig if it is not another agent or kube-proxy that is waited for",
            tried.join(", ")
        );
        return in_cluster;
    };
    info!(
        "{in_cluster} does not answer; asking the API server where the kubelet does, at {server}"
    );
    server
}

async fn answers(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = match (server.port_u16(), server.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("http")) => 80,
        (None, _) => 443,
    };
    matches!(timeout(PATIENCE, TcpStream::connect((host, port))).await, Ok(Ok(_)))
}

/// The API server in a kubeconfig: that of its current context, else the first.
fn server_in(file: &Path) -> Option<Uri> {
    let Kubeconfig { clusters, contexts, current_context, .. } =
        Kubeconfig::read_from(file).ok()?;
    let context = contexts.iter().find(|context| Some(&context.name) == current_context.as_ref());
    let name = context.and_then(|context| Some(&context.context.as_ref()?.cluster));
    let named = clusters.iter().find(|cluster| Some(&cluster.name) == name);
    let cluster = named.or(clusters.first())?.cluster.as_ref()?;
    cluster.server.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address that accepts connections, as long as the listener lives.
    fn listening(address: &str) -> (TcpListener, Uri) {
        let listener = TcpListener::bind(address).unwrap();
        let uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        (listener, uri)
    }

    /// An address that nobody listens at.
    fn silent() -> Uri {
        listening("127.0.0.1:0").1
    }

    const KUBELET: &str = "
apiVersion: v1
kind: Config
clusters:
- {name: other, cluster: {server: 'https://192.0.2.7:6443'}}
- {name: own, cluster: {server: 'https://192.0.2.8:6443'}}
contexts: [{name: kubelet, context: {cluster: own, user: node}}]
current-context: kubelet
";

    #[tokio::test]
    async fn the_in_cluster_address_is_used_if_it_answers_else_the_kubelets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kubelet.conf");
        std::fs::write(&file, KUBELET).unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (_listener, in_cluster) = listening(address);
            assert_eq!(choose(in_cluster.clone(), Some(&file)).await, in_cluster);
        }
        assert_eq!(choose(silent(), Some(&file)).await, "https://192.0.2.8:6443/");
    }

    #[tokio::test]
    async fn without_a_kubeconfig_of_the_kubelet_the_in_cluster_address_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let in_cluster = silent();
        let nowhere = dir.path().join("nowhere");
        assert_eq!(choose(in_cluster.clone(), Some(&nowhere)).await, in_cluster);
        let garbage = dir.path().join("garbage");
        std::fs::write(&garbage, "[").unwrap();
        assert_eq!(choose(in_cluster.clone(), Some(&garbage)).await, in_cluster);
    }

    #[test]
    fn a_kubeconfig_without_contexts_names_its_first_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kubelet.conf");
        std::fs::write(&file, KUBELET.split("contexts").next().unwrap()).unwrap();
        assert_eq!(server_in(&file).unwrap(), "https://192.0.2.7:6443/");
    }
}
