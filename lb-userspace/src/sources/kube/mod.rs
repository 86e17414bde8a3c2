//! Watches of the API server: Services, `EndpointSlices`, Nodes and `ServiceCIDRs`.
//!
//! Objects are converted as they arrive, so that nothing of them is kept that load balancing does
//! not need. A list after a lost watch (410 Gone) replaces all objects of its kind at once; it is the
//! most recent one, so that nothing goes back in time. Errors are logged and retried with backoff;
//! they are never fatal and empty nothing.
//!
//! The agent's `ClusterRole` lets it `get`, `list` and `watch` `services`, `nodes`,
//! `endpointslices.discovery.k8s.io` and `servicecidrs.networking.k8s.io`, and `create`
//! `events.events.k8s.io` (see [`events`]); and to list and watch `pods`, if the sockets of pods are
//! translated: some of them may want to be left alone.

pub mod events;
mod guarded;
pub mod requests;
mod server;
#[cfg(test)]
mod tests;

use std::env;
use std::error::Error;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::Uri;
use futures::StreamExt as _;
use futures::future::join5;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher;
use kube::runtime::watcher::{DefaultBackoff, ListSemantic};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use self::guarded::Guarded;
use self::requests::{Observed, Observer};
use super::convert;
use super::watches::{Watch, Watches};
use crate::model::{Kind, NamespacedName, Outcome};
use crate::store::{Event, Update};

/// The longest pause after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause before a kind is asked for again that the API server does not have.
const BEFORE_NEXT_VERSION: Duration = Duration::from_mins(10);

/// A client for the cluster that `kubeconfig` names; without it, for the one that the environment
/// or the Pod's service account names. `server` is where it is, if that is not where they say; in a Pod it
/// may also be where the kubelet's own kubeconfig says, at `kubelet` or a usual place (see [`server`]).
/// Nothing is asked yet; `observer` will be told of what is, and `watches` of what is answered.
pub async fn client(
    kubeconfig: Option<&Path>,
    server: Option<Uri>,
    kubelet: Option<&Path>,
    observer: Observer,
    watches: &Watches,
) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await.map_err(|error| {
            let reason = cause(&error);
            anyhow!(
                "read the kubeconfig {}: {reason}; give --kubeconfig a file that kubectl can use",
                path.display()
            )
        })?,
        None => Config::infer().await.context("find the API server; give --kubeconfig")?,
    };
    if let Some(server) = server {
        config.cluster_url = server;
    } else if kubeconfig.is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        config.cluster_url = server::choose(config.cluster_url, kubelet).await;
    }
    // Watches have a backoff of their own, which tells what it waits for. The client's would ask for
    // a version that is not there for minutes, and say nothing.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).context("make a client of the API server")?;
    Ok(builder.with_layer(&Observed(observer, watches.clone())).build())
}

async fn from_file(path: &Path) -> Result<Config, KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}

