//! What is shown, under which names.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;

use super::*;
use crate::flows::Tally;
use crate::maps::PerFamily;
use crate::maps::dump::CounterRow;
use crate::reconcile::Stranded;
use crate::store::Changes;
use crate::tables::Usage;

fn figures() -> Figures {
    let maps = vec![MapUsage { map: "SLOTS", entries: 7, capacity: 100 }];
    Figures {
        rejected: [("service", 2)].into(),
        contested: 3,
        usage: Usage { services: 4, backends: 5, maps },
        unwritten: 6,
        stranded: PerFamily::new(|_| Stranded { internal: 1, external: 2 }),
    }
}

fn text(metrics: &Metrics) -> String {
    let mut root = metrics.registry();
    let registry = root.sub_registry_with_prefix("waggle");
    let rows = || Ok(vec![CounterRow { name: "new_flow", value: 9 }]);
    registry.register_collector(Box::new(DatapathEvents(rows)));
    let counted = || Ok(vec![MapUsage { map: "AFFINITY_V4", entries: 8, capacity: 90 }]);
    registry.register_collector(Box::new(metrics.map_entries(counted)));
    let mut text = String::new();
    encode(&mut text, &root).unwrap();
    text
}

#[track_caller]
fn check(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} in\n{text}");
    }
}

#[test]
fn figures_and_counters_are_shown_under_their_names() {
    let metrics = Metrics::new(10);
    metrics.show(&figures());
    check(
        &text(&metrics),
        &[
            "# TYPE waggle_rejected_objects gauge",
            "waggle_rejected_objects{kind=\"service\"} 2",
            "waggle_address_conflicts 3",
            "waggle_services 4",
            "waggle_backends 5",
            "waggle_map_entries{map=\"SLOTS\"} 7",
            "waggle_map_capacity{map=\"SLOTS\"} 100",
            "waggle_map_entries{map=\"AFFINITY_V4\"} 8",
            "waggle_map_capacity{map=\"AFFINITY_V4\"} 90",
            "waggle_unwritten_services 6",
            "# TYPE waggle_datapath_events counter",
            "waggle_datapath_events_total{event=\"new_flow\"} 9",
            "# EOF",
        ],
    );
}

#[test]
fn walks_through_flows_show_what_is_there_and_add_up_what_is_gone() {
    let metrics = Metrics::new(10);
    let mut tally = Tally::default();
    tally.entries = [(Stage::Open, 6), (Stage::New, 1)].into();
    (tally.removed, tally.ended, tally.healed) = (3, 2, 4);
    let mut walk = Walk {
        family: AddressFamily::V6,
        carried: BTreeMap::new(),
        tally,
        capacity: 100,
        duration: Duration::from_millis(1500),
    };
    metrics.show_walk(&walk);
    walk.tally.entries.remove(&Stage::New);
    metrics.show_walk(&walk);
    check(
        &text(&metrics),
        &[
            "waggle_flow_entries{family=\"IPv6\",state=\"open\"} 6",
            "waggle_flow_entries{family=\"IPv6\",state=\"new\"} 0",
            "waggle_flow_entries_removed_total{family=\"IPv6\"} 6",
            "waggle_flow_entries_healed_total{family=\"IPv6\"} 8",
            "waggle_flows_ended_total{family=\"IPv6\"} 4",
            "waggle_flow_walk_seconds{family=\"IPv6\"} 1.5",
            "waggle_map_entries{map=\"FLOWS_V6\"} 10",
            "waggle_map_capacity{map=\"FLOWS_V6\"} 100",
        ],
    );
}

#[test]
fn a_kind_with_which_nothing_is_wrong_any_more_is_not_shown() {
    let metrics = Metrics::new(10);
    metrics.show(&figures());
    metrics.show(&Figures { rejected: [("node", 1)].into(), ..figures() });
    let text = text(&metrics);
    check(&text, &["waggle_rejected_objects{kind=\"node\"} 1"]);
    assert!(!text.contains("kind=\"service\""), "{text}");
}

