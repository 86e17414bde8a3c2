//! `waggle check` looks into the cluster as well, where it is given a kubeconfig.

use std::process::Command;

use lb_tests::apiserver::{ApiServer, Trouble};
use lb_tests::lab::agent_binary;
use serde_json::{Value, json};

const ROW: &str = "kube-proxy DaemonSet";

/// The row of the `DaemonSet`.
fn row(flags: &[&str]) -> Option<Value> {
    let output = Command::new(agent_binary()).args(["check", "-o", "json"]).args(flags).output();
    let rows: Vec<Value> = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    rows.into_iter().find(|row| row["check"] == ROW)
}

#[track_caller]
fn check(server: &ApiServer, status: &str, found: &str) {
    let kubeconfig = server.kubeconfig().to_str().unwrap();
    let row = row(&["--kubeconfig", kubeconfig]).unwrap();
    assert_eq!(row["status"], status, "{row}");
    assert!(row["found"].as_str().unwrap().starts_with(found), "{row}");
}

fn daemon_set(nodes: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"namespace": "kube-system", "name": "kube-proxy"},
        "spec": {"selector": {}, "template": {}},
        "status": {
            "currentNumberScheduled": 0,
            "desiredNumberScheduled": nodes,
            "numberMisscheduled": 0,
            "numberReady": 0,
        },
    })
}

#[test]
fn the_daemon_set_of_kube_proxy_is_looked_for_where_a_kubeconfig_is_given() {
    let server = ApiServer::start();
    check(&server, "ok", "none");
    server.apply(&daemon_set(3));
    check(&server, "warn", "nodes: 3");
    server.apply(&daemon_set(0));
    check(&server, "ok", "nodes: 0");
    server.trouble(Trouble::Status(403));
    check(&server, "warn", "unknown: get the DaemonSet kube-system/kube-proxy");
    assert_eq!(row(&[]), None);
}
