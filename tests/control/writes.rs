//! Which writes a change makes, in which order, and that it makes no others.

use std::collections::BTreeSet;

use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::fake::Fake;
use lb_userspace::maps::{MapError, Maps, Write};
use lb_userspace::plan::Surroundings;

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, key, plan, surroundings};

/// The name of each write.
fn kinds(writes: &[Write]) -> Vec<&'static str> {
    let kind = |write: &Write| match write {
        Write::PutBackend(..) => "put backend",
        Write::FreeBackend(..) => "free backend",
        Write::PutSlots { .. } => "put slots",
        Write::PutService(..) => "put service",
        Write::FreeService(..) => "free service",
        Write::PutServiceName(..) => "put name",
        Write::DeleteServiceName(..) => "delete name",
        Write::PutFrontend(..) => "put frontend",
        Write::PutAddress(..) => "put address",
        Write::DeleteAddress(_) => "delete address",
        Write::PutSourceRange(..) => "put source range",
        Write::DeleteSourceRange(..) => "delete source range",
        Write::PutClient(..) => "put client",
        Write::DeleteClient(_) => "delete client",
        Write::PutServiceCidrs(..) => "put service CIDRs",
        Write::PutInterface(..) => "put interface",
        Write::DeleteInterface(_) => "delete interface",
        Write::DeleteFrontend(..) => "delete frontend",
    };
    writes.iter().map(kind).collect()
}

fn web() -> Plan {
    plan().cluster_ip("10.96.0.10:80").there("10.1.1.2:8080").there("10.1.1.3:8080")
}

#[track_caller]
fn check(change: &Step, expected: &[&str]) {
    check_from(web(), change, expected);
}

/// The writes that lead from `web` to `change`.
#[track_caller]
fn check_from(web: Plan, change: &Step, expected: &[&str]) {
    let mut world = World::new();
    world.step(&put(key("web"), web)).expect("maps without faults");
    assert_eq!(kinds(&world.writes(change)), expected);
    assert_eq!(kinds(&world.writes(change)), [""; 0], "the second time");
    world.restart();
    assert_eq!(kinds(&world.writes(change)), [""; 0], "after a restart");
}

#[test]
fn a_change_writes_only_what_differs_make_before_break() {
    check(&put(key("web"), web()), &[]);
    check(
        &put(key("new"), plan().cluster_ip("10.96.0.11:80").here("10.1.0.2:8080")),
        &["put backend", "put slots", "put service", "put name", "put frontend", "put address"],
    );
    check(
        &put(key("web"), web().there("10.1.1.4:8080")),
        &["put backend", "put slots", "put service"],
    );
    check(&put(key("web"), web().affinity(60)), &["put service"]);
    check(&put(key("web"), web().leaving("10.1.1.9:8080", true)), &["put backend"]);
    check(&put(key("web"), web().cluster_ip("10.96.0.11:80")), &["put frontend", "put address"]);
    check(&put(key("web"), web().cluster_ip("10.96.0.10:81")), &["put frontend"]);
    check(
        &put(key("web"), plan().cluster_ip("10.96.0.11:80").there("10.1.1.2:8080")),
        &[
            "put slots",
            "put service",
            "put frontend",
            "put address",
            "delete frontend",
            "delete address",
            "free backend",
        ],
    );
    check(
        &gone(key("web")),
        &[
            "delete frontend",
            "delete address",
            "free service",
            "delete name",
            "free backend",
            "free backend",
        ],
    );
    check(&gone(key("unknown")), &[]);
}

/// A service that only one network may use, at one address.
fn guarded() -> Plan {
    plan().guarded("192.0.2.1:80").range("203.0.113.0/25")
}