/// Sends what the API server says until nobody receives any more. Of the Services only those of the
/// proxy called `proxy_name`; without a name, those that are of no named proxy.
/// Pods only of the node called `pods_of`; without one, none. How the watches are doing is noted in
/// `watches`.
pub async fn run(
    client: Client,
    proxy_name: Option<Arc<str>>,
    pods_of: Option<&str>,
    watches: &Watches,
    events: mpsc::Sender<Event>,
) {
    let all = watcher::Config::default;
    let proxy_name = proxy_name.as_deref();
    let services = Wanted {
        selection: all()
            .fields("spec.clusterIP!=None")
            .labels(&convert::service_selector(proxy_name)),
        convert: |object: &Service| convert::service_of(proxy_name, object),
        wrap: Event::Services,
        state: watches.of(Kind::Service),
        optional: false,
    };
    let slices = Wanted {
        selection: all().labels("!service.kubernetes.io/headless"),
        convert: convert::slice,
        wrap: Event::Slices,
        state: watches.of(Kind::EndpointSlice),
        optional: false,
    };
    let nodes = Wanted {
        selection: all(),
        convert: convert::node,
        wrap: Event::Nodes,
        state: watches.of(Kind::Node),
        optional: false,
    };
    // Clusters before 1.33 do not have them.
    let cidrs = Wanted {
        selection: all(),
        convert: convert::service_cidr,
        wrap: Event::ServiceCidrs,
        state: watches.of(Kind::ServiceCidr),
        optional: true,
    };
    let pods = async {
        let Some(node) = pods_of else { return };
        let pods = Wanted {
            selection: all().fields(&format!("spec.nodeName={node}")),
            convert: convert::pod,
            wrap: Event::Pods,
            state: watches.of(Kind::Pod),
            optional: false,
        };
        watch::<Pod, _, _>(&client, pods, &events).await;
    };
    let watches = join5(
        watch::<Service, _, _>(&client, services, &events),
        watch::<EndpointSlice, _, _>(&client, slices, &events),
        watch::<Node, _, _>(&client, nodes, &events),
        watch::<ServiceCIDR, _, _>(&client, cidrs, &events),
        pods,
    );
    tokio::select! {
        _ = watches => {}
        () = events.closed() => {}
    }
}

/// Which objects of a kind are asked for, and what becomes of them.
struct Wanted<C, T> {
    selection: watcher::Config,
    convert: C,
    wrap: fn(Update<T>) -> Event,
    /// Where it is noted how that goes.
    state: Arc<Watch>,
    /// An API server that does not know the kind has no object of it.
    optional: bool,
}

async fn watch<K, C, T>(client: &Client, wanted: Wanted<C, T>, events: &mpsc::Sender<Event>)
where
    C: Fn(&K) -> Outcome<T>,
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let plural = K::plural(&());
    let api = Api::<Guarded<K>>::all(client.clone());
    let begin = |semantic| watcher(api.clone(), list_as(&wanted.selection, semantic)).boxed();
    // At first any version will do, as for kube-proxy: lists come from the API server's cache, and
    // the watch brings what they lack. Thousands of agents that start at once do not burden etcd.
    let mut stream = begin(ListSemantic::Any);
    let (mut list, mut pauses) = (List::default(), Pauses::default());
    let (mut is_listed, mut is_told) = (false, false);
    while let Some(event) = stream.next().await {
        let mut update = None;
        let mut next = None;
        match event {
            Ok(event) => {
                if pauses.note(&event) {
                    wanted.state.heard();
                }
                update = list.take_in(event, |object| outcome(object, &wanted.convert));
                if matches!(update, Some(Update::Replace(_))) {
                    is_listed = true;
                    wanted.state.listed();
                }
            }
            Err(error) if wanted.optional && !is_listed && is_withheld(&error) => {
                if !std::mem::replace(&mut is_told, true) {
                    info!("going on without {plural}: {}", reason(&error, &plural));
                }
                wanted.state.heard();
                update = Some(Update::Replace(Vec::new()));
                next = Some((BEFORE_NEXT_VERSION, Some(ListSemantic::Any)));
            }
            Err(error) => {
                warn!("cannot follow {plural}, trying again: {}", reason(&error, &plural));
                wanted.state.failed();
                // Behind a server that lags, any version may be older than what we have seen.
                let begin_anew = is_lost(&error).then_some(ListSemantic::MostRecent);
                next = Some((pauses.after(&error), begin_anew));
            }
        }
        if let Some(update) = update
            && events.send((wanted.wrap)(update)).await.is_err()
        {
            return;
        }
        if let Some((pause, begin_anew)) = next {
            sleep(pause).await;
            stream = begin_anew.map_or(stream, begin);
        }
    }
}

