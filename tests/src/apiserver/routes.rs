//! The paths of the API: collections and objects of every resource, and trouble on the way to them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::resource::{RESOURCES, Resource};
use super::selector::Selector;
use super::status::Refusal;
use super::store::{Key, Scope};
use super::watching::{self, Wish};
use super::{Shared, Trouble};

/// A resource on this server.
#[derive(Clone)]
struct Endpoint {
    shared: Arc<Shared>,
    resource: &'static Resource,
}

pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    let version = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"});
    let mut router = Router::new()
        .route("/version", get(|| async { Json(version) }))
        .route("/readyz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }));
    for resource in &RESOURCES {
        router = router.merge(resource_routes(Endpoint { shared: Arc::clone(shared), resource }));
    }
    router.layer(from_fn_with_state(Arc::clone(shared), troubled))
}

fn resource_routes(endpoint: Endpoint) -> Router {
    let (prefix, plural) = (endpoint.resource.prefix(), endpoint.resource.plural);
    let collection = get(list_or_watch).post(create);
    let object = get(read).put(replace).delete(delete);
    let all = Router::new().route(&format!("{prefix}/{plural}"), collection.clone());
    let router = if endpoint.resource.namespaced {
        let one = format!("{prefix}/namespaces/{{namespace}}/{plural}");
        all.route(&one, collection).route(&format!("{one}/{{name}}"), object)
    } else {
        all.route(&format!("{prefix}/{plural}/{{name}}"), object)
    };
    router.with_state(endpoint)
}

/// Notes the request and does to it what the present trouble is.
async fn troubled(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    shared.change(|state| state.requests.push(shown(&request)));
    let mut changed = shared.changed.subscribe();
    loop {
        changed.borrow_and_update();
        if shared.state().lacks(request.uri().path()) {
            return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
        }
        let trouble = shared.state().trouble_of(request.uri().path());
        match trouble {
            Trouble::None => return next.run(request).await,
            Trouble::Garbage => {
                return "<html>this is not the API server you are looking for".into_response();
            }
            Trouble::Status(code) => return refuse(code),
            Trouble::Pause => drop(changed.changed().await),
        }
    }
}

fn shown(request: &Request) -> String {
    let (method, path) = (request.method(), request.uri().path());
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).unwrap_or_default().0;
    let query: Vec<_> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{method} {path}?{}", query.join("&"))
}

fn refuse(code: u16) -> Response {
    let refusal =
        Refusal { code, reason: "InternalError", message: "told to be in trouble".to_owned() };
    let mut response = refusal.into_response();
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

#[derive(Deserialize)]
struct Names {
    namespace: Option<String>,
    name: Option<String>,
}

impl Names {
    fn key(&self, resource: &Resource) -> Key {
        let name = self.name.as_deref().unwrap_or_default();
        match &self.namespace {
            Some(namespace) => Key::new(resource, &format!("{namespace}/{name}")),
            None => Key::new(resource, name),
        }
    }
}

/// The parameters of a list or a watch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Parameters {
    watch: bool,
    label_selector: String,
    field_selector: String,
    limit: usize,
    r#continue: String,
    resource_version: String,
    allow_watch_bookmarks: bool,
    send_initial_events: bool,
    timeout_seconds: Option<u64>,
}

async fn list_or_watch(
    State(endpoint): State<Endpoint>,
    Path(names): Path<Names>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Refusal> {
    let resource = endpoint.resource;
    let selector =
        Selector::parse(resource, &parameters.label_selector, &parameters.field_selector)?;
    let scope = Scope { resource, namespace: names.namespace, selector };
    if !parameters.watch {
        return list(&endpoint, &scope, &parameters);
    }
    let body = watching::begin(&endpoint.shared, &wish(scope, &parameters)?)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn list(endpoint: &Endpoint, scope: &Scope, parameters: &Parameters) -> Result<Response, Refusal> {
    let page =
        endpoint.shared.state().store.list(scope, parameters.limit, &parameters.r#continue)?;
    let list = json!({
        "apiVersion": scope.resource.api_version,
        "kind": format!("{}List", scope.resource.kind),
        "metadata": {"resourceVersion": page.version.to_string(), "continue": page.next},
        "items": page.items,
    });
    Ok(Json(list).into_response())
}

fn wish(scope: Scope, parameters: &Parameters) -> Result<Wish, Refusal> {
    let version = match parameters.resource_version.as_str() {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| Refusal::bad_request(format!("invalid resource version {text:?}")))?,
    };
    Ok(Wish {
        scope,
        version,
        bookmarks: parameters.allow_watch_bookmarks,
        initial_events: parameters.send_initial_events,
        timeout: parameters.timeout_seconds.map(Duration::from_secs),
    })
}

async fn read(
    State(endpoint): State<Endpoint>,
    Path(names): Path<Names>,
) -> Result<Json<Value>, Refusal> {
    endpoint.shared.state().store.get(&names.key(endpoint.resource)).map(Json)
}

async fn create(
    State(endpoint): State<Endpoint>,
    Path(names): Path<Names>,
    Json(object): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let object = placed(&endpoint, &names, object);
    let created = endpoint.shared.change(|state| state.store.create(endpoint.resource, object))?;
    Ok((StatusCode::CREATED, Json(created)))
}

async fn replace(
    State(endpoint): State<Endpoint>,
    Path(names): Path<Names>,
    Json(object): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let object = placed(&endpoint, &names, object);
    endpoint.shared.change(|state| state.store.replace(endpoint.resource, object)).map(Json)
}

async fn delete(
    State(endpoint): State<Endpoint>,
    Path(names): Path<Names>,
) -> Result<Json<Value>, Refusal> {
    let key = names.key(endpoint.resource);
    endpoint.shared.change(|state| state.store.delete(&key)).map(Json)
}

/// The object with its kind and the names in its path, which clients may leave out of it.
fn placed(endpoint: &Endpoint, names: &Names, mut object: Value) -> Value {
    object["apiVersion"] = json!(endpoint.resource.api_version);
    object["kind"] = json!(endpoint.resource.kind);
    for (field, value) in [("namespace", &names.namespace), ("name", &names.name)] {
        if let Some(value) = value {
            object["metadata"][field] = json!(value);
        }
    }
    object
}
