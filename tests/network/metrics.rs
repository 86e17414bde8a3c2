//! Metrics: parsers take them, and they are true.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::abi::map;
use lb_tests::lab::{Topology, wait_for};
use lb_tests::traffic::UdpClient;
use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{MetricsExposition, PrometheusType, PrometheusValue};

use crate::cluster::{Cluster, PATIENCE, cluster_ips, output, slices, web};
use crate::health::{ask, get};

/// A walk through the flows comes every quarter of a minute.
const WALK: Duration = Duration::from_mins(1);

/// Where they are.
const ADDRESS: &str = "127.0.0.1:10249";

/// The header with which Prometheus asks for its newer format.
const OPEN_METRICS: &str =
    "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

/// What a parser of Prometheus' text makes of the metrics.
pub(crate) struct Metrics(MetricsExposition<PrometheusType, PrometheusValue>);

impl Metrics {
    /// The value of the one sample of this name that has these labels; `None` if there is none.
    #[track_caller]
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.0.families.get(name)?.iter_samples().filter(|sample| {
            let set = sample.get_labelset().expect("labels");
            let set: BTreeMap<&str, &str> = set.iter().map(|(k, v)| (&**k, &**v)).collect();
            labels.iter().all(|(label, value)| set.get(label) == Some(value))
        });
        let value = match &found.next()?.value {
            PrometheusValue::Counter(counter) => counter.value.as_f64(),
            PrometheusValue::Gauge(value) => value.as_f64(),
            other => panic!("{name} is {other:?}"),
        };
        assert!(found.next().is_none(), "{name} {labels:?} is there twice");
        Some(value)
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name} {labels:?}"))
    }
}

#[track_caller]
pub(crate) fn scrape(cluster: &Cluster) -> Metrics {
    let answer = get(&cluster.node.ns, ADDRESS, "/metrics").expect("metrics");
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body).expect("UTF-8");
    Metrics(parse_prometheus(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}")))
}

/// Names of `kube-proxy-behaviour.md` §6, and of ours, as the parser has to see them.
#[test]
fn parsers_take_the_metrics_and_see_every_name_with_its_type() {
    use PrometheusType::{Counter, Gauge, Histogram};
    let cluster = Cluster::new(Topology::Routed, 1);
    let metrics = scrape(&cluster);
    for (name, expected) in [
        ("kubeproxy_sync_proxy_rules_duration_seconds", Histogram),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", Gauge),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", Gauge),
        ("kubeproxy_network_programming_duration_seconds", Histogram),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", Gauge),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", Counter),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", Gauge),
        ("kubeproxy_sync_proxy_rules_service_changes_total", Counter),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", Gauge),
        ("kubeproxy_proxy_healthz_total", Counter),
        ("kubeproxy_proxy_livez_total", Counter),
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds", Histogram),
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", Counter),
        ("process_cpu_seconds_total", Counter),
        ("process_resident_memory_bytes", Gauge),
        ("waggle_build_info", Gauge),
        ("waggle_datapath_events_total", Counter),
        ("waggle_map_entries", Gauge),
        ("waggle_map_capacity", Gauge),
        ("waggle_unwritten_services", Gauge),
        ("waggle_reconcile_passes_total", Counter),
        ("waggle_drift_repaired_total", Counter),
        ("waggle_interface_attached", Gauge),
    ] {
        let found = metrics.0.families.get(name).map(|family| family.family_type.clone());
        assert_eq!(found, Some(expected), "{name}");
    }
    let label = [("interface", "veth-web1")];
    assert_eq!(metrics.value("waggle_interface_attached", &label).to_string(), "1");
    let open = ask(&cluster.node.ns, ADDRESS, "/metrics", OPEN_METRICS).expect("metrics");
    assert!(open.headers["content-type"].starts_with("application/openmetrics-text"), "{open:?}");
    let text = String::from_utf8(open.body).expect("UTF-8");
    parse_openmetrics(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
}

/// How many entries bpftool finds in a hash map.
fn counted(cluster: &Cluster, map: &str) -> usize {
    let pin = cluster.bpffs.path().join("waggle/v1/maps").join(map);
    let pin = pin.to_str().expect("UTF-8");
    let text = output("bpftool", &["--json", "map", "dump", "pinned", pin]);
    let dump: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    dump.as_array().expect("a list").len()
}

