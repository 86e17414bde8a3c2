//! The lab's API server, as kube's own client sees it.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::KubeConfigOptions;
use kube::runtime::watcher::{self, Event, InitialListStrategy, watcher};
use kube::{Api, Client, ResourceExt};
use lb_tests::apiserver::{ApiServer, Gone, Trouble};
use lb_tests::lab::wait_until;
use lb_tests::objects::{self, Protocol::Tcp, node, service, slice};

const PATIENCE: Duration = Duration::from_secs(10);
const UNOWNED: &str = "!service.kubernetes.io/service-proxy-name";

/// Runs a test with a server and a client made from its kubeconfig file.
fn with_server<F: Future<Output = ()>>(test: impl FnOnce(ApiServer, Client) -> F) {
    let server = ApiServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let kubeconfig = kube::config::Kubeconfig::read_from(server.kubeconfig()).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
        let client = Client::try_from(config).unwrap();
        tokio::time::timeout(PATIENCE, test(server, client))
            .await
            .expect("the test comes to an end");
    });
}

fn web(name: &str) -> objects::Service {
    service(name).cluster_ip("10.96.0.10").port("http", 80, Tcp)
}

/// An event in a word and a name, as `+web`, `~web`, `-web`, `= VERSION` and `! CODE`.
fn short<K: kube::Resource + Clone + std::fmt::Debug>(event: WatchEvent<K>) -> String {
    match event {
        WatchEvent::Added(object) => format!("+{}", object.name_any()),
        WatchEvent::Modified(object) => format!("~{}", object.name_any()),
        WatchEvent::Deleted(object) => format!("-{}", object.name_any()),
        WatchEvent::Bookmark(bookmark) => format!("={}", bookmark.metadata.resource_version),
        WatchEvent::Error(status) => format!("!{}", status.code),
    }
}

async fn next(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Service>>> + Unpin),
) -> String {
    short(events.next().await.expect("the watch goes on").expect("the watch is well"))
}

#[test]
fn what_is_created_over_http_is_listed_read_replaced_and_deleted() {
    with_server(|server, client| async move {
        let services: Api<Service> = Api::namespaced(client, "default");
        let object: Service = serde_json::from_value(web("default/web").object()).unwrap();
        let created = services.create(&PostParams::default(), &object).await.unwrap();
        assert!(created.uid().is_some() && created.resource_version().is_some());
        assert!(is_code(&services.create(&PostParams::default(), &object).await, 409));
        assert_eq!(services.get("web").await.unwrap(), created);
        let mut changed = created.clone();
        changed.labels_mut().insert("a".to_owned(), "b".to_owned());
        let replaced = services.replace("web", &PostParams::default(), &changed).await.unwrap();
        assert_eq!((replaced.uid(), replaced.labels()), (created.uid(), changed.labels()));
        let stale = services.replace("web", &PostParams::default(), &created).await;
        assert!(is_code(&stale, 409), "{stale:?}");
        assert_eq!(services.list(&ListParams::default()).await.unwrap().items, [replaced]);
        services.delete("web", &DeleteParams::default()).await.unwrap();
        assert!(is_code(&services.get("web").await, 404));
        assert!(is_code(&services.delete("web", &DeleteParams::default()).await, 404));
        assert_eq!(server.version(), 4, "it began with 1 and changed three times");
    });
}

fn is_code<T>(result: &kube::Result<T>, code: u16) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == code)
}

#[test]
fn every_kind_is_found_where_it_belongs_and_selectors_choose() {
    with_server(|server, client| async move {
        server.apply(&web("a/web"));
        server.apply(&web("b/web").label("service.kubernetes.io/service-proxy-name", "other"));
        server.apply(&service("b/headless").cluster_ip("None"));
        server.apply(&slice("a/web-1").service("web").endpoint("10.1.0.2"));
        server.apply(&slice("a/hidden").label("service.kubernetes.io/headless", ""));
        for name in ["node1", "node2"] {
            server.apply(&node(name));
        }
        let services: Api<Service> = Api::all(client.clone());
        let owned = ListParams::default().labels(UNOWNED).fields("spec.clusterIP!=None");
        assert_eq!(names(&services, &owned).await, ["web"]);
        assert_eq!(names(&services, &ListParams::default()).await, ["web", "headless", "web"]);
        let slices: Api<EndpointSlice> = Api::all(client.clone());
        assert_eq!(
            names(&slices, &ListParams::default().labels("!service.kubernetes.io/headless")).await,
            ["web-1"]
        );
        let nodes: Api<Node> = Api::all(client);
        assert_eq!(
            names(&nodes, &ListParams::default().fields("metadata.name=node2")).await,
            ["node2"]
        );
        assert!(server.requests().iter().any(|request| request.starts_with("GET /api/v1/nodes?")
            && request.contains("fieldSelector=metadata.name=node2")));
    });
}

async fn names<K>(api: &Api<K>, parameters: &ListParams) -> Vec<String>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.list(parameters).await.unwrap().items.iter().map(ResourceExt::name_any).collect()
}

#[test]
fn a_list_comes_in_pages_of_one_version() {
    with_server(|server, client| async move {
        for name in ["b/1", "a/1", "a/2", "a/3"] {
            server.apply(&web(name));
        }
        let services: Api<Service> = Api::all(client);
        let page = ListParams::default().limit(3);
        let first = services.list(&page).await.unwrap();
        server.apply(&web("a/0"));
        let token = first.metadata.continue_.clone().unwrap();
        let second = services.list(&page.clone().continue_token(&token)).await.unwrap();
        let found: Vec<_> = first.iter().chain(second.iter()).map(ResourceExt::name_any).collect();
        assert_eq!(found, ["1", "2", "3", "1"]);
        assert_eq!(first.metadata.resource_version, second.metadata.resource_version);
        assert_eq!(second.metadata.continue_.unwrap_or_default(), "");
        server.expire(Gone::AsStatus);
        assert!(is_code(&services.list(&page.continue_token(&token)).await, 410));
    });
}

