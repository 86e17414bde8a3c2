//! Which writes a change makes, in which order, and that it makes no others.

use std::collections::BTreeSet;

use lb_userspace::maps::dump::Ids;
use lb_userspace::maps::fake::Fake;
use lb_userspace::maps::{MapError, Maps, Write};

use crate::harness::{Step, World, gone, put};
use crate::plans::{Plan, key, plan};

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
        Write::PutWorkloadInterface(_) => "put workload interface",
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
    let mut world = World::new();
    world.step(&put(key("web"), web())).expect("maps without faults");
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
        &["put backend", "put slots", "put service", "put name", "put frontend"],
    );
    check(
        &put(key("web"), web().there("10.1.1.4:8080")),
        &["put backend", "put slots", "put service"],
    );
    check(&put(key("web"), web().affinity(60)), &["put service"]);
    check(&put(key("web"), web().leaving("10.1.1.9:8080", true)), &["put backend"]);
    check(&put(key("web"), web().cluster_ip("10.96.0.11:80")), &["put frontend"]);
    check(
        &put(key("web"), plan().cluster_ip("10.96.0.11:80").there("10.1.1.2:8080")),
        &["put slots", "put service", "put frontend", "delete frontend", "free backend"],
    );
    check(
        &gone(key("web")),
        &["delete frontend", "free service", "delete name", "free backend", "free backend"],
    );
    check(&gone(key("unknown")), &[]);
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