#[test]
fn source_ranges_come_before_the_frontends_that_need_them_and_go_after() {
    check(
        &put(key("new"), guarded()),
        &["put service", "put name", "put source range", "put frontend", "put address"],
    );
    check_from(guarded(), &put(key("web"), guarded().range("10.0.0.0/8")), &["put source range"]);
    check_from(
        guarded(),
        &put(
            key("web"),
            plan().guarded("192.0.2.1:80").guarded("192.0.2.2:80").range("10.0.0.0/8"),
        ),
        &["put source range", "put frontend", "put address", "delete source range"],
    );
    check_from(
        guarded(),
        &put(key("web"), plan().closed("192.0.2.1:80")),
        &["put frontend", "delete source range"],
    );
    check_from(
        plan().closed("192.0.2.1:80"),
        &put(key("web"), guarded()),
        &["put source range", "put frontend"],
    );
    check_from(
        guarded(),
        &gone(key("web")),
        &[
            "delete frontend",
            "delete address",
            "delete source range",
            "free service",
            "delete name",
        ],
    );
    check_from(
        guarded(),
        &put(key("web"), plan().guarded("192.0.2.1:80").range("203.0.113.9/25")),
        &[],
    );
}

#[test]
fn an_address_is_closed_while_a_frontend_there_is() {
    let (open, shut) = (plan().cluster_ip("10.96.0.10:80"), plan().closed("10.96.0.10:80"));
    let both = || plan().closed("10.96.0.10:80").closed("10.96.0.10:81");
    check_from(open.clone(), &put(key("web"), shut.clone()), &["put frontend", "put address"]);
    check_from(shut.clone(), &put(key("web"), open), &["put frontend", "put address"]);
    check_from(shut.clone(), &put(key("web"), both()), &["put frontend"]);
    check_from(both(), &put(key("web"), shut.clone()), &["delete frontend"]);
    let mixed = plan().closed("10.96.0.10:80").cluster_ip("10.96.0.10:81");
    check_from(mixed.clone(), &put(key("web"), shut), &["delete frontend"]);
    let rest = plan().cluster_ip("10.96.0.10:81");
    check_from(mixed, &put(key("web"), rest), &["delete frontend", "put address"]);
}

/// The positions of the writes that `is_meant`.
fn positions(writes: &[Write], is_meant: impl Fn(&Write) -> bool) -> Vec<usize> {
    let numbered = writes.iter().enumerate();
    numbered.filter(|(_, write)| is_meant(write)).map(|(at, _)| at).collect()
}

/// A port that is about to come must not be rejected at an address that is closed already.
#[test]
fn an_address_is_shown_when_all_frontends_of_the_batch_are_put() {
    let two = || plan().closed("10.96.0.10:80").closed("10.96.0.10:443");
    let batch = |more: &[(&str, Plan)]| {
        let services = more.iter().map(|(name, plan)| (key(name), Some(plan.0.clone())));
        Step::Services(services.collect())
    };
    let shared = || plan().closed("10.96.0.10:8443").cluster_ip("10.96.0.12:80");
    let change = [("b", shared()), ("c", plan().closed("10.96.0.11:80"))];
    for (before, after, addresses) in [
        (vec![], vec![("a", two())], 1),
        (vec![], [vec![("a", two())], change.to_vec()].concat(), 3),
        (vec![("a", plan().cluster_ip("10.96.0.10:81"))], change.to_vec(), 3),
        (vec![("a", two())], vec![("a", plan()), ("b", shared())], 1),
    ] {
        let mut world = World::new();
        world.step(&batch(&before)).expect("maps without faults");
        let writes = world.writes(&batch(&after));
        let frontends = positions(&writes, |it| matches!(it, Write::PutFrontend(..)));
        let shown = positions(&writes, |it| matches!(it, Write::PutAddress(..)));
        assert_eq!(shown.len(), addresses, "{writes:?}");
        assert!(frontends.last() < shown.first(), "{writes:?}");
    }
}

#[test]
fn services_at_one_address_write_it_for_each_other_only_when_it_changes() {
    let mut world = World::new();
    let open = |port: u16| plan().cluster_ip(&format!("10.96.0.10:{port}"));
    world.step(&put(key("a"), open(80))).expect("maps without faults");
    let shut = world.writes(&put(key("b"), plan().closed("10.96.0.10:81")));
    assert_eq!(kinds(&shut), ["put service", "put name", "put frontend", "put address"]);
    assert_eq!(world.writes(&put(key("a"), open(80))), []);
    let gone_b = world.writes(&gone(key("b")));
    assert_eq!(kinds(&gone_b), ["delete frontend", "put address", "free service", "delete name"]);
    let gone_a = world.writes(&gone(key("a")));
    assert_eq!(
        kinds(&gone_a),
        ["delete frontend", "delete address", "free service", "delete name"]
    );
}

