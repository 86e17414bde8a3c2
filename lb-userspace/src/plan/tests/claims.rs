//! Several Services claim one frontend.

use super::planner::{Applied, planner};
use crate::model::Service;
use crate::model::fixture::service;

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
