//! What an operator sees: typed maps in bpftool, tables in waggle.

use lb_common::abi::map;
use lb_tests::lab::Topology;
use serde_json::Value;

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

#[test]
fn bpftool_dumps_every_map_with_named_fields() {
    let cluster = Cluster::new(Topology::Routed, 1);
    for dst in cluster_ips() {
        Cluster::ask(&cluster.pod.ns, dst, 1);
    }
    // A ring buffer has no entries to dump.
    for name in map::ALL.into_iter().filter(|name| *name != map::EVENTS) {
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
