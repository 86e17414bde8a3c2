//! Services at the socket: processes of the node, and pods where the setting says so.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lb_tests::lab::{Namespace, wait_for};
use lb_tests::traffic::http_get;
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, output};

mod exceptions;
mod lifecycle;
mod neighbours;
mod refusals;
mod resolver;
mod services;
mod stale;
mod table;

#[track_caller]
fn wait_for_answer(from: &Namespace, dst: SocketAddr) {
    wait_for(&format!("{dst} answers"), PATIENCE, || {
        http_get(from, dst, None, Duration::from_secs(1))
    });
}

/// The cgroup of the cluster's node and its pods.
fn cgroup(cluster: &Cluster) -> &Path {
    cluster.node.ns.cgroup().expect("nodes have one").path()
}

/// Names of the programs at that cgroup, in their order.
fn attached(cluster: &Cluster) -> Vec<String> {
    let path = cgroup(cluster).to_str().expect("UTF-8");
    let shown = output("bpftool", &["--json", "cgroup", "show", path]);
    // Of no programs it prints nothing.
    let shown = if shown.trim().is_empty() { "[]" } else { &shown };
    let shown: Value = serde_json::from_str(shown).expect("bpftool prints JSON");
    let programs = shown.as_array().expect("a list of programs");
    programs.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
}

/// How many entries the map of sockets has that is pinned as `name`.
fn entries(cluster: &Cluster, name: &str) -> usize {
    let pin = cluster.bpffs.path().join("waggle/v1/maps").join(name);
    let pin = pin.to_str().expect("UTF-8");
    let dump = output("bpftool", &["--json", "map", "dump", "pinned", pin]);
    let dump: Value = serde_json::from_str(&dump).expect("bpftool prints JSON");
    dump.as_array().expect("a list of entries").len()
}
