//! Health check node ports: whether this node has endpoints of a Service with
//! `externalTrafficPolicy: Local`, for load balancers (kube-proxy-behaviour §5.1).
//!
//! A Service has one check, which answers at every address at which node ports do. Checks come and go
//! with the Services; one whose port is taken stands in nobody's way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::health::Health;
use super::{Server, Trouble, json};
use crate::model::{Kind, NamespacedName, Problem, Rejection, Subject};
use crate::plan::HealthChecks;

/// How many endpoints there are, for load balancers that give each node its share.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The checks of all Services.
#[derive(Debug)]
pub struct Checks {
    node: String,
    health: Health,
    complaints: Option<mpsc::Sender<Rejection>>,
    deaf: Gauge,
    running: BTreeMap<NamespacedName, Check>,
}

/// The check of a Service. Its servers stop when it is dropped.
#[derive(Debug)]
struct Check {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    servers: BTreeMap<IpAddr, DropGuard>,
}

/// The answer, in the words of kube-proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    service: ServiceName<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Debug, Serialize)]
struct ServiceName<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Checks {
    /// None yet, on `node`. That a port is taken is told to `complaints` and counted by `deaf`.
    #[must_use]
    pub fn new(
        node: String,
        health: Health,
        complaints: Option<mpsc::Sender<Rejection>>,
        deaf: Gauge,
    ) -> Self {
        Self { node, health, complaints, deaf, running: BTreeMap::new() }
    }

    /// Runs the checks that are `wanted`, and no others. Those that run already go on.
    pub fn sync(&mut self, wanted: &HealthChecks) {
        self.running.retain(|service, check| {
            wanted.services.get(service).is_some_and(|wanted| wanted.port == check.port)
        });
        for (service, check) in &wanted.services {
            let mut running =
                self.running.remove(service).unwrap_or_else(|| Check::new(check.port));
            running.local_endpoints.store(check.local_endpoints, Ordering::Relaxed);
            running.servers.retain(|address, _| wanted.addresses.contains(address));
            for address in &wanted.addresses {
                if !running.servers.contains_key(address) {
                    let stop = self.start(service, &running, *address);
                    running.servers.insert(*address, stop);
                }
            }
            self.running.insert(service.clone(), running);
        }
    }

    fn start(&self, service: &NamespacedName, check: &Check, address: IpAddr) -> DropGuard {
        let server = Server {
            what: format!("the health check of service {service}"),
            address: SocketAddr::new(address, check.port),
            router: router(service.clone(), &check.local_endpoints, &self.health),
            trouble: Trouble {
                node: self.node.clone(),
                object: Subject::Object(Kind::Service, service.clone()),
                problem: Problem::FailedToStartServiceHealthcheck,
                complaints: self.complaints.clone(),
                deaf: self.deaf.clone(),
            },
        };
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        stop.drop_guard()
    }
}

impl Check {
    fn new(port: u16) -> Self {
        Self { port, local_endpoints: Arc::default(), servers: BTreeMap::new() }
    }
}

/// Answers alike whatever is asked for, as kube-proxy does.
fn router(service: NamespacedName, local_endpoints: &Arc<AtomicUsize>, health: &Health) -> Router {
    let (local_endpoints, health) = (Arc::clone(local_endpoints), health.clone());
    let service = Arc::new(service);
    Router::new().fallback(move || {
        let local_endpoints = local_endpoints.load(Ordering::Relaxed);
        let is_healthy = health.is_healthy(Instant::now());
        let answer = answer(&service, local_endpoints, is_healthy);
        async { answer }
    })
}

fn answer(service: &NamespacedName, local_endpoints: usize, is_healthy: bool) -> Response {
    let report = Report {
        service: ServiceName { namespace: &service.namespace, name: &service.name },
        local_endpoints,
        service_proxy_healthy: is_healthy,
    };
    let status = match (local_endpoints, is_healthy) {
        (1.., true) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(WEIGHT, local_endpoints.to_string())], json(&report)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn check(local_endpoints: usize, is_healthy: bool, status: u16) {
        let answer = answer(&NamespacedName::new("shop", "web"), local_endpoints, is_healthy);
        assert_eq!(answer.status(), status);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-load-balancing-endpoint-weight"), local_endpoints.to_string());
        let body = to_bytes(answer.into_body(), 1000).await.unwrap();
        let expected = json!({
            "service": {"namespace": "shop", "name": "web"},
            "localEndpoints": local_endpoints,
            "serviceProxyHealthy": is_healthy,
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[tokio::test]
    async fn it_says_yes_with_an_endpoint_while_the_agent_is_well() {
        check(0, true, 503).await;
        check(1, true, 200).await;
        check(2, true, 200).await;
        check(2, false, 503).await;
        check(0, false, 503).await;
    }
}
