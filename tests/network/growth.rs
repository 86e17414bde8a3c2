//! The maps change under a running cluster: they grow, shrink, come from another version, and the agent
//! dies while they do. Nobody who talks through a Service notices.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lb_tests::lab::{Agent, Bpffs, Namespace, Node, Topology, let_pass, wait_until};
use lb_tests::objects::{Manifests, Protocol, service, slice};
use lb_tests::traffic::{Connection, http_get};
use serde_json::Value;

use crate::cluster::{Cluster, PATIENCE, SERVER_PORT, cluster_ips, output, start_agent};
use crate::lifecycle::StopOnDrop;

const SMALL: [&str; 8] = [
    "--max-frontends=128",
    "--max-services=128",
    "--max-slots=512",
    "--max-backends=128",
    "--max-flows=4096",
    "--max-clients=64",
    "--max-source-ranges=64",
    "--max-sockets=512",
];
/// Eight times as much.
const LARGE: [&str; 8] = [
    "--max-frontends=1024",
    "--max-services=1024",
    "--max-slots=4096",
    "--max-backends=1024",
    "--max-flows=32768",
    "--max-clients=512",
    "--max-source-ranges=512",
    "--max-sockets=4096",
];
/// Connections that are held by the pod and by the client outside, each.
const HELD: usize = 100;

/// The agent and what it needs.
struct Side<'a> {
    agent: &'a mut Agent,
    node: &'a Node,
    manifests: &'a Manifests,
    bpffs: &'a Bpffs,
}

impl Side<'_> {
    /// Kills the agent and starts one with other flags in its place.
    fn restart(&mut self, flags: &[&str]) {
        self.agent.kill();
        *self.agent = start_agent(self.node, self.manifests, self.bpffs, flags);
    }

    /// The same, and waits until it works.
    fn replace(&mut self, flags: &[&str]) {
        self.restart(flags);
        self.agent.wait_printed("every source has delivered", PATIENCE);
    }

    fn path(&self) -> &Path {
        self.bpffs.path()
    }

    /// How many entries a pinned map has room for.
    fn capacity(&self, map: &str) -> u64 {
        let pin = self.path().join("waggle/v1/maps").join(map);
        let pin = pin.to_str().expect("UTF-8");
        let shown = output("bpftool", &["--json", "map", "show", "pinned", pin]);
        let shown: Value = serde_json::from_str(&shown).expect("bpftool prints JSON");
        shown["max_entries"].as_u64().expect("a number")
    }

    /// Nothing but the generation in force is pinned.
    #[track_caller]
    fn check_tidy(&self) {
        let names = |path: &str| {
            let entries = fs::read_dir(self.path().join(path)).expect("a directory");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("waggle"), ["v1"]);
        assert_eq!(names("waggle/v1"), ["clsact", "links", "maps", "reserved", "sockets"]);
    }
}

/// A connection, and who answers it.
type Held = (Connection, String);

fn hold(from: &Namespace, dst: SocketAddr) -> Vec<Held> {
    let open = |_| {
        let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
        let name = connection.get("/").expect("an answer").name;
        (connection, name)
    };
    (0..HELD).map(open).collect()
}

#[track_caller]
fn ask_all(held: &mut [Held]) {
    for (connection, name) in held {
        assert_eq!(connection.get("/").expect("the connection lives").name, *name);
    }
}

/// Asks over held and new connections all the time while `meanwhile` runs.
fn with_traffic(cluster: &mut Cluster, meanwhile: impl FnOnce(&mut Side<'_>)) {
    let (stop, rounds, opened) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let dsts = [cluster_ips()[0], cluster.node_ports()[1]];
    let Cluster { agent, pod, client, node, manifests, bpffs, .. } = cluster;
    let mut side = Side { agent, node, manifests, bpffs };
    let (pod, client) = (&pod.ns, &client.ns);
    let mut held = [hold(pod, dsts[0]), hold(client, dsts[1])];
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let [first, second] = &mut held;
        let mut asking = Vec::new();
        for (from, dst, held) in [(pod, dsts[0], first), (client, dsts[1], second)] {
            let (stop, rounds, opened) = (&stop, &rounds, &opened);
            asking.push(scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask_all(held);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            }));
            asking.push(scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    http_get(from, dst, None, PATIENCE).expect("a new connection is answered");
                    opened.fetch_add(1, Ordering::Relaxed);
                    let_pass(Duration::from_millis(5));
                }
            }));
        }
        wait_until("all ask", PATIENCE, || rounds.load(Ordering::Relaxed) > 4);
        meanwhile(&mut side);
        let seen = rounds.load(Ordering::Relaxed);
        wait_until("all were asked again", PATIENCE, || rounds.load(Ordering::Relaxed) > seen + 4);
        drop(stopping);
        for asking in asking {
            asking.join().expect("nothing broke");
        }
    });
    for held in &mut held {
        ask_all(held);
    }
    assert!(opened.load(Ordering::Relaxed) > 20, "new connections came as well");
}

