//! The API server is not well. What serves traffic is never emptied.

use lb_tests::apiserver::{Gone, Trouble};

use crate::world::{PATIENCE, World, endpoints, other, web, web_served_by};

#[test]
fn trouble_leaves_the_maps_as_they_are_until_it_is_over() {
    for trouble in [Trouble::Status(429), Trouble::Status(500), Trouble::Garbage, Trouble::Pause] {
        let mut world = World::with_web();
        world.disconnect_into(trouble);
        world.server().expire(Gone::AsStatus);
        world.server().apply(&other("new", 2));
        world.server().apply(&endpoints(&[3, 4]));
        if trouble != Trouble::Pause {
            world.until_asked("/services?", 2);
            world.until_asked("/endpointslices?", 2);
        }
        world.assert_maps_are(&web_served_by(&[2, 3]));
        world.server().trouble(Trouble::None);
        world.until_maps_are(&format!(
            "{}\n10.96.1.2:53/TCP default/new/TCP:",
            web_served_by(&[3, 4])
        ));
    }
}

#[test]
fn an_agent_that_is_there_before_the_api_server_waits_for_it() {
    let mut world = World::without_server();
    world.agent.wait_printed("trying again", PATIENCE);
    world.start_server();
    world.server().apply(&web());
    world.server().apply(&endpoints(&[2, 3]));
    world.until_maps_are(&web_served_by(&[2, 3]));
}

#[test]
fn an_api_server_that_is_down_takes_nothing_with_it() {
    let mut world = World::with_web();
    // The agent sees versions that the next server is far from.
    for _ in 0..10 {
        world.server().expire(Gone::AsStatus);
    }
    world.server().apply(&other("old", 1));
    let before = format!("{}\n10.96.1.1:53/TCP default/old/TCP:", web_served_by(&[2, 3]));
    world.until_maps_are(&before);
    world.server = None;
    world.agent.wait_printed("trying again", PATIENCE);
    world.assert_maps_are(&before);
    // It comes back with other objects, as from a backup: its versions begin anew, below those that
    // the agent knows.
    world.start_server();
    world.server().apply(&other("new", 2));
    world.until_maps_are("10.96.1.2:53/TCP default/new/TCP:");
}
