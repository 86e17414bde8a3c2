//! What an operator sees: typed maps in bpftool, tables in waggle.

use lb_common::abi::map;
use lb_tests::lab::Topology;
use serde_json::{Value, json};

use crate::cluster::{Cluster, cluster_ips, output};

/// The field that must be named in a dump of each map's keys and values.
fn named_fields(name: &str) -> &'static [&'static str] {
    match name {
        map::FRONTENDS_V4 | map::FRONTENDS_V6 => &["addr", "port", "protocol", "service", "flags"],
        map::SERVICES => &["cluster", "local", "flags", "affinity_s"],
        map::BACKENDS_V4 | map::BACKENDS_V6 => &["addr", "port", "flags", "generation", "service"],
        map::FLOWS_V4 | map::FLOWS_V6 => &["src", "dst", "hook", "packets", "backend", "state"],
        map::SERVICE_NAMES => &["family", "length", "name"],
        map::LISTENER => &["until", "pid"],
        _ => &[],
    }
}

/// A ring buffer has no entries to dump, and those of sockets nobody can list.
const UNLISTED: [&str; 3] = [map::EVENTS, map::BINDS, map::CARRIERS];

#[test]
fn bpftool_dumps_every_map_with_named_fields() {
    let cluster = Cluster::new(Topology::Routed, 1);
    for dst in cluster_ips() {
        Cluster::ask(&cluster.pod.ns, dst, 1);
    }
    for name in map::ALL.into_iter().filter(|name| !UNLISTED.contains(name)) {
        let pin = cluster.bpffs.path().join("waggle/v1/maps").join(name);
        let pin = pin.to_str().expect("UTF-8");
        let text = output("bpftool", &["--json", "map", "dump", "pinned", pin]);
        let dump: Value = serde_json::from_str(&text).expect("JSON");
        let rows = dump.as_array().unwrap_or_else(|| panic!("{name}: {text:.200}"));
        let Some(first) = rows.first() else {
            let info = output("bpftool", &["--json", "map", "show", "pinned", pin]);
            assert!(info.contains("btf_id"), "{name} is empty and has no types: {info}");
            continue;
        };
        let formatted =
            first.get("formatted").unwrap_or_else(|| panic!("{name} has no types: {first}"));
        for field in named_fields(name) {
            assert!(has_field(formatted, field), "{name} names {field}: {formatted}");
        }
    }
}

fn has_field(value: &Value, field: &str) -> bool {
    match value {
        Value::Object(object) => {
            object.contains_key(field) || object.values().any(|value| has_field(value, field))
        }
        _ => false,
    }
}

#[test]
fn services_and_flows_are_shown_as_tables_and_as_json() {
    let cluster = Cluster::new(Topology::Routed, 2);
    let [dst, _] = cluster_ips();
    Cluster::ask(&cluster.pod.ns, dst, 3);
    let table = cluster.waggle(&["services"]);
    for word in ["default/web:http", "10.96.0.10:80", "default/web:dns"] {
        assert!(table.contains(word), "{word} in\n{table}");
    }
    let flows = cluster.waggle(&["flows"]);
    assert!(flows.contains("10.96.0.10:80"), "{flows}");
    let services = cluster.waggle_json(&["services"]);
    assert_eq!(services.as_array().map(Vec::len), Some(4), "two ports, two families: {services}");
    assert!(!cluster.waggle_json(&["flows"]).as_array().expect("a list").is_empty());
}

#[test]
fn explain_says_what_becomes_of_a_packet_and_changes_nothing() {
    let cluster = Cluster::with_flags(Topology::Routed, 2, &["--masquerade=kube-proxy"]);
    let [dst, _] = cluster_ips();
    let source = format!("{}:41000", cluster.pod.v4);
    let report = cluster.waggle_json(&["explain", &source, &dst.to_string()]);
    assert_eq!(report["notes"], json!([]), "the settings of the programs are known");
    let [enters, leaves] = [&report["hops"][0], &report["hops"][1]];
    assert_eq!(enters["interface"], *cluster.pod.host_link, "{report}");
    assert_eq!(enters["verdict"], "rewritten", "{report}");
    assert_eq!(leaves["dst"], enters["becomes"][1], "{report}");
    let flows = cluster.waggle(&["flows"]);
    assert!(!flows.contains(&source), "nothing was inserted: {flows}");

    let text = cluster.waggle(&["explain", &cluster.pod.v4.to_string(), &dst.to_string()]);
    for words in ["default/web:http", "policy: the cluster list is in use", "stands in for it"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let text = cluster.waggle(&["explain", &source, "10.96.0.10:81"]);
    assert!(text.contains("no service has this port"), "{text}");
}

#[test]
fn explain_follows_a_flow_that_is_there_and_backends_counts_it() {
    let cluster = Cluster::new(Topology::Routed, 2);
    let [dst, _] = cluster_ips();
    Cluster::ask(&cluster.pod.ns, dst, 1);
    let flows = cluster.waggle_json(&["flows"]);
    let [client, backend] = ["client", "backend"].map(|it| flows[0][it].as_str().expect("text"));
    let report = cluster.waggle_json(&["explain", client, &dst.to_string()]);
    assert_eq!(report["hops"][0]["becomes"], json!([client, backend]), "{report}");
    assert_eq!(report["hops"][0]["steps"][0]["found"]["set_dst"], json!(backend), "{report}");

    let backends = cluster.waggle_json(&["backends", "--service", "default/web:http"]);
    let backends = backends.as_array().expect("a list");
    assert_eq!(backends.len(), 4, "two servers, two families: {backends:?}");
    for row in backends {
        let is_here = |flow: &&Value| flow["backend"] == row["address"];
        let expected = flows.as_array().expect("a list").iter().filter(is_here).count();
        assert_eq!(row["flows"], json!(expected), "{row}");
    }
}