#[test]
fn a_watch_tells_what_its_selector_sees() {
    with_server(|server, client| async move {
        let services: Api<Service> = Api::all(client);
        let parameters = WatchParams::default().labels(UNOWNED);
        server.apply(&web("a/first"));
        let version = server.version().to_string();
        let mut events = pin!(services.watch(&parameters, &version).await.unwrap());
        server.apply(&web("a/web"));
        server.apply(&web("a/web").external_local());
        server.apply(&web("a/web").label("service.kubernetes.io/service-proxy-name", ""));
        server.apply(&web("a/web").label("service.kubernetes.io/service-proxy-name", "x"));
        server.apply(&web("a/web"));
        server.delete("services", "a/web");
        for expected in ["+web", "~web", "-web", "+web", "-web"] {
            assert_eq!(next(&mut events).await, expected);
        }
        server.bookmark();
        assert_eq!(next(&mut events).await, format!("={}", server.version()));
        let mut late = pin!(services.watch(&parameters, &version).await.unwrap());
        assert_eq!(next(&mut late).await, "+web", "the past is told again");
        let mut any = pin!(services.watch(&parameters, "0").await.unwrap());
        assert_eq!(next(&mut any).await, "+first", "version 0 begins with what is there");
    });
}

#[test]
fn a_forgotten_version_is_gone_and_a_running_watch_goes_on() {
    for gone in [Gone::AsStatus, Gone::AsEvent] {
        with_server(|server, client| async move {
            let services: Api<Service> = Api::all(client);
            let parameters = WatchParams::default();
            let old = server.version().to_string();
            let mut running = pin!(services.watch(&parameters, &old).await.unwrap());
            server.apply(&web("a/web"));
            assert_eq!(next(&mut running).await, "+web");
            server.expire(gone);
            server.delete("services", "a/web");
            assert_eq!(next(&mut running).await, "-web");
            match (gone, services.watch(&parameters, &old).await) {
                (Gone::AsStatus, refused) => assert!(is_code(&refused.map(drop), 410)),
                (Gone::AsEvent, events) => {
                    let mut events = pin!(events.unwrap());
                    assert_eq!(next(&mut events).await, "!410");
                    assert!(events.next().await.is_none());
                }
            }
        });
    }
}

#[test]
fn a_watch_ends_when_it_is_disconnected_and_when_its_time_is_over() {
    with_server(|server, client| async move {
        let services: Api<Service> = Api::all(client);
        let version = server.version().to_string();
        let mut events = pin!(services.watch(&WatchParams::default(), &version).await.unwrap());
        wait_until("the watch runs", PATIENCE, || server.watches() == 1);
        server.disconnect_watches();
        assert!(!matches!(events.next().await, Some(Ok(_))));
        let short = WatchParams::default().timeout(1);
        let mut events = pin!(services.watch(&short, &version).await.unwrap());
        assert!(events.next().await.is_none());
        assert_eq!(server.watches(), 0);
    });
}

#[test]
fn kubes_watcher_comes_through_every_trouble() {
    for strategy in [InitialListStrategy::ListWatch, InitialListStrategy::StreamingList] {
        with_server(|server, client| async move {
            server.apply(&web("a/first"));
            let config =
                watcher::Config { initial_list_strategy: strategy, ..watcher::Config::default() };
            let events = watcher(Api::<Service>::all(client), config.page_size(1));
            // Without the usual backoff: failures are looked at, not waited for.
            let mut events = pin!(events.filter_map(|event| async { event.ok() }));
            assert_eq!(settle(&mut events).await, ["first"]);
            server.disconnect_watches();
            server.apply(&web("a/second"));
            assert!(
                matches!(events.next().await, Some(Event::Apply(object)) if object.name_any() == "second")
            );
            server.disconnect_watches();
            server.expire(Gone::AsEvent);
            assert_eq!(settle(&mut events).await, ["first", "second"]);
        });
    }
}

/// The names of a full list, until the watcher says that it is complete.
async fn settle(events: &mut (impl Stream<Item = Event<Service>> + Unpin)) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        match events.next().await.expect("a watcher never ends") {
            Event::Init => found.clear(),
            Event::InitApply(object) => found.push(object.name_any()),
            Event::InitDone => return found,
            other => panic!("{other:?} before the list is complete"),
        }
    }
}

#[test]
fn trouble_is_answered_as_told_and_ends_when_told() {
    with_server(|server, client| async move {
        let services: Api<Service> = Api::all(client);
        let parameters = ListParams::default();
        server.trouble(Trouble::Status(500));
        assert!(is_code(&services.list(&parameters).await, 500));
        server.trouble(Trouble::Garbage);
        assert!(matches!(services.list(&parameters).await, Err(kube::Error::SerdeError(_))));
        server.trouble(Trouble::None);
        let version = server.version().to_string();
        let mut events = pin!(services.watch(&WatchParams::default(), &version).await.unwrap());
        server.trouble(Trouble::Pause);
        server.apply(&web("a/web"));
        let list = services.list(&parameters);
        let mut waiting = pin!(async { tokio::join!(list, next(&mut events)) });
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        server.trouble(Trouble::None);
        let (list, event) = waiting.await;
        assert_eq!((list.unwrap().items.len(), event.as_str()), (1, "+web"));
    });
}
