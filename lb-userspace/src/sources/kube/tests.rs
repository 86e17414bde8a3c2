//! The watches against a small API server of our own.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use kube::runtime::watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

use super::*;

fn named(name: &str) -> Named<()> {
    (NamespacedName::new("default", name), Outcome::NotOurs)
}

#[test]
fn a_list_is_told_at_once_and_an_interrupted_one_never() {
    let mut list = List::default();
    let mut take = |event| list.take_in(event, named);
    for silent in [Init, InitApply("lost"), Init, InitApply("a"), InitApply("b")] {
        assert_eq!(take(silent), None);
    }
    assert_eq!(take(InitDone), Some(Update::Replace(vec![named("a"), named("b")])));
    let (name, outcome) = named("c");
    assert_eq!(take(Apply("c")), Some(Update::Apply(name.clone(), outcome)));
    assert_eq!(take(Delete("c")), Some(Update::Delete(name)));
    assert_eq!(take(Init), None);
    assert_eq!(take(InitDone), Some(Update::Replace(vec![])));
}

#[test]
fn an_object_that_cannot_be_decoded_costs_no_other() {
    for (metadata, spec) in [
        (r#"{"name": "a", "namespace": "n"}"#, r#"{"ports": "all"}"#),
        (r#"{"name": "a", "namespace": "n", "creationTimestamp": "yesterday"}"#, "{}"),
        (r#"{"name": "a", "namespace": "n", "labels": 7}"#, "{}"),
    ] {
        let json = format!(r#"{{"metadata": {metadata}, "spec": {spec}}}"#);
        let object: Guarded<Service> = serde_json::from_str(&json).unwrap();
        let (name, outcome) = outcome(object, convert::service);
        assert_eq!(name.to_string(), "n/a");
        let Outcome::Unreadable(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.starts_with("cannot be read: "), "{reason}");
    }
}

#[test]
fn pauses_grow_until_something_is_heard() {
    let mut pauses = Pauses::default();
    let failed = watcher::Error::WatchError(status(500, "", ""));
    let gone = watcher::Error::WatchError(status(410, "", ""));
    let long = Duration::from_secs(20);
    for _ in 0..2 {
        assert!(pauses.after(&failed) < long);
        for _ in 0..10 {
            pauses.note(&Init::<()>);
            pauses.after(&failed);
        }
        assert!(pauses.after(&failed) > long);
        assert!(pauses.after(&gone) < long);
        for _ in 0..10 {
            pauses.after(&failed);
        }
        pauses.note(&Apply(()));
    }
}

/// What the API server was asked for, and how often.
type Requests = Arc<Mutex<Vec<String>>>;

/// Serves every connection until its client goes, and answers `refusal` whenever it is asked for
/// `ServiceCIDRs`; returns the address.
fn serve(requests: &Requests, refusal: fn() -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::clone(requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let requests = Arc::clone(&requests);
            std::thread::spawn(move || serve_connection(&stream.unwrap(), &requests, refusal));
        }
    });
    format!("http://{address}")
}

fn serve_connection(mut stream: &TcpStream, requests: &Requests, refusal: fn() -> String) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(request)) = lines.next() {
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let target = request.split(' ').nth(1).unwrap();
        let nth = note(target, requests);
        let answer = match path(target) {
            "/apis/networking.k8s.io/v1/servicecidrs" => refusal(),
            _ if is_watch(target) => watch(target, nth),
            _ => list(target, nth),
        };
        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).unwrap();
    }
}

/// Notes a request; returns how many there were of its kind, counting this one.
fn note(target: &str, requests: &Requests) -> usize {
    let mut requests = requests.lock().unwrap();
    requests.push(target.to_owned());
    let kind = |target: &str| (path(target).to_owned(), is_watch(target));
    requests.iter().filter(|other| kind(other) == kind(target)).count()
}

