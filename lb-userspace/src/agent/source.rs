//! Where Services come from: starts the source that the settings name.
//!
//! The agent and its rehearsal start it alike, and neither knows which one runs.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Config, Source};
use crate::datapath::sockets::SocketLb;
use crate::model::{Kind, Rejection};
use crate::serve::metrics::Metrics;
use crate::sources;
use crate::sources::watches::Watches;
use crate::store::Event;

/// Events that may wait; a source that is faster waits itself.
const EVENTS: usize = 1024;

/// A running source.
pub(crate) struct Sourced {
    pub(crate) events: mpsc::Receiver<Event>,
    /// Where rejections are told beside the log: at their objects, if the source has such a place.
    pub(super) complaints: Option<mpsc::Sender<Rejection>>,
    pub(super) watches: Watches,
    /// Ends only if the source does.
    pub(super) task: SourceTask,
}

pub(super) type SourceTask = JoinHandle<anyhow::Result<()>>;

/// Starts the source that the settings name.
pub(crate) async fn source(config: &Config, metrics: &Metrics) -> anyhow::Result<Sourced> {
    let file = match &config.source {
        Source::Manifests(directory) => {
            let (sender, events) = mpsc::channel(EVENTS);
            let proxy_name = config.service_proxy_name.clone();
            let task = tokio::spawn(sources::files::run(directory.clone(), proxy_name, sender));
            let watches = Watches::default();
            return Ok(Sourced { events, complaints: None, watches, task });
        }
        Source::Kubeconfig(file) => Some(file.as_path()),
        Source::InCluster => None,
    };
    let (requests, watches) = (metrics.requests.clone(), watches(config));
    let observer = Arc::new(move |asked| requests.count(asked));
    let server = config.api_server.clone();
    let kubelet = config.kubelet_kubeconfig.as_deref();
    let client = sources::kube::client(file, server, kubelet, observer, &watches).await?;
    Ok(cluster(client, watches, config))
}

fn watches(config: &Config) -> Watches {
    let watches = Watches::of_cluster();
    if config.sockets.whose == SocketLb::All { watches.and(Kind::Pod) } else { watches }
}

fn cluster(client: kube::Client, watches: Watches, config: &Config) -> Sourced {
    let (node_name, proxy_name) = (config.node_name.clone(), config.service_proxy_name.clone());
    let (sender, events) = mpsc::channel(EVENTS);
    let (complaints, told) = mpsc::channel(sources::kube::events::QUEUE);
    let teller = client.clone();
    tokio::spawn(async move { sources::kube::events::run(teller, &node_name, told).await });
    let noted = watches.clone();
    let pods_of = (config.sockets.whose == SocketLb::All).then(|| config.node_name.clone());
    let task = tokio::spawn(async move {
        let pods_of = pods_of.as_deref();
        Box::pin(sources::kube::run(client, proxy_name, pods_of, &noted, sender)).await;
        Ok(())
    });
    Sourced { events, complaints: Some(complaints), watches, task }
}