#[test]
fn surroundings_are_written_as_differences() {
    let mut world = World::new();
    let (pod, node) = ("10.244.0.0/16", "192.168.0.1/32");
    let mut check = |want: Surroundings, expected: &[&str]| {
        let step = Step::Surroundings(want);
        assert_eq!(kinds(&world.writes(&step)), expected);
        assert_eq!(kinds(&world.writes(&step)), [""; 0], "the second time");
        world.restart();
        assert_eq!(kinds(&world.writes(&step)), [""; 0], "after a restart");
    };
    check(Surroundings::default(), &[]);
    check(
        surroundings(&[pod], &[node], &["10.96.0.0/16", "fd96::/108"], &[7]),
        &["put client", "put client", "put interface", "put service CIDRs", "put service CIDRs"],
    );
    let cidrs = ["10.96.0.0/16", "fd96::/108"];
    check(surroundings(&[node], &[pod], &cidrs, &[7]), &["put client", "put client"]);
    check(surroundings(&["10.244.9.9/16"], &[node], &cidrs, &[7]), &["put client", "put client"]);
    check(
        surroundings(&["10.0.0.0/8"], &[node], &cidrs[1..], &[8]),
        &["put client", "delete client", "put interface", "delete interface", "put service CIDRs"],
    );
    check(
        Surroundings::default(),
        &["delete client", "delete client", "delete interface", "put service CIDRs"],
    );
}

#[test]
fn the_state_of_a_backend_changes_in_one_write_under_its_id_and_generation() {
    let mut world = World::new();
    let step = |serving| put(key("web"), web().leaving("10.1.1.4:8080", serving));
    let before = world.writes(&step(true));
    let after = world.writes(&step(false));
    let [Write::PutBackend(family, id, entry)] = after.as_slice() else { panic!("{after:?}") };
    let mut serving = *entry;
    serving.serving = true;
    assert!(before.contains(&Write::PutBackend(*family, *id, serving)), "{before:?}");
}

#[test]
fn slots_that_were_read_a_moment_ago_are_not_written() {
    let mut world = World::new();
    let mut slots = BTreeSet::new();
    for pods in 1..=6 {
        let plan = (0..pods).fold(plan(), |plan, pod| plan.there(&format!("10.1.1.{pod}:80")));
        // No time passes: what the service has just left must rest.
        world.maps.take_log();
        let applied = world.tables.apply(&mut world.maps, &key("web"), Some(&plan.0), world.now);
        applied.expect("maps without faults");
        for write in world.maps.take_log() {
            let Write::PutSlots { offset, backends } = write else { continue };
            assert!((offset..).zip(&backends).all(|(slot, _)| slots.insert(slot)), "{offset}");
        }
    }
}

/// Maps that refuse to put frontends, before or after they have done so.
struct NoFrontends<'a> {
    maps: &'a mut Fake,
    happens: bool,
}

impl Maps for NoFrontends<'_> {
    fn apply(&mut self, write: &Write) -> Result<(), MapError> {
        let refused = matches!(write, Write::PutFrontend(..));
        if !refused || self.happens {
            self.maps.apply(write)?;
        }
        let source = || std::io::Error::other("on purpose");
        if refused {
            Err(MapError::Kernel { map: "FRONTENDS_V4", source: source() })
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_frontend_whose_taking_over_failed_does_not_outlive_its_old_service() {
    let new = plan().cluster_ip("10.96.0.10:80");
    for happens in [false, true] {
        let mut world = World::new();
        world.step(&put(key("old"), web())).expect("maps without faults");
        let World { maps, tables, now } = &mut world;
        let mut maps = NoFrontends { maps, happens };
        tables
            .apply(&mut maps, &key("new"), Some(&new.0), *now)
            .expect_err("frontends are refused");
        world.step(&gone(key("old"))).expect("maps without faults");
        world.step(&put(key("new"), new.clone())).expect("maps without faults");
        let expected = "FRONTENDS_V4 10.96.0.10:80/TCP service=demo/new:http/TCP\n";
        assert!(world.dump(Ids::Masked).starts_with(expected), "happens: {happens}");
    }
}
