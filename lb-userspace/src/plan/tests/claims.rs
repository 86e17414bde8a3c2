//! Several Services claim one frontend.

use super::planner::{Applied, planner};
use crate::model::fixture::{node, service};
use crate::model::{NamespacedName, Outcome, Service};
use crate::store::{Event, Update};

fn with_external_ip(name: &str, cluster_ip: &str, created_s: i64) -> Service {
    let mut service = service(name, cluster_ip);
    service.external_ips.insert("192.0.2.1".parse().unwrap());
    service.created_s = created_s;
    service
}

#[test]
fn the_service_created_first_keeps_the_frontend_and_the_next_one_inherits_it() {
    let mut now = Applied::new(planner());
    now.put(with_external_ip("d/young", "10.96.0.1", 20));
    now.put(with_external_ip("d/middle", "10.96.0.2", 15));
    assert_eq!(now.owner("192.0.2.1"), "d/middle");
    assert_eq!(now.conflicts(), (1, 1));
    assert_eq!(
        now.rejections(),
        [
            "service d/young: d/young/TCP does not get 192.0.2.1:80/TCP: d/middle/TCP has claimed it before"
        ]
    );

    now.put(with_external_ip("d/old", "10.96.0.3", 10));
    assert_eq!(now.owner("192.0.2.1"), "d/old");
    assert_eq!(now.conflicts(), (1, 2));
    assert_eq!(
        now.rejections(),
        [
            "service d/middle: d/middle/TCP does not get 192.0.2.1:80/TCP: d/old/TCP has claimed it before",
            "service d/young: d/young/TCP does not get 192.0.2.1:80/TCP: d/old/TCP has claimed it before",
        ]
    );

    now.delete("d/old");
    assert_eq!(now.owner("192.0.2.1"), "d/middle");
    now.rejections();
    now.put(service("d/middle", "10.96.0.2"));
    assert_eq!(now.owner("192.0.2.1"), "d/young");
    assert!(now.rejections().is_empty());
    assert_eq!(now.conflicts(), (0, 0));
    now.delete("d/young");
    assert_eq!(now.owner("192.0.2.1"), "");
}

#[test]
fn equally_old_claims_are_decided_by_name_in_any_order() {
    let services = [("d/b", "10.96.0.1"), ("d/a", "10.96.0.2"), ("c/z", "10.96.0.3")];
    for rotation in 0..3 {
        let mut services = services;
        services.rotate_left(rotation);
        let mut now = Applied::new(planner());
        for (name, ip) in services {
            now.put(with_external_ip(name, ip, 7));
        }
        assert_eq!(now.owner("192.0.2.1"), "c/z");
    }
}

#[test]
fn a_rejected_frontend_costs_the_service_nothing_else_and_is_told_once() {
    let mut now = Applied::new(planner());
    now.put(with_external_ip("d/a", "10.96.0.1", 1));
    now.put(with_external_ip("d/b", "10.96.0.2", 2));
    assert_eq!(now.owner("10.96.0.2"), "d/b");
    assert_eq!(now.rejections().len(), 1);
    let mut changed = with_external_ip("d/b", "10.96.0.2", 2);
    changed.external_ips.insert("192.0.2.2".parse().unwrap());
    now.put(changed);
    assert_eq!(now.owner("192.0.2.2"), "d/b");
    assert!(now.rejections().is_empty());
}

#[test]
fn an_older_creation_time_takes_a_frontend_over() {
    let mut now = Applied::new(planner());
    now.put(with_external_ip("d/a", "10.96.0.1", 5));
    now.put(with_external_ip("d/b", "10.96.0.2", 6));
    now.put(with_external_ip("d/b", "10.96.0.2", 4));
    assert_eq!(now.owner("192.0.2.1"), "d/b");
}

/// A Service created so long after the others that claims `ip`:`port` as a ClusterIP, NodePort (`N`),
/// LoadBalancer IP or external IP.
fn claiming(kind: &str, created_s: i64) -> Service {
    const CONTESTED: &str = "192.168.0.2";
    let own = format!("10.96.0.{}", created_s + 10);
    let is_cluster_ip = kind == "ClusterIP";
    let cluster_ip = if is_cluster_ip { CONTESTED } else { &own };
    let mut service = service(&format!("d/s{created_s}"), cluster_ip);
    service.created_s = created_s;
    match kind {
        "NodePort" => service.ports[0].node_port = Some(80),
        "LoadBalancer IP" => _ = service.load_balancer_ips.insert(CONTESTED.parse().unwrap()),
        "externalIP" => _ = service.external_ips.insert(CONTESTED.parse().unwrap()),
        _ => assert!(is_cluster_ip, "{kind}"),
    }
    service
}

/// CVE-2020-8554.
#[test]
fn what_the_cluster_gave_a_service_comes_before_what_an_older_one_asks_for() {
    let kinds = ["ClusterIP", "LoadBalancer IP", "NodePort", "externalIP"];
    for (at, better) in kinds.iter().enumerate() {
        for worse in &kinds[at + 1..] {
            let mut now = Applied::new(planner());
            let own = Outcome::Usable(node("a", "192.168.0.2"), vec![]);
            now.apply(Event::Nodes(Update::Apply(NamespacedName::new("", "n1"), own)));
            now.put(claiming(worse, 1));
            now.put(claiming(better, 2));
            assert_eq!(now.owner("192.168.0.2"), "d/s2", "{better} {worse}");
            let reason = format!(
                "service d/s1: d/s1/TCP does not get 192.168.0.2:80/TCP: \
                 d/s2/TCP has it as {better}, which comes before {worse}"
            );
            assert_eq!(now.rejections(), [reason]);
            now.delete("d/s2");
            assert_eq!(now.owner("192.168.0.2"), "d/s1");
        }
    }
}

#[test]
fn an_address_that_a_service_claims_twice_counts_as_the_better_kind() {
    let mut now = Applied::new(planner());
    let mut both = claiming("ClusterIP", 2);
    both.external_ips.insert("192.168.0.2".parse().unwrap());
    now.put(both);
    now.put(claiming("externalIP", 1));
    assert_eq!(now.owner("192.168.0.2"), "d/s2");
    let mut takes_it_back = service("d/s2", "10.96.0.9");
    takes_it_back.external_ips.insert("192.168.0.2".parse().unwrap());
    takes_it_back.created_s = 2;
    now.put(takes_it_back);
    assert_eq!(now.owner("192.168.0.2"), "d/s1");
}
