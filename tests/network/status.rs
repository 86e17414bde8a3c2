//! `waggle status`, with and without an agent.

use std::process::Output;

use lb_common::abi::flow::Hook;
use lb_tests::lab::{Topology, waggle, wait_until};
use lb_userspace::datapath::pins::Pins;
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, output};

fn status(cluster: &Cluster, more: &[&str]) -> Output {
    let bpffs = cluster.bpffs.path().to_str().expect("UTF-8");
    waggle(&cluster.node.ns, &[&["status", "--bpffs", bpffs], more].concat())
}

/// Its JSON document, and whether it says that all is well.
#[track_caller]
fn document(cluster: &Cluster) -> (Value, bool) {
    let output = status(cluster, &["-o", "json"]);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (document, output.status.success())
}

#[track_caller]
fn screen(cluster: &Cluster) -> String {
    String::from_utf8(status(cluster, &[]).stdout).expect("UTF-8")
}

/// What is at both hooks of the client's link.
#[track_caller]
fn hooks(cluster: &Cluster, document: &Value) -> [Value; 2] {
    let interfaces = document["interfaces"].as_array().expect("interfaces").iter();
    let mut found = interfaces.filter(|it| it["interface"] == cluster.pod.host_link);
    let found = found.next().unwrap_or_else(|| panic!("{document:#}"));
    [found["ingress"].clone(), found["egress"].clone()]
}

#[track_caller]
fn entries(document: &Value, map: &str) -> u64 {
    let mut lines = document["maps"].as_array().expect("maps").iter();
    let line = lines.find(|line| line["map"] == map).unwrap_or_else(|| panic!("{document:#}"));
    line["entries"].as_u64().expect("a count")
}

#[test]
fn a_node_whose_agent_runs_is_well_and_says_what_it_holds() {
    let cluster = Cluster::new(Topology::Routed, 2);
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 3);
    let (document, is_well) = document(&cluster);
    assert!(is_well, "{document:#}");
    assert_eq!(document["agent"]["health"], json!({"state": "healthy"}), "{document:#}");
    assert_eq!(document["agent"]["version"], document["version"], "{document:#}");
    assert_eq!(document["agent"]["metrics_error"], Value::Null, "{document:#}");
    assert_eq!(hooks(&cluster, &document), ["tcx", "tcx"].map(|it| json!(it)));
    assert_eq!(document["counts"]["services"], 1, "{document:#}");
    // TCP and UDP, two families.
    assert_eq!(document["counts"]["service_ports"], 4, "{document:#}");
    assert_eq!(document["counts"]["serving"], 8, "{document:#}");
    assert_eq!(entries(&document, "SERVICES"), 4);
    assert!(entries(&document, "FLOWS_V4") >= 2, "{document:#}");
    assert_eq!(document["sockets"].as_array().expect("programs").len(), 9, "{document:#}");

    let screen = screen(&cluster);
    for part in ["healthy, version", "1 services (4 ports", "lb_connect4", &cluster.pod.host_link] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
}

#[test]
fn without_an_agent_the_maps_are_shown_and_the_silence_is_told() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    cluster.agent.kill();
    let (document, is_well) = document(&cluster);
    assert!(!is_well, "{document:#}");
    assert_eq!(document["agent"]["health"]["state"], "unreachable", "{document:#}");
    assert_eq!(entries(&document, "SERVICES"), 4);
    assert_eq!(hooks(&cluster, &document), ["tcx", "tcx"].map(|it| json!(it)));
    let screen = screen(&cluster);
    assert!(screen.contains("traffic goes on, changes do not arrive"), "{screen}");
}

#[test]
fn what_somebody_has_detached_is_missing() {
    let mut cluster = Cluster::new(Topology::Routed, 1);
    cluster.agent.kill();
    let index = || if_nametoindex(cluster.pod.host_link.as_str()).expect("the link");
    let pin = Pins::new(cluster.bpffs.path()).link(cluster.node.ns.run(index), Hook::Egress);
    output("bpftool", &["link", "detach", "pinned", pin.to_str().expect("UTF-8")]);
    let (document, is_well) = document(&cluster);
    assert!(!is_well, "{document:#}");
    assert_eq!(hooks(&cluster, &document), ["tcx", "missing"].map(|it| json!(it)));
}

#[test]
fn objects_that_are_rejected_are_troubles_and_the_log_is_at_hand() {
    let cluster = Cluster::new(Topology::Routed, 1);
    cluster.manifests.write_text("bad.yaml", "kind: [\n");
    wait_until("it is told", PATIENCE, || {
        let (document, _) = document(&cluster);
        let problems = document["agent"]["problems"].as_array().expect("problems").clone();
        problems
            .iter()
            .any(|it| it["level"] == "WARN" && it["text"].to_string().contains("bad.yaml"))
    });
    assert!(screen(&cluster).contains("LAST PROBLEMS"));
}