#[test]
fn the_metrics_count_what_bpftool_counts() {
    let cluster = Cluster::new(Topology::Routed, 2);
    let [v4, v6] = slices("default/web", &cluster.servers);
    let service = web()
        .affinity(10_800)
        .load_balancer_ip("198.51.100.10")
        .load_balancer_ip("2001:db8:51::10")
        .source_range("10.0.0.0/8")
        .source_range("fd00::/16");
    cluster.manifests.write("web.yaml", &[service.object(), v4.object(), v6.object()]);
    for mut dst in cluster_ips() {
        wait_for("a client is remembered", PATIENCE, || {
            Cluster::ask(&cluster.pod.ns, dst, 1);
            let affinity = if dst.is_ipv4() { map::AFFINITY_V4 } else { map::AFFINITY_V6 };
            if counted(&cluster, affinity) > 0 { Ok(()) } else { Err("not yet") }
        });
        Cluster::ask(&cluster.pod.ns, dst, 3);
        dst.set_port(53);
        UdpClient::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap().ask().expect("an answer");
    }
    let hash_maps = [
        map::FRONTENDS_V4,
        map::FRONTENDS_V6,
        map::ADDRESSES_V4,
        map::ADDRESSES_V6,
        map::SERVICE_NAMES,
        map::FLOWS_V4,
        map::FLOWS_V6,
        map::AFFINITY_V4,
        map::AFFINITY_V6,
        map::CLIENTS_V4,
        map::CLIENTS_V6,
        map::SOURCE_RANGES_V4,
        map::SOURCE_RANGES_V6,
        map::FRAGMENTS_V4,
        map::FRAGMENTS_V6,
        map::INTERFACES,
    ];
    for map in hash_maps {
        let metrics = wait_for(&format!("{map} is counted alike"), WALK, || {
            let (metrics, counted) = (scrape(&cluster), counted(&cluster, map));
            let shown = metrics.value("waggle_map_entries", &[("map", map)]);
            if shown.to_string() == counted.to_string() {
                Ok(metrics)
            } else {
                Err(format!("{shown} are shown, {counted} are there"))
            }
        });
        assert!(metrics.value("waggle_map_capacity", &[("map", map)]) > 1.0);
    }
    let dump = cluster.waggle_json(&["dump"]);
    let rows = |table: &str| dump[table].as_array().expect("rows").len();
    let metrics = scrape(&cluster);
    let shown = |map| metrics.value("waggle_map_entries", &[("map", map)]);
    assert_eq!(shown(map::SERVICES).to_string(), rows("services").to_string());
    let backends = shown(map::BACKENDS_V4) + shown(map::BACKENDS_V6);
    assert_eq!(backends.to_string(), rows("backends").to_string());
}

/// A figure of `default/web`; `None` while there is none.
fn carried(metrics: &Metrics, what: &str, protocol: &str, family: &str) -> Option<u64> {
    let labels = [
        ("namespace", "default"),
        ("service", "web"),
        ("protocol", protocol),
        ("ip_family", family),
    ];
    let value = metrics.find(&format!("waggle_service_{what}"), &labels)?;
    Some(value.to_string().parse().expect("a count"))
}

#[test]
fn what_a_service_has_carried_is_what_its_flows_have_counted() {
    let cluster = Cluster::new(Topology::Routed, 2);
    for mut dst in cluster_ips() {
        Cluster::ask(&cluster.pod.ns, dst, 5);
        dst.set_port(53);
        let client = UdpClient::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
        for _ in 0..3 {
            client.ask().expect("an answer");
        }
    }
    let dump = cluster.waggle_json(&["dump"]);
    for (family, map) in [("IPv4", map::FLOWS_V4), ("IPv6", map::FLOWS_V6)] {
        let rows = dump["flows"].as_array().expect("rows").iter();
        let rows = rows.filter(|row| row["map"] == map && row["protocol"] == "UDP");
        let bytes: u64 = rows.map(|row| row["bytes"].as_u64().expect("bytes")).sum();
        wait_for("the flows are counted", WALK, || {
            let metrics = scrape(&cluster);
            let counted = |what| carried(&metrics, what, "UDP", family);
            let found =
                ["active_flows", "flows_total", "packets_total", "bytes_total"].map(counted);
            // Three requests and three answers.
            let expected = [1, 1, 6, bytes].map(Some);
            // Five connections and more, each of several packets, some of them gone by now.
            let counted = |what| carried(&metrics, what, "TCP", family).unwrap_or_default();
            let tcp = (counted("flows_total"), counted("packets_total"));
            let is_right = found == expected && tcp.0 >= 5 && tcp.1 >= 8 * tcp.0;
            if is_right { Ok(()) } else { Err(format!("{found:?}, not {expected:?}; {tcp:?}")) }
        });
    }
}
