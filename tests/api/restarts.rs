//! The agent goes and comes back.

use crate::world::{PATIENCE, World, endpoints, other, web, web_served_by};

/// What stayed keeps its ids; what went while nobody looked is pruned.
#[test]
fn what_changed_while_the_agent_was_down_is_in_the_maps() {
    let mut world = World::with_web();
    world.server().apply(&other("old", 1));
    let before = format!("{}\n10.96.1.1:53/TCP default/old/TCP:", web_served_by(&[2, 3]));
    world.until_maps_are(&before);
    let ids_before = world.ids();
    world.agent.kill();
    world.server().delete("services", "default/old");
    world.server().apply(&other("new", 2));
    world.server().apply(&endpoints(&[3, 4]));
    world.assert_maps_are(&before);
    world.agent.restart(&world.node.ns);
    world.until_maps_are(&format!("{}\n10.96.1.2:53/TCP default/new/TCP:", web_served_by(&[3, 4])));
    let ids_after = world.ids();
    let kept: Vec<_> = ids_before.keys().filter(|name| ids_after.contains_key(*name)).collect();
    assert_eq!(kept.len(), 2, "the service and the backend that stayed: {ids_before:?}");
    for name in kept {
        assert_eq!(ids_after[name], ids_before[name], "{name}");
    }
}

#[test]
fn nothing_is_written_before_all_lists_have_come() {
    for held in ["services", "endpointslices", "nodes", "servicecidrs"] {
        let mut world = World::with_web();
        world.server().apply(&web().node_port(30_080));
        let before = format!(
            "{}
            192.168.0.11:30080/TCP default/web:http/TCP: 10.1.0.2:8080 10.1.0.3:8080",
            web_served_by(&[2, 3])
        );
        world.until_maps_are(&before);
        world.agent.kill();
        world.server().hold(held);
        world.server().apply(&endpoints(&[4]));
        world.server().apply(&web());
        let asked = world.server().requests().len();
        world.agent.restart(&world.node.ns);
        // The others have been delivered when their watches run.
        world.agent.wait_ready("three watches run", PATIENCE, || {
            let requests = world.server.as_ref().unwrap().requests();
            let watches = requests[asked..].iter().filter(|r| r.contains("watch=true")).count();
            if watches == 3 { Ok(()) } else { Err(requests.join("\n")) }
        });
        // An object in a running watch is taken in too, and still nothing is written.
        world.server().apply(&other("new", 2));
        assert_eq!(world.dump().unwrap()["services"].as_array().unwrap().len(), 1);
        world.assert_maps_are(&before);
        world.server().release();
        world
            .until_maps_are(&format!("{}\n10.96.1.2:53/TCP default/new/TCP:", web_served_by(&[4])));
    }
}
