//! Metrics: parsers take them, and they are true.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::abi::map;
use lb_tests::lab::{Topology, wait_for};
use lb_tests::traffic::UdpClient;
use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{MetricsExposition, PrometheusType, PrometheusValue};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, cluster_ips, output, slices, web};
use crate::health::{ask, get};

/// Whether the kernel counts how long programs run.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

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

    /// The sum of all samples of a counter.
    fn sum(&self, name: &str) -> f64 {
        let Some(family) = self.0.families.get(name) else { return 0.0 };
        let value = |value: &PrometheusValue| match value {
            PrometheusValue::Counter(counter) => counter.value.as_f64(),
            other => panic!("{name} is {other:?}"),
        };
        family.iter_samples().map(|sample| value(&sample.value)).sum()
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name} {labels:?}"))
    }
}

#[track_caller]
pub(crate) fn scrape(cluster: &Cluster) -> Metrics {
    try_scrape(cluster).expect("metrics")
}

/// `None` while no agent answers.
#[track_caller]
fn try_scrape(cluster: &Cluster) -> Option<Metrics> {
    let answer = get(&cluster.node.ns, ADDRESS, "/metrics").ok()?;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let parsed = parse_prometheus(&text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
    Some(Metrics(parsed))
}

/// Names of `kube-proxy-behaviour.md` §6, and of ours, as the parser has to see them: all there are.
const NAMES: [(&str, PrometheusType); 43] = {
    use PrometheusType::{Counter, Gauge, Histogram};
    [
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
        ("process_open_fds", Gauge),
        ("process_resident_memory_bytes", Gauge),
        ("process_virtual_memory_bytes", Gauge),
        ("waggle_address_conflicts", Gauge),
        ("waggle_backends", Gauge),
        ("waggle_build_info", Gauge),
        ("waggle_datapath_events_total", Counter),
        ("waggle_drift_repaired_total", Counter),
        ("waggle_flow_entries", Gauge),
        ("waggle_flow_entries_healed_total", Counter),
        ("waggle_flow_entries_removed_total", Counter),
        ("waggle_flow_walk_seconds", Gauge),
        ("waggle_flows_ended_total", Counter),
        ("waggle_interface_attached", Gauge),
        ("waggle_map_capacity", Gauge),
        ("waggle_map_entries", Gauge),
        ("waggle_program_run_time_seconds_total", Counter),
        ("waggle_program_runs_total", Counter),
        ("waggle_reconcile_passes_total", Counter),
        ("waggle_rejected_objects", Gauge),
        ("waggle_servers_not_listening", Gauge),
        ("waggle_service_active_flows", Gauge),
        ("waggle_service_bytes_total", Counter),
        ("waggle_service_flows_total", Counter),
        ("waggle_service_packets_total", Counter),
        ("waggle_service_sockets_total", Counter),
        ("waggle_services", Gauge),
        ("waggle_sockets_destroyed_total", Counter),
        ("waggle_unwritten_services", Gauge),
    ]
};

#[test]
fn parsers_take_the_metrics_and_see_every_name_with_its_type() {
    let cluster = Cluster::new(Topology::Routed, 1);
    // An object that is rejected, and flows that a walk has met.
    cluster.manifests.write_text("bad.yaml", "kind: Service\nmetadata: {name: Bad_}\n");
    wait_for("every metric is there", WALK, || {
        let families = scrape(&cluster).0.families;
        let found = |name: &str| families.get(name).map(|family| family.family_type.clone());
        // How long programs run is there while the kernel counts it, which costs every program.
        let is_optional = |name: &str| name.starts_with("waggle_program_run");
        let is_wrong = |(name, expected): &&(&str, PrometheusType)| {
            found(name).map_or(!is_optional(name), |found| found != *expected)
        };
        let unknown = families.keys().filter(|name| NAMES.iter().all(|(known, _)| known != name));
        let unknown: Vec<_> = unknown.collect();
        let wrong: Vec<_> = NAMES.iter().filter(is_wrong).collect();
        if wrong.is_empty() && unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("{wrong:?}, {unknown:?}"))
        }
    });
    let metrics = scrape(&cluster);
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
    let dump: Value = serde_json::from_str(&text).expect("JSON");
    dump.as_array().expect("a list").len()
}

