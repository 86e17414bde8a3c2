//! The manifests against the types of the API: every field is one, and of the right type.
//!
//! A field that the API does not know is lost when an object is read and written again; so an object
//! that comes back as it was has none. Needs nothing.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole crate is tests"
)]

mod monitoring;

use std::fs;
use std::path::Path;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::monitoring::{PrometheusRule, ServiceMonitor};

fn objects(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/manifests").join(file);
    let text = fs::read_to_string(path).unwrap();
    text.split("\n---\n").skip(1).map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

#[track_caller]
fn is_a<T: DeserializeOwned + Serialize>(object: &Value) {
    let read: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), *object);
}

#[track_caller]
fn check(object: &Value) {
    match object["kind"].as_str().unwrap() {
        "ServiceAccount" => is_a::<ServiceAccount>(object),
        "ClusterRole" => is_a::<ClusterRole>(object),
        "ClusterRoleBinding" => is_a::<ClusterRoleBinding>(object),
        "ConfigMap" => is_a::<ConfigMap>(object),
        "DaemonSet" => is_a::<DaemonSet>(object),
        "Service" => is_a::<Service>(object),
        "ServiceMonitor" => is_a::<ServiceMonitor>(object),
        "PrometheusRule" => is_a::<PrometheusRule>(object),
        other => panic!("{other} is not known here"),
    }
}

#[track_caller]
fn kinds(file: &str, expected: &[&str]) {
    let objects = objects(file);
    objects.iter().for_each(check);
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, expected);
}

const PLAIN: [&str; 5] =
    ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet"];

#[test]
fn the_manifests_have_only_fields_that_the_api_knows() {
    kinds("waggle.yaml", &PLAIN);
}

#[test]
fn the_manifests_for_the_sockets_of_pods_have_only_fields_that_the_api_knows() {
    kinds("waggle-all-sockets.yaml", &PLAIN);
}

#[test]
fn the_manifests_with_monitoring_have_only_fields_that_the_api_knows() {
    let monitoring = ["Service", "ServiceMonitor", "PrometheusRule", "ConfigMap"];
    kinds("waggle-with-monitoring.yaml", &[&PLAIN[..], &monitoring[..]].concat());
}

#[test]
fn the_dashboard_is_json_whose_panels_do_not_overlap() {
    let objects = objects("waggle-with-monitoring.yaml");
    let text = objects.last().unwrap()["data"]["waggle.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut cells = std::collections::BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|it| panel["gridPos"][it].as_u64().unwrap());
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && cells.insert(cell), "{}", panel["title"]);
        }
    }
}