#[test]
fn all_maps_grow_eightfold_and_shrink_again_under_two_hundred_connections() {
    let mut cluster = Cluster::with_flags(Topology::Routed, 2, &SMALL);
    with_traffic(&mut cluster, |side| {
        side.replace(&LARGE);
        let sizes = ["FLOWS_V4", "SOCKETS_V6"].map(|map| side.capacity(map));
        assert_eq!(sizes, [32_768, 4096]);
        side.check_tidy();
        side.replace(&SMALL);
        assert_eq!(side.capacity("FLOWS_V4"), 4096);
        side.check_tidy();
    });
}

#[test]
fn the_maps_of_an_older_version_are_taken_over_under_two_hundred_connections() {
    let mut cluster = Cluster::with_flags(Topology::Bridge, 2, &SMALL);
    let before = cluster.waggle(&["services"]);
    with_traffic(&mut cluster, |side| {
        side.agent.kill();
        let root = side.path().join("waggle");
        fs::rename(root.join("v1"), root.join("v0")).expect("make it the version before");
        side.replace(&LARGE);
        assert_eq!(side.capacity("FLOWS_V4"), 32_768);
        side.check_tidy();
    });
    assert_eq!(cluster.waggle(&["services"]), before, "ids are the same");
}

#[test]
fn an_agent_that_is_killed_while_the_maps_change_breaks_nothing() {
    let mut cluster = Cluster::with_flags(Topology::Routed, 2, &SMALL);
    with_traffic(&mut cluster, |side| {
        for round in 0..12 {
            side.restart(if round % 2 == 0 { &LARGE } else { &SMALL });
            if round % 3 == 0 {
                side.agent.wait_printed("the maps change", PATIENCE);
            } else {
                let_pass(Duration::from_millis(60 * round));
            }
        }
        side.replace(&LARGE);
        assert_eq!(side.capacity("FLOWS_V4"), 32_768);
        side.check_tidy();
    });
}

/// Services beside `default/web`, of two families.
const MANY: usize = 1000;

#[test]
fn maps_grow_with_the_cluster_while_everybody_talks() {
    let flags = ["--max-services=16384", "--max-slots=65536", "--max-backends=16384"];
    let mut cluster = Cluster::with_flags(Topology::Routed, 2, &flags);
    let [first, second] = [0, 1].map(|server| cluster.servers[server].sockets());
    let ips =
        |n: usize| [format!("10.96.{}.{}", 1 + n / 200, n % 200), format!("fd00:96::1:{n:x}")];
    let objects = (0..MANY).flat_map(|n| {
        let (name, [v4, v6]) = (format!("default/many{n}"), ips(n));
        let port = service(&name).cluster_ip(&v4).cluster_ip(&v6).port("", 80, Protocol::Tcp);
        let slices = [0, 1].map(|family| {
            slice(&format!("{name}-{family}"))
                .service(&format!("many{n}"))
                .port("", SERVER_PORT, Protocol::Tcp)
                .endpoint(&first[family].ip().to_string())
                .endpoint(&second[family].ip().to_string())
                .object()
        });
        [vec![port.object()], slices.into()].concat()
    });
    let objects: Vec<_> = objects.collect();
    let maps = ["FRONTENDS_V6", "SERVICES", "SERVICE_NAMES", "SLOTS", "BACKENDS_V4"];
    with_traffic(&mut cluster, |side| {
        let before = maps.map(|map| side.capacity(map));
        side.manifests.write("many.yaml", &objects);
        side.agent.wait_printed("the maps have grown", 6 * PATIENCE);
        let after = maps.map(|map| side.capacity(map));
        assert!(
            before.iter().zip(&after).all(|(before, after)| after >= &(2 * before)),
            "{after:?}"
        );
        side.check_tidy();
    });
    for ip in ips(MANY - 1) {
        let dst = SocketAddr::new(ip.parse().unwrap(), 80);
        wait_until("the last service answers", PATIENCE, || {
            http_get(&cluster.pod.ns, dst, None, PATIENCE).is_ok()
        });
    }
    let grown = cluster.waggle(&["services"]);
    let Cluster { agent, node, manifests, bpffs, .. } = &mut cluster;
    let mut side = Side { agent, node, manifests, bpffs };
    let before = maps.map(|map| side.capacity(map));
    side.restart(&flags);
    side.agent.wait_printed("every source has delivered", 6 * PATIENCE);
    assert_eq!(maps.map(|map| side.capacity(map)), before, "as large as before the restart");
    assert_eq!(cluster.waggle(&["services"]), grown, "ids are the same after a restart");
}