fn list(target: &str, nth: usize) -> String {
    let list = json!({"metadata": {"resourceVersion": "7"}, "items": listed(target, nth)});
    let list = list.to_string();
    format!("200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len())
}

/// What an API server says of a path that it does not have.
fn unknown() -> String {
    let text = "404 page not found\n";
    format!("404 Not Found\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// What an API server says to those whose role does not name the kind.
fn forbidden() -> String {
    let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden"});
    let status = status.to_string();
    format!("403 Forbidden\r\nContent-Length: {}\r\n\r\n{status}", status.len())
}

/// The events of a watch that then stays open.
fn watch(target: &str, nth: usize) -> String {
    let chunk = |event: &Value| {
        let line = format!("{event}\n");
        format!("{:x}\r\n{line}\r\n", line.len())
    };
    let chunks: Vec<_> = watched(target, nth).iter().map(chunk).collect();
    format!("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunks.concat())
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap()
}

fn is_watch(target: &str) -> bool {
    target.contains("watch=true")
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "d", "resourceVersion": "8"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

/// The first list has `a` and `b`; when the watch was lost there is only `b`.
fn listed(target: &str, nth: usize) -> Vec<Value> {
    match (path(target), nth) {
        ("/api/v1/services", 1) => vec![object("a"), object("b")],
        ("/api/v1/services", _) => vec![object("b")],
        _ => vec![],
    }
}

/// The first watch brings `c` and is then too old; later ones bring nothing.
fn watched(target: &str, nth: usize) -> Vec<Value> {
    let gone = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"});
    match (path(target), nth) {
        ("/api/v1/services", 1) => vec![
            json!({"type": "ADDED", "object": object("c")}),
            json!({"type": "ERROR", "object": gone}),
        ],
        _ => vec![],
    }
}

fn names(event: &Event) -> String {
    match event {
        Event::Services(Update::Replace(all)) => {
            let names: Vec<_> = all.iter().map(|(name, _)| name.to_string()).collect();
            format!("all {}", names.join(" "))
        }
        Event::Services(Update::Apply(name, Outcome::Usable(..))) => format!("put {name}"),
        other => format!("{other:?}"),
    }
}

/// A source that follows what [`serve`] does, and what it tells.
fn follow(requests: &Requests, refusal: fn() -> String) -> (JoinHandle<()>, mpsc::Receiver<Event>) {
    let config = Config::new(serve(requests, refusal).parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let (sender, events) = mpsc::channel(16);
    (
        tokio::spawn(async move {
            Box::pin(run(client, None, None, &Watches::default(), sender)).await;
        }),
        events,
    )
}

#[tokio::test(flavor = "current_thread")]
async fn what_the_role_does_not_name_is_gone_on_without() {
    let (_source, mut events) = follow(&Requests::default(), forbidden);
    let update = loop {
        if let Event::ServiceCidrs(update) = events.recv().await.expect("the source runs") {
            break update;
        }
    };
    assert_eq!(update, Update::Replace(vec![]));
}

/// A server that lags behind the one that the watch was lost at would answer with the past.
#[tokio::test(flavor = "current_thread")]
async fn the_list_after_a_lost_watch_is_the_most_recent_one() {
    let requests = Requests::default();
    let (_source, mut events) = follow(&requests, unknown);
    let mut lists = 0;
    while lists < 2 {
        let event = events.recv().await.expect("the source runs");
        lists += usize::from(matches!(event, Event::Services(Update::Replace(_))));
    }
    let requests = requests.lock().unwrap();
    let asked = requests.iter().filter(|line| path(line) == "/api/v1/services" && !is_watch(line));
    let any: Vec<_> = asked.map(|line| line.contains("resourceVersion=0")).collect();
    assert_eq!(any, [true, false], "{requests:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_list_after_a_lost_watch_replaces_everything() {
    let requests = Requests::default();
    let (source, mut events) = follow(&requests, unknown);
    let (mut services, mut others) = (Vec::new(), BTreeSet::new());
    while services.len() < 3 || others.len() < 3 {
        match events.recv().await.expect("the source runs") {
            event @ Event::Services(_) => services.push(names(&event)),
            event => _ = others.insert(format!("{event:?}")),
        }
    }
    assert_eq!(services, ["all d/a d/b", "put d/c", "all d/b"]);
    let others: Vec<_> = others.into_iter().collect();
    assert_eq!(
        others,
        ["Nodes(Replace([]))", "ServiceCidrs(Replace([]))", "Slices(Replace([]))"],
        "what the API server does not have is empty"
    );
    drop(events);
    source.await.unwrap();

    let requests = requests.lock().unwrap();
    let asked = |wanted: &str| requests.iter().any(|request| request.contains(wanted));
    assert!(asked("fieldSelector=spec.clusterIP%21%3DNone"), "{requests:?}");
    assert!(asked("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"), "{requests:?}");
    assert!(asked("labelSelector=%21service.kubernetes.io%2Fheadless"), "{requests:?}");
    let nodes: Vec<_> =
        requests.iter().filter(|request| path(request).ends_with("/nodes")).collect();
    assert!(!nodes.is_empty(), "{requests:?}");
    assert!(nodes.iter().all(|request| !request.contains("Selector")), "all Nodes: {nodes:?}");
}

fn status(code: u16, message: &str, cause: &str) -> Box<Status> {
    let details = json!({"causes": [{"reason": cause}]});
    let status = json!({"code": code, "message": message, "details": details});
    Box::new(serde_json::from_value(status).unwrap())
}

#[test]
fn a_watch_begins_anew_when_its_version_is_gone_or_not_there_yet() {
    let start = |status| watcher::Error::WatchStartFailed(kube::Error::Api(status));
    let too_large = "Too large resource version: 9, current: 3";
    assert!(is_lost(&start(status(410, "", ""))));
    assert!(is_lost(&start(status(504, too_large, ""))));
    assert!(is_lost(&start(status(504, "", "ResourceVersionTooLarge"))));
    assert!(is_lost(&watcher::Error::WatchError(status(504, too_large, ""))));
    assert!(!is_lost(&start(status(504, "the server was unable to answer in time", ""))));
    assert!(!is_lost(&start(status(500, too_large, ""))));
    assert!(is_lost(&watcher::Error::WatchError(status(410, "", ""))));
    assert!(!is_lost(&watcher::Error::WatchError(status(500, "", ""))));
}

#[tokio::test(flavor = "current_thread")]
async fn a_kubeconfig_that_does_not_exist_is_named() {
    let nowhere = Some(Path::new("/nonexistent/kubeconfig"));
    let error =
        client(nowhere, None, None, Arc::new(|_| {}), &Watches::default()).await.err().unwrap();
    let expected = "read the kubeconfig /nonexistent/kubeconfig: No such file or directory";
    assert!(error.to_string().starts_with(expected), "{error}");
}
