//! What kube-proxy serves beside its metrics: `/healthz`, `/proxyMode` and `/configz`
//! (kube-proxy-behaviour §5.3); and, of our own, what went wrong last.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::Value;

use super::{json, recent};

/// What we are where kube-proxy is `iptables` or `nftables`.
pub(super) const MODE: &str = "ebpf";

/// The group under which kube-proxy shows its settings.
const GROUP: &str = "kubeproxy.config.k8s.io";

/// The routes; `config` is what `/configz` shows.
pub fn router(config: Value) -> Router {
    let config = BTreeMap::from([(GROUP, config)]);
    Router::new()
        // That it answers is what it says: how the agent is, its own /healthz tells.
        .route("/healthz", get(|| async { text("ok") }))
        .route("/proxyMode", get(|| async { text(MODE) }))
        .route("/configz", get(|| async move { json(&config) }))
        .merge(recent::router())
}

fn text(body: &'static str) -> axum::response::Response {
    let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (kind, body).into_response()
}
