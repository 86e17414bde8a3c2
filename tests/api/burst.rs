//! Bursts: many changes at once leave the maps that an agent makes which has seen none of them.
//!
//! Nothing waits for anything within a burst, so an agent sees any part of it at once, and after a
//! lost watch only its outcome. A marker, changed last, tells when it has seen all.

use lb_tests::apiserver::{Gone, Trouble};
use lb_tests::lab::wait_for;
use lb_tests::objects::{Protocol::Tcp, Protocol::Udp, Service, Slice, service, slice};
use serde::Serialize;
use serde_json::Value;

use crate::world::{PATIENCE, World};

/// One change at the API server.
pub(crate) enum Edit {
    Apply(Value),
    Delete(&'static str, String),
}

/// What happens to the watches halfway through a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Never,
    /// The watches break, and others begin where they ended.
    Disconnected,
    /// They break, and what comes then is only seen as a new list.
    Gone(Gone),
}

pub(crate) const CUTS: [Cut; 4] =
    [Cut::Never, Cut::Disconnected, Cut::Gone(Gone::AsStatus), Cut::Gone(Gone::AsEvent)];

#[test]
fn every_kind_of_change_in_one_burst_leaves_what_a_fresh_start_finds() {
    for cut in CUTS {
        let mut world = World::new();
        play(&world, &before(), Cut::Never);
        until_seen(&mut world, 1);
        world.assert_maps_are(&format!("{BEFORE}\n{}", seen(1)));
        play(&world, &everything_at_once(), cut);
        assert_as_after_a_fresh_start(&mut world, 2);
        world.assert_maps_are(&format!("{AFTER}\n{}", seen(2)));
    }
}

const BEFORE: &str = "
    10.96.0.1:80/TCP default/hidden:http/TCP: 10.1.0.1:8080
    10.96.0.2:80/TCP default/blinking:http/TCP: 10.1.0.2:8080
    10.96.0.3:80/TCP default/growing:http/TCP: 10.1.0.3:8080
    10.96.0.4:80/TCP default/shrinking:http/TCP: 10.1.0.4:8080
    192.0.2.4:80/TCP default/shrinking:http/TCP: 10.1.0.4:8080
    192.168.0.11:30004/TCP default/shrinking:http/TCP: 10.1.0.4:8080
    10.96.0.5:80/TCP default/renamed:http/TCP: 10.1.0.5:8080
    10.96.0.6:80/TCP default/left:http/TCP: 10.1.0.6:8080
    192.168.0.11:30006/TCP default/left:http/TCP: 10.1.0.6:8080
    10.96.0.7:81/TCP default/right:http/TCP: 10.1.0.7:8080
    192.168.0.11:30007/TCP default/right:http/TCP: 10.1.0.7:8080
    10.96.0.8:80/TCP default/moved:http/TCP: 10.1.0.8:8080";

fn before() -> Vec<Edit> {
    let services = [
        http("hidden", 1),
        http("blinking", 2),
        http("growing", 3),
        http("shrinking", 4).node_port(30_004).load_balancer_ip("192.0.2.4"),
        http("renamed", 5),
        http("left", 6).node_port(30_006),
        at("right", 7).port("http", 81, Tcp).node_port(30_007),
        http("moved", 8),
    ];
    let names = ["hidden", "blinking", "growing", "shrinking", "renamed", "left", "right", "moved"];
    let slices = (1..).zip(names).map(|(number, name)| apply(&served(name, number, "http")));
    services.iter().map(apply).chain(slices).collect()
}

const AFTER: &str = "
    10.96.0.2:80/TCP default/blinking:http/TCP: 10.1.0.2:8080
    10.96.0.3:80/TCP default/growing:http/TCP: 10.1.0.3:8080
    192.0.2.3:80/TCP default/growing:http/TCP: 10.1.0.3:8080
    192.168.0.11:30004/TCP default/growing:http/TCP: 10.1.0.3:8080
    10.96.0.4:80/TCP default/shrinking:http/TCP: 10.1.0.4:8080
    10.96.0.5:80/TCP default/renamed:web/TCP: 10.1.0.5:8080
    10.96.0.6:81/TCP default/left:http/TCP: 10.1.0.6:8080
    192.168.0.11:30007/TCP default/left:http/TCP: 10.1.0.6:8080
    10.96.0.7:80/TCP default/right:http/TCP: 10.1.0.7:8080
    192.168.0.11:30006/TCP default/right:http/TCP: 10.1.0.7:8080
    10.96.0.8:80/TCP default/heir:http/TCP: 10.1.0.10:8080
    10.96.0.9:80/TCP default/moved:http/TCP: 10.1.0.9:8080";

