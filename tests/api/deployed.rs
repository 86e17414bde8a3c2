//! What deploy/ says of the agent is so: what it asks of the API server, and what it counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::api::rbac::v1::ClusterRole;
use lb_tests::lab::wait_until;

use crate::world::{PATIENCE, World, other};

/// `group/resource verb`.
type Right = String;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    fs::read_to_string(path).unwrap()
}

fn granted(manifest: &str) -> BTreeSet<Right> {
    let manifest = file(manifest);
    let role = manifest.split("\n---\n").find(|text| text.contains("\nkind: ClusterRole\n"));
    let role: ClusterRole = serde_saphyr::from_str(role.unwrap()).unwrap();
    let mut rights = BTreeSet::new();
    for rule in role.rules.unwrap() {
        for group in rule.api_groups.unwrap() {
            for resource in rule.resources.iter().flatten() {
                rights.extend(rule.verbs.iter().map(|verb| format!("{group}/{resource} {verb}")));
            }
        }
    }
    rights
}

/// What a request `METHOD path?query` needs.
fn needed(request: &str) -> Right {
    let (method, path) = request.split_once(' ').unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts[..] {
        ["api", "v1", ref rest @ ..] => ("", rest),
        ["apis", group, _, ref rest @ ..] => (group, rest),
        _ => panic!("{request} is of no resource"),
    };
    let (resource, is_one) = match rest {
        ["namespaces", _, resource, name @ ..] | [resource, name @ ..] => {
            (resource, !name.is_empty())
        }
        _ => panic!("{request} is of no resource"),
    };
    let verb = match (method, is_one) {
        ("GET", false) if query.contains("watch=true") => "watch",
        ("GET", false) => "list",
        ("GET", true) => "get",
        ("POST", false) => "create",
        _ => panic!("{request} is of no verb"),
    };
    format!("{group}/{resource} {verb}")
}

#[track_caller]
fn check(world: &World, watches: usize, manifest: &str) {
    world.until_watches(watches);
    world.server().apply(&other("bad", 2).with("/spec/ports/0/port", 99_999));
    wait_until("there is an Event", PATIENCE, || !world.server().objects("events").is_empty());
    let requests = world.server().requests();
    let asked: BTreeSet<_> = requests.iter().map(|request| needed(request)).collect();
    assert_eq!(asked, granted(manifest));
}

#[test]
fn the_cluster_role_grants_what_the_agent_asks_and_no_more() {
    check(&World::with_web(), 4, "manifests/waggle.yaml");
}

#[test]
fn for_the_sockets_of_pods_it_grants_pods_as_well() {
    let world = World::with_flags(&["--socket-lb=all"]);
    check(&world, 5, "manifests/waggle-all-sockets.yaml");
}

#[test]
fn alerts_and_dashboard_name_metrics_that_there_are() {
    let text = file("chart/files/alerts.yaml") + &file("chart/files/dashboard.json");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<_> = words.filter(|word| word.starts_with("waggle_")).collect();
    assert!(named.len() > 5, "{named:?}");
    let world = World::with_web();
    world.server().apply(&other("bad", 2).with("/spec/ports/0/port", 99_999));
    for metric in named {
        wait_until(&format!("there is {metric}"), PATIENCE, || {
            world.try_metrics(metric).is_ok_and(|found| !found.is_empty())
        });
    }
}