/// The hash maps and tries, whose entries can be counted.
const HASH_MAPS: [&str; 23] = [
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
    map::SOCKETS_V4,
    map::SOCKETS_V6,
    map::SERVERS_V4,
    map::SERVERS_V6,
    map::RESETS_V4,
    map::RESETS_V6,
    map::EXEMPT,
    map::INTERFACES,
];

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
    for map in HASH_MAPS {
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

const FIGURES: [&str; 4] = ["active_flows", "flows_total", "packets_total", "bytes_total"];

#[test]
fn what_a_service_has_carried_is_what_its_flows_have_counted() {
    let mut cluster = Cluster::new(Topology::Routed, 2);
    for mut dst in cluster_ips() {
        Cluster::ask(&cluster.pod.ns, dst, 5);
        dst.set_port(53);
        let client = UdpClient::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
        for _ in 0..3 {
            client.ask().expect("an answer");
        }
    }
    check_carried(&cluster);
    // A new agent knows what the last one knew.
    cluster.agent.restart(&cluster.node.ns);
    check_carried(&cluster);
}

#[test]
fn what_flows_carried_stays_when_the_agent_removes_them() {
    let flags = ["--conntrack-udp-timeout=1s", "--conntrack-udp-timeout-stream=1s"];
    let mut cluster = Cluster::with_flags(Topology::Routed, 1, &flags);
    let [mut dst, _] = cluster_ips();
    dst.set_port(53);
    for _ in 0..5 {
        let client = UdpClient::open(&cluster.pod.ns, dst, None, PATIENCE).unwrap();
        client.ask().expect("an answer");
    }
    let has_gone = |metrics: &Metrics| {
        let found = FIGURES.map(|what| carried(metrics, what, "UDP", "IPv4"));
        let [active, flows, packets, bytes] = found.map(Option::unwrap_or_default);
        let is_right = (active, flows, packets) == (0, 5, 10) && bytes > 10 * 28;
        if is_right { Ok(()) } else { Err(format!("{found:?}")) }
    };
    wait_for("the flows have gone, their figures have not", WALK, || has_gone(&scrape(&cluster)));
    cluster.agent.restart(&cluster.node.ns);
    wait_for("a new agent knows of them", WALK, || has_gone(&try_scrape(&cluster).ok_or("none")?));
}

/// Waits until the figures are those of the maps: per service, what is over and what its entries count.
#[track_caller]
fn check_carried(cluster: &Cluster) {
    for (family, map) in [("IPv4", map::FLOWS_V4), ("IPv6", map::FLOWS_V6)] {
        for protocol in ["UDP", "TCP"] {
            wait_for("the flows are counted", WALK, || {
                let metrics = try_scrape(cluster).ok_or("no agent")?;
                let found = FIGURES.map(|what| carried(&metrics, what, protocol, family));
                let expected = held(cluster, map, protocol, family).map(Some);
                if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
            });
        }
        let [active, flows, packets, _] = held(cluster, map, "UDP", family);
        // Three requests and three answers.
        assert_eq!((active, flows, packets), (1, 1, 6));
        // Five connections and more, each of several packets.
        let [_, flows, packets, _] = held(cluster, map, "TCP", family);
        assert!(flows >= 5 && packets >= 8 * flows, "{flows} {packets}");
    }
}

/// The same of the TCP or UDP port of `default/web`, from the maps.
fn held(cluster: &Cluster, map: &str, protocol: &str, family: &str) -> [u64; 4] {
    let dump = cluster.waggle_json(&["dump"]);
    let rows = |table: &str| dump[table].as_array().expect("rows").clone();
    let number = |row: &Value, field: &str| row[field].as_u64().expect("a number");
    let is_ours = |row: &&Value| {
        let name = row["name"].as_str().unwrap_or_default();
        row["family"] == family && name.starts_with("default/web:") && name.ends_with(protocol)
    };
    let services = rows("services");
    let id = number(services.iter().find(is_ours).expect("the service"), "id");
    let over = rows("carried").into_iter().find(|row| number(row, "id") == id).expect("a row");
    let live = rows("flows");
    let live: Vec<_> =
        live.iter().filter(|row| row["map"] == map && number(row, "service") == id).collect();
    let sum = |field: &str| live.iter().map(|row| number(row, field)).sum::<u64>();
    let active = live.iter().filter(|row| row["reply"] == false).count();
    [
        u64::try_from(active).expect("few"),
        number(&over, "flows"),
        number(&over, "packets") + sum("packets"),
        number(&over, "bytes") + sum("bytes"),
    ]
}

#[test]
fn flows_of_all_services_are_the_new_flows_that_the_programs_count() {
    let cluster = Cluster::new(Topology::Routed, 2);
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 5);
    wait_for("all flows are counted", WALK, || {
        let metrics = scrape(&cluster);
        let all = metrics.sum("waggle_service_flows_total");
        let new = metrics.value("waggle_datapath_events_total", &[("event", "new_flow")]);
        if (all - new).abs() < 0.5 && all > 4.0 { Ok(()) } else { Err(format!("{all} of {new}")) }
    });
}

#[test]
fn connections_of_the_nodes_own_processes_count_as_sockets_of_the_service() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let [dst, _] = cluster_ips();
    Cluster::ask(&cluster.node.ns, dst, 3);
    wait_for("they are counted", WALK, || {
        let found = carried(&scrape(&cluster), "sockets_total", "TCP", "IPv4");
        if found == Some(3) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn how_long_programs_run_is_shown_while_the_kernel_counts_it() {
    let cluster = Cluster::new(Topology::Routed, 1);
    let was = std::fs::read_to_string(STATS).expect("read the sysctl");
    std::fs::write(STATS, "1").expect("let the kernel count");
    Cluster::ask(&cluster.pod.ns, cluster_ips()[0], 3);
    Cluster::ask(&cluster.node.ns, cluster_ips()[0], 3);
    let metrics = scrape(&cluster);
    std::fs::write(STATS, was).expect("put the sysctl back");
    for program in ["lb_tc_ingress", "lb_tc_egress", "lb_connect4"] {
        let label = [("program", program)];
        let runs = metrics.value("waggle_program_runs_total", &label);
        let time = metrics.value("waggle_program_run_time_seconds_total", &label);
        assert!(runs >= 3.0 && time > 0.0 && time < runs, "{program}: {runs} in {time} s");
    }
}