/// `kube-proxy-behaviour.md` §6, but for what depends on the mode.
#[test]
fn what_kube_proxy_shows_in_every_mode_is_shown_from_the_start() {
    let text = text(&Metrics::new(10));
    for (name, kind, labels) in [
        ("sync_proxy_rules_duration_seconds", "histogram", "ip_family=\"IPv4\""),
        ("sync_proxy_rules_last_timestamp_seconds", "gauge", "ip_family=\"IPv6\""),
        ("sync_proxy_rules_last_queued_timestamp_seconds", "gauge", "ip_family=\"IPv4\""),
        ("network_programming_duration_seconds", "histogram", "ip_family=\"IPv6\""),
        ("sync_proxy_rules_endpoint_changes_pending", "gauge", ""),
        ("sync_proxy_rules_endpoint_changes", "counter", ""),
        ("sync_proxy_rules_service_changes_pending", "gauge", ""),
        ("sync_proxy_rules_service_changes", "counter", ""),
        (
            "sync_proxy_rules_no_local_endpoints_total",
            "gauge",
            "traffic_policy=\"internal\",ip_family=\"IPv4\"",
        ),
        (
            "sync_proxy_rules_no_local_endpoints_total",
            "gauge",
            "traffic_policy=\"external\",ip_family=\"IPv6\"",
        ),
        ("proxy_healthz", "counter", "code=\"200\""),
        ("proxy_healthz", "counter", "code=\"503\""),
        ("proxy_livez", "counter", "code=\"200\""),
        ("proxy_livez", "counter", "code=\"503\""),
        ("conntrack_reconciler_sync_duration_seconds", "histogram", "ip_family=\"IPv4\""),
        ("conntrack_reconciler_deleted_entries", "counter", "ip_family=\"IPv4\""),
    ] {
        let sample = match (kind, labels) {
            ("histogram", _) => format!("kubeproxy_{name}_count{{{labels}}} 0"),
            ("counter", "") => format!("kubeproxy_{name}_total 0"),
            ("counter", _) => format!("kubeproxy_{name}_total{{{labels}}} 0"),
            (_, "") => format!("kubeproxy_{name} 0"),
            (..) => format!("kubeproxy_{name}{{{labels}}} 0"),
        };
        let sample = sample.as_str();
        let found = text.lines().any(|line| line == sample || line == format!("{sample}.0"));
        assert!(found, "{sample} in\n{text}");
        check(&text, &[&format!("# TYPE kubeproxy_{name} {kind}")]);
    }
}

#[test]
fn the_buckets_are_those_of_kube_proxy() {
    let text = text(&Metrics::new(10));
    let bounds = |name: &str| {
        let begin = format!("kubeproxy_{name}_bucket{{le=\"");
        let lines = text.lines().filter(|line| line.contains("ip_family=\"IPv4\""));
        let bounds = lines.filter_map(|line| line.strip_prefix(&begin)?.split('"').next());
        bounds.map(|bound| bound.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let sync = bounds("sync_proxy_rules_duration_seconds");
    assert_eq!((sync.len(), sync[0], sync[14]), (16, 0.001, 16.384));
    let programming = bounds("network_programming_duration_seconds");
    assert_eq!(programming[..4], [0.25, 0.5, 1.0, 2.0]);
    assert_eq!(programming[60..64], [59.0, 60.0, 65.0, 70.0]);
    assert_eq!(
        programming[72..],
        [115.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, f64::INFINITY]
    );
}

#[test]
fn changes_are_pending_until_a_pass_and_counted_for_ever() {
    let metrics = Metrics::new(10);
    let proxy = &metrics.kube_proxy;
    let time = Timestamp::from_second(7).unwrap();
    proxy.changed(&Changes { services: 2, slices: 3, ..Changes::default() });
    proxy.queued(time);
    check(
        &text(&metrics),
        &[
            "kubeproxy_sync_proxy_rules_service_changes_pending 2",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 3",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 7.0",
        ],
    );
    metrics.passed(Duration::from_millis(3), true);
    proxy.updated(AddressFamily::V6, time);
    proxy.programmed(AddressFamily::V6, Duration::from_millis(600));
    check(
        &text(&metrics),
        &[
            "kubeproxy_sync_proxy_rules_service_changes_pending 0",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
            "kubeproxy_sync_proxy_rules_service_changes_total 2",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 3",
            "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 7.0",
            "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv6\"} 0.6",
            "waggle_reconcile_passes_total{result=\"done\"} 1",
        ],
    );
}

#[test]
fn interfaces_that_are_gone_are_not_shown() {
    let metrics = Metrics::new(10);
    metrics.show_interfaces([("eth0", true), ("veth1", true)].into_iter(), 0);
    metrics.show_interfaces([("eth0", false)].into_iter(), 2);
    let text = text(&metrics);
    check(
        &text,
        &[
            "waggle_interface_attached{interface=\"eth0\"} 0",
            "waggle_drift_repaired_total{of=\"attachment\"} 2",
        ],
    );
    assert!(!text.contains("veth1"), "{text}");
}
