//! Watches that end, and lists that begin anew.

use lb_tests::apiserver::{Gone, Trouble};
use serde_json::{Value, json};

use crate::world::{World, endpoints, other, web, web_served_by};

#[test]
fn what_changes_while_the_watch_is_disconnected_is_in_the_maps() {
    let mut world = World::with_web();
    world.server().apply(&other("old", 1));
    world.until_maps_are(&format!("{}\n10.96.1.1:53/TCP default/old/TCP:", web_served_by(&[2, 3])));
    world.disconnect_into(Trouble::Pause);
    change_everything(&world);
    world.server().trouble(Trouble::None);
    world.until_maps_are(&everything_changed());
}

/// As [`World::with_web`] with `default/old`; then `old` goes, `new` comes and `web` changes.
fn change_everything(world: &World) {
    world.server().delete("services", "default/old");
    world.server().apply(&other("new", 2));
    world.server().apply(&web().port("more", 81, lb_tests::objects::Protocol::Tcp));
    world.server().apply(&endpoints(&[3, 4]));
}

fn everything_changed() -> String {
    format!(
        "{}
        10.96.0.10:81/TCP default/web:more/TCP:
        10.96.1.2:53/TCP default/new/TCP:",
        web_served_by(&[3, 4])
    )
}

#[test]
fn a_410_gone_leaves_the_maps_equal_to_the_objects() {
    for gone in [Gone::AsStatus, Gone::AsEvent] {
        let mut world = World::with_web();
        let before = format!("{}\n10.96.1.1:53/TCP default/old/TCP:", web_served_by(&[2, 3]));
        world.server().apply(&other("old", 1));
        world.until_maps_are(&before);
        // Nothing is learnt but from the list that comes after the 410.
        world.disconnect_into(Trouble::Pause);
        change_everything(&world);
        world.server().expire(gone);
        world.assert_maps_are(&before);
        world.server().trouble(Trouble::None);
        world.until_maps_are(&everything_changed());
        let relisted = |path: &str| {
            let requests = world.server().requests();
            requests.iter().filter(|r| r.contains(path) && !r.contains("watch=true")).count()
        };
        assert!(relisted("/services?") > 1 && relisted("/endpointslices?") > 1);
    }
}

/// An Event, which no agent reads.
fn event(number: u8) -> Value {
    let metadata = json!({"namespace": "default", "name": format!("other{number}")});
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata})
}

#[test]
fn a_bookmark_changes_nothing_and_is_where_the_watch_goes_on() {
    let mut world = World::with_web();
    world.until_watching();
    // The versions between are of no kind that is watched.
    for number in 0..3 {
        world.server().apply(&event(number));
    }
    let version = world.server().version();
    world.server().bookmark();
    world.server().apply(&endpoints(&[4]));
    world.until_maps_are(&web_served_by(&[4]));
    world.disconnect_into(Trouble::Status(500));
    world.until_asked("/services?", 1);
    let requests = world.server().requests();
    let last = requests.iter().rfind(|line| line.contains("/services?")).unwrap();
    let (_, from) = last.split_once("resourceVersion=").expect(last);
    assert!(from.parse::<u64>().unwrap() >= version, "{last}, after bookmark {version}");
    world.server().trouble(Trouble::None);
    world.server().apply(&endpoints(&[5]));
    world.until_maps_are(&web_served_by(&[5]));
}
