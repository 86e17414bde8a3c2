//! The Prometheus operator's kinds, as far as the chart uses them; `k8s-openapi` has them not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

/// `monitoring.coreos.com/v1`, `ServiceMonitor`.
pub(crate) type ServiceMonitor = Custom<Scraped>;
/// `monitoring.coreos.com/v1`, `PrometheusRule`.
pub(crate) type PrometheusRule = Custom<Rules>;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Custom<Spec> {
    api_version: ApiVersion,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Deserialize, Serialize)]
enum ApiVersion {
    #[serde(rename = "monitoring.coreos.com/v1")]
    V1,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scraped {
    selector: LabelSelector,
    namespace_selector: NamespaceSelector,
    job_label: String,
    endpoints: Vec<ScrapedEndpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamespaceSelector {
    match_names: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScrapedEndpoint {
    port: String,
    interval: String,
    relabelings: Vec<Relabeling>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Alert>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}