/// Label on, and on and off; types to and fro; a port renamed; ports swapped; an address left to
/// another Service.
fn everything_at_once() -> Vec<Edit> {
    let other_proxy = |service: Service| service.label(PROXY_NAME, "another");
    let growing = |node_port| http("growing", 3).node_port(node_port);
    let delete = |plural, name: &str| Edit::Delete(plural, format!("default/{name}"));
    vec![
        apply(&other_proxy(http("hidden", 1))),
        apply(&other_proxy(http("blinking", 2))),
        // Its node port is still another's.
        apply(&growing(30_004)),
        apply(&growing(30_003).load_balancer_ip("192.0.2.3")),
        delete("services", "moved"),
        apply(&served("heir", 10, "http")),
        apply(&http("shrinking", 4).node_port(30_004)),
        apply(&http("renamed", 5).with("/spec/ports/0/name", "web")),
        apply(&at("left", 6).port("http", 81, Tcp).node_port(30_007)),
        delete("endpointslices", "moved-1"),
        // The burst is cut here.
        apply(&http("heir", 8)),
        apply(&http("moved", 9)),
        apply(&http("right", 7).node_port(30_006)),
        apply(&served("moved", 9, "http")),
        apply(&served("renamed", 5, "web")),
        apply(&http("growing", 3)),
        apply(&http("blinking", 2)),
        apply(&http("shrinking", 4)),
        apply(&growing(30_004).load_balancer_ip("192.0.2.3")),
        apply(&other_proxy(http("hidden", 1)).node_port(30_006)),
    ]
}

pub(crate) const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

fn at(name: &str, number: u8) -> Service {
    service(&format!("default/{name}")).cluster_ip(&format!("10.96.0.{number}"))
}

fn http(name: &str, number: u8) -> Service {
    at(name, number).port("http", 80, Tcp)
}

fn served(name: &str, number: u8, port: &str) -> Slice {
    let slice = slice(&format!("default/{name}-1")).service(name);
    slice.port(port, 8080, Tcp).endpoint(&format!("10.1.0.{number}"))
}

pub(crate) fn apply(object: &impl Serialize) -> Edit {
    Edit::Apply(serde_json::to_value(object).unwrap())
}

/// Makes all changes at once, but for what happens after the first half of them.
pub(crate) fn play(world: &World, edits: &[Edit], cut: Cut) {
    let (first, second) = edits.split_at(edits.len() / 2);
    let server = world.server();
    world.until_watching();
    change(world, first);
    match cut {
        Cut::Never => change(world, second),
        Cut::Disconnected => {
            server.disconnect_watches();
            change(world, second);
        }
        Cut::Gone(gone) => {
            world.disconnect_into(Trouble::Pause);
            change(world, second);
            server.expire(gone);
            server.trouble(Trouble::None);
        }
    }
}

fn change(world: &World, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Apply(object) => world.server().apply(object),
            Edit::Delete(plural, name) => world.server().delete(plural, name),
        }
    }
}

/// Waits until the agent has seen all changes so far. `number` differs each time.
fn until_seen(world: &mut World, number: u8) {
    mark(world, number);
    world.until_marked(number);
}

/// The maps, ids masked, become equal to those of an agent that starts now.
#[track_caller]
pub(crate) fn assert_as_after_a_fresh_start(world: &mut World, number: u8) {
    until_seen(world, number);
    let mut fresh = World::beside(world);
    fresh.until_marked(number);
    wait_for("the maps equal those of a fresh start", PATIENCE, || {
        let (ours, expected) = (world.masked()?, fresh.masked()?);
        if ours == expected { Ok(()) } else { Err(difference(&ours, &expected)) }
    });
}

/// Watches of different kinds are not ordered among each other, so there is a mark in both.
fn mark(world: &World, number: u8) {
    let marker = service("default/marker").cluster_ip(&format!("10.96.255.{number}"));
    world.server().apply(&marker.port("", 9, Udp));
    let ends = slice("default/marker-1").service("marker").port("", 9, Udp);
    world.server().apply(&ends.endpoint(&format!("10.1.255.{number}")));
}

/// The line of the marker in the maps.
fn seen(number: u8) -> String {
    format!("10.96.255.{number}:9/UDP default/marker/UDP: 10.1.255.{number}:9")
}

/// What is missing, then what is too much.
fn difference(ours: &str, expected: &str) -> String {
    let only = |these: &str, those: &str, sign: char| -> Vec<String> {
        let lines = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    [only(expected, ours, '-'), only(ours, expected, '+')].concat().join("\n")
}