/// Lists of any version come whole: the API server would ignore a limit, and kube leaves the version
/// out where there is one.
fn list_as(selection: &watcher::Config, semantic: ListSemantic) -> watcher::Config {
    let selection = selection.clone().list_semantic(semantic);
    match selection.list_semantic {
        ListSemantic::Any => watcher::Config { page_size: None, ..selection },
        ListSemantic::MostRecent => selection,
    }
}

/// The pauses after errors, which grow until something is heard again.
#[derive(Default)]
struct Pauses(DefaultBackoff);

impl Pauses {
    /// Whether the API server was heard: the watcher announces a list before it asks for it;
    /// everything else is an answer.
    fn note<K>(&mut self, event: &watcher::Event<K>) -> bool {
        let is_answer = !matches!(event, watcher::Event::Init);
        if is_answer {
            self.0.reset();
        }
        is_answer
    }

    /// That a version is gone is an answer as well: the server is well enough to be asked for a list.
    fn after(&mut self, error: &watcher::Error) -> Duration {
        if is_lost(error) {
            self.0.reset();
        }
        self.0.next().unwrap_or(LONGEST_PAUSE)
    }
}

/// Whether the API server does not know the kind that it was asked for, or keeps it from us: roles
/// made for an older version do not name it.
fn is_withheld(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if [403, 404].contains(&status.code)
    )
}

/// Whether a watch cannot go on from the version it has. By itself the watcher would list any version
/// when an event tells it so, and ask for the same version for ever in all other cases.
fn is_lost(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::NoResourceVersion => true,
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 410 || is_from_the_future(status),
        _ => false,
    }
}

/// Whether the API server has not come to our version yet, as after etcd was restored from a backup.
/// It says so by a cause, or in words where another server passed the answer on.
fn is_from_the_future(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 504
        && (causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
            || status.message.contains("Too large resource version"))
}

/// Why a list or a watch failed, in one line, and what to do about a refusal.
fn reason(error: &watcher::Error, plural: &str) -> String {
    let status = match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        other => return cause(other),
    };
    let (code, message) = (status.code, &status.message);
    match code {
        401 => format!(
            "the API server does not know us (401, {message}); check the credentials in \
             --kubeconfig, or the pod's service account"
        ),
        403 => format!(
            "the API server forbids it (403, {message}); let the agent's ClusterRole get, list \
             and watch {plural}"
        ),
        _ => format!("the API server answers {code}, {message}"),
    }
}

/// The innermost error, in one line: those around it repeat it.
fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = anyhow::Chain::new(error).last().unwrap_or(error);
    innermost.to_string().lines().next().unwrap_or_default().to_owned()
}

type Named<T> = (NamespacedName, Outcome<T>);

/// The objects of a list that is still being received.
struct List<T> {
    objects: Vec<Named<T>>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { objects: Vec::new() }
    }
}

impl<T> List<T> {
    /// What the store should be told of `event`; nothing while a list is incomplete.
    fn take_in<K>(
        &mut self,
        event: watcher::Event<K>,
        outcome: impl Fn(K) -> Named<T>,
    ) -> Option<Update<T>> {
        match event {
            watcher::Event::Init => self.objects.clear(),
            watcher::Event::InitApply(object) => self.objects.push(outcome(object)),
            watcher::Event::InitDone => {
                return Some(Update::Replace(std::mem::take(&mut self.objects)));
            }
            watcher::Event::Apply(object) => {
                let (name, outcome) = outcome(object);
                return Some(Update::Apply(name, outcome));
            }
            watcher::Event::Delete(object) => return Some(Update::Delete(outcome(object).0)),
        }
        None
    }
}

/// The name of an object and what it is for us. One that cannot even be decoded costs no other.
fn outcome<K: Resource, T>(object: Guarded<K>, convert: impl Fn(&K) -> Outcome<T>) -> Named<T> {
    let name = convert::name(object.meta());
    let outcome = match object.into_inner() {
        Ok(object) => convert(&object),
        Err(error) => Outcome::Unreadable(format!("cannot be read: {error}")),
    };
    (name, outcome)
}
