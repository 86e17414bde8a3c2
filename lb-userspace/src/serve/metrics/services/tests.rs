//! Walks in, figures of services out.

use std::time::Duration;

use super::*;
use crate::flows::{Tally, Traffic};

/// Flows, and packets of 100 bytes.
fn traffic(flows: u64, packets: u64) -> Traffic {
    Traffic { flows, packets, bytes: 100 * packets }
}

/// What is over: flows that have begun in all, and packets of those that ended.
fn over(flows: u64, packets: u64) -> Carried {
    Carried { flows, sockets: 0, packets, bytes: 100 * packets }
}

/// A service's id, what was over before the walk, what lives, and what was removed on it.
type Found = (ServiceId, Carried, Traffic, Traffic);

fn walk(services: &[Found]) -> Walk {
    let mut tally = Tally::default();
    tally.services =
        services.iter().map(|&(id, _, live, gone)| (id, Share { live, gone })).collect();
    let carried = services.iter().map(|&(id, over, ..)| (id, over)).collect();
    let (family, duration) = (AddressFamily::V4, Duration::ZERO);
    Walk { family, carried, tally, capacity: 100, duration }
}

fn find(id: ServiceId) -> Option<(String, AddressFamily)> {
    (id < 100).then(|| (format!("shop/web{id}:http/TCP"), AddressFamily::V4))
}

/// `service active flows packets`, of all series.
fn shown(services: &Services) -> Vec<String> {
    let known = services.known();
    let line = |(labels, sums): &([(_, &str); 5], Sums)| {
        assert_eq!(sums.total.bytes, 100 * sums.total.packets);
        let Carried { flows, packets, .. } = sums.total;
        format!("{}:{} {} {flows} {packets}", labels[1].1, labels[2].1, sums.active)
    };
    known.shown().iter().map(line).collect()
}

const NONE: Traffic = Traffic { flows: 0, packets: 0, bytes: 0 };

#[track_caller]
fn check(services: &Services, found: &[Found], expected: &[&str]) {
    services.walked(&walk(found), find);
    assert_eq!(shown(services), expected, "{found:?}");
}

#[test]
fn what_is_over_and_what_lives_add_up_to_what_was_carried() {
    let services = Services::new(10);
    check(&services, &[(1, over(9, 40), traffic(5, 50), NONE)], &["web1:http 5 9 90"]);
    check(&services, &[(1, over(9, 40), traffic(2, 20), traffic(3, 33))], &["web1:http 2 9 93"]);
    check(&services, &[(1, over(12, 73), traffic(5, 40), NONE)], &["web1:http 5 12 113"]);
    check(
        &services,
        &[(1, over(12, 113), NONE, NONE), (2, over(1, 0), traffic(1, 3), NONE)],
        &["web1:http 0 12 113", "web2:http 1 1 3"],
    );
}

#[test]
fn what_ended_during_a_walk_is_made_up_for_by_the_next() {
    let services = Services::new(10);
    check(&services, &[(1, over(2, 0), traffic(2, 50), NONE)], &["web1:http 2 2 50"]);
    // A program removed a flow with 40 packets, after the sums were read and before it was met.
    check(&services, &[(1, over(2, 0), traffic(1, 15), NONE)], &["web1:http 1 2 50"]);
    check(&services, &[(1, over(2, 40), traffic(1, 20), NONE)], &["web1:http 1 2 60"]);
}

#[test]
fn no_figure_goes_back_and_an_eviction_costs_one_walk() {
    let services = Services::new(10);
    check(&services, &[(1, over(2, 0), traffic(2, 50), NONE)], &["web1:http 2 2 50"]);
    check(&services, &[(1, over(2, 0), traffic(1, 10), NONE)], &["web1:http 1 2 50"]);
    check(&services, &[(1, over(2, 0), traffic(1, 20), NONE)], &["web1:http 1 2 50"]);
    check(&services, &[(1, over(2, 0), traffic(1, 27), NONE)], &["web1:http 1 2 57"]);
}

#[test]
fn services_beyond_the_limit_share_one_series() {
    let services = Services::new(1);
    let first = (1, over(1, 1), NONE, NONE);
    let [second, third] = [2, 3].map(|id| (id, over(2, 0), traffic(1, 2), NONE));
    check(&services, &[first, second, third], &["web1:http 0 1 1", ": 2 4 4"]);
    let second = (2, over(3, 0), traffic(2, 9), NONE);
    let third = (3, over(2, 4), NONE, NONE);
    check(&services, &[first, second, third], &["web1:http 0 1 1", ": 2 5 13"]);
}

#[test]
fn a_service_of_the_other_family_is_left_to_its_own_walk() {
    let services = Services::new(10);
    let v6 = |id| find(id).map(|(name, _)| (name, AddressFamily::V6));
    services.walked(&walk(&[(1, over(1, 5), NONE, NONE)]), v6);
    assert!(shown(&services).is_empty());
    let its_own = walk(&[(1, over(1, 5), traffic(1, 3), NONE)]);
    services.walked(&Walk { family: AddressFamily::V6, ..its_own }, v6);
    assert_eq!(shown(&services), ["web1:http 1 1 8"]);
    services.walked(&walk(&[(1, over(1, 5), NONE, NONE)]), v6);
    assert_eq!(shown(&services), ["web1:http 1 1 8"]);
}

#[test]
fn without_a_limit_there_is_nothing_to_see() {
    check(&Services::new(0), &[(1, over(1, 1), traffic(1, 1), NONE)], &[]);
}

#[test]
fn an_id_that_has_another_user_begins_anew() {
    let services = Services::new(10);
    let found = [(1, over(1, 1), NONE, NONE)];
    check(&services, &found, &["web1:http 0 1 1"]);
    services.walked(&walk(&[]), |_| None);
    assert!(shown(&services).is_empty());
    let other = |_| Some(("shop/other:http/TCP".to_owned(), AddressFamily::V4));
    services.walked(&walk(&found), other);
    assert_eq!(shown(&services), ["other:http 0 1 1"]);
}
