//! Everything at once: agents are killed, upgraded and cut off from the API server while endpoints
//! come and go, and nobody who talks through a Service notices.
//!
//! With `WAGGLE_CHAOS=full` (`cargo xtask test network --chaos`) for minutes, else shortened.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lb_tests::apiserver::{ApiServer, Trouble};
use lb_tests::lab::{
    Agent, Bpffs, Lab, Namespace, Node, ROUTER_V4, Topology, agent_binary, let_pass,
    temporary_directory, wait_for, wait_until,
};
use lb_tests::objects::{Protocol, service};
use lb_tests::traffic::{Connection, UdpClient, http_get};

use crate::cluster::{PATIENCE, Server, cluster_ips, node_object, slices};
use crate::lifecycle::StopOnDrop;
use crate::pair::{node_ports, wait_for_answer, web};

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
struct Plan {
    kills: usize,
    upgrades: usize,
    changes: usize,
    outage: Duration,
    /// The traffic alone, to compare with.
    calm: Duration,
}

impl Plan {
    fn chosen() -> Self {
        let is_full = std::env::var("WAGGLE_CHAOS").is_ok_and(|it| it == "full");
        let seconds = Duration::from_secs;
        if is_full {
            let (outage, calm) = (seconds(60), seconds(30));
            Self { kills: 50, upgrades: 10, changes: 1000, outage, calm }
        } else {
            Self { kills: 4, upgrades: 2, changes: 200, outage: seconds(3), calm: seconds(3) }
        }
    }
}

/// What came of the traffic.
#[derive(Debug, Default)]
struct Tally {
    requests: AtomicU32,
    connections: AtomicU32,
    datagrams: AtomicU32,
    lost: AtomicU32,
    /// Connections that broke or failed, and answers from a wrong place.
    faults: Mutex<Vec<String>>,
}

impl Tally {
    /// Told at once, so that the log says during what it happened.
    fn fault(&self, what: String) {
        eprintln!("{what}");
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn lost_in_a_million(&self) -> u32 {
        let datagrams = self.datagrams.load(Ordering::Relaxed).max(1);
        u32::try_from(
            u64::from(self.lost.load(Ordering::Relaxed)) * 1_000_000 / u64::from(datagrams),
        )
        .expect("a share")
    }
}

/// Datagrams of a million that may be lost by chance.
const NOISE: u32 = 200;

/// Sizes of maps that are more than enough: so many flows that no place of one on probation is used
/// twice. With fewer, a flow of datagrams may lose its entries to an older place of its own while it
/// waits for the first answer of another backend.
const SMALL: [&str; 3] = ["--max-services=1024", "--max-slots=4096", "--max-flows=262144"];
/// Eight times as much, and twice as many flows: memory is not endless.
const LARGE: [&str; 3] = ["--max-services=8192", "--max-slots=32768", "--max-flows=524288"];
/// Who answers for `default/web`.
const OURS: [&str; 2] = ["web1", "web2"];
/// Answers in a row by which one of two is missed once in a million times.
const ENOUGH: usize = 20;
/// Connections that each of the askers holds.
const LONG: usize = 25;

/// Asks over [`LONG`] connections, one after the other, until told to stop.
fn keep_asking(from: &Namespace, dst: SocketAddr, tally: &Tally, stop: &AtomicBool) {
    let open = || Connection::open(from, dst, None, PATIENCE).expect("a long connection");
    let mut all: Vec<_> = (0..LONG).map(|_| (open(), String::new())).collect();
    while !stop.load(Ordering::Relaxed) {
        for (connection, name) in &mut all {
            match connection.get("/") {
                Ok(answer) if name.is_empty() => *name = answer.name,
                Ok(answer) if answer.name == *name && answer.peer == dst => {}
                other => return tally.fault(format!("long to {dst}: {other:?}")),
            }
            tally.requests.fetch_add(1, Ordering::Relaxed);
        }
        let_pass(Duration::from_millis(50));
    }
}

/// Fifty new connections a second.
fn keep_connecting(from: &Namespace, dst: SocketAddr, tally: &Tally, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match http_get(from, dst, None, PATIENCE) {
            Ok(answer) if OURS.contains(&answer.name.as_str()) && answer.peer == dst => {}
            other => tally.fault(format!("new to {dst}: {other:?}")),
        }
        tally.connections.fetch_add(1, Ordering::Relaxed);
        let_pass(Duration::from_millis(20));
    }
}

/// Some hundred datagrams a second.
fn keep_sending(from: &Namespace, dst: SocketAddr, tally: &Tally, stop: &AtomicBool) {
    let client = UdpClient::open(from, dst, None, Duration::from_millis(500)).expect("a socket");
    while !stop.load(Ordering::Relaxed) {
        match client.ask() {
            Ok(answer) if OURS.contains(&answer.name.as_str()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
            other => tally.fault(format!("datagram to {dst}: {other:?}")),
        }
        tally.datagrams.fetch_add(1, Ordering::Relaxed);
        let_pass(Duration::from_millis(2));
    }
}

/// Two nodes, and a cluster of two services. Fields are dropped in their order.
struct World {
    servers: [Server; 3],
    server: ApiServer,
    askers: [(usize, SocketAddr); 4],
    spaces: [lb_tests::lab::Pod; 2],
    client: lb_tests::lab::Client,
    nodes: [Node; 2],
    bpffs: [Bpffs; 2],
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let lab = Lab::new();
        let nodes = [lab.node(Topology::Routed), lab.node(Topology::Routed)];
        let client = lab.client();
        let [first, second] = &nodes;
        let start = Server::start;
        let servers = [start(first, "web1"), start(second, "web2"), start(second, "other")];
        let spaces = [first.pod("client"), second.pod("client")];
        let server = ApiServer::start_in(&lab.router, (ROUTER_V4, 6443).into());
        for node in &nodes {
            server.apply(&node_object(node));
        }
        let ([a, b], [c, d]) = (cluster_ips(), node_ports(first));
        let bpffs = [Bpffs::new(), Bpffs::new()];
        let askers = [(0, a), (1, b), (2, c), (2, d)];
        let world = Self { servers, server, askers, spaces, client, nodes, bpffs, _lab: lab };
        world.server.apply(&web().object());
        let other = service("default/other").cluster_ip("10.96.0.11").cluster_ip("fd00:96::11");
        world.server.apply(&other.port("http", 80, Protocol::Tcp).object());
        world.change(0);
        world
    }

    /// An agent of the node of that index; what it replaces must have ended.
    fn start_agent(&self, at: usize, program: PathBuf) -> Agent {
        self.start_sized(at, program, &SMALL)
    }

    /// The same with other sizes of its maps.
    fn start_sized(&self, at: usize, program: PathBuf, sizes: &[&str]) -> Agent {
        let Self { nodes, server, bpffs, .. } = self;
        let mut agent = start_agent(&nodes[at], server, &bpffs[at], program, sizes);
        agent.wait_printed("every source has delivered", 3 * PATIENCE);
        agent
    }

    fn asking(&self) -> impl Iterator<Item = (&Namespace, SocketAddr)> {
        let space = |at: usize| self.spaces.get(at).map_or(&self.client.ns, |pod| &pod.ns);
        self.askers.iter().map(move |(at, dst)| (space(*at), *dst))
    }

    /// The endpoints change: who serves goes on serving, so that nobody has a reason to fail.
    fn change(&self, number: usize) {
        let web = [&self.servers[..2], &self.servers[..1], &self.servers[..2], &self.servers[1..2]];
        let other: [&[Server]; 3] = [&self.servers[2..], &[], &self.servers[2..]];
        let all = slices("default/web", web[number % web.len()]).into_iter();
        for slice in all.chain(slices("default/other", other[number % other.len()])) {
            self.server.apply(&slice.object());
        }
    }

    /// Waits until nobody else answers: the agents have followed to the end.
    fn wait_for_only(&self, name: &str) {
        for (from, dst) in self.asking() {
            wait_for(&format!("only {name} answers at {dst}"), 3 * PATIENCE, || {
                let names: Result<BTreeSet<_>, _> = (0..ENOUGH)
                    .map(|_| http_get(from, dst, None, PATIENCE).map(|answer| answer.name))
                    .collect();
                let names = names.map_err(|error| error.to_string())?;
                if names.iter().eq([name]) { Ok(()) } else { Err(format!("{names:?} answer")) }
            });
        }
    }
}

fn start_agent(
    node: &Node,
    server: &ApiServer,
    bpffs: &Bpffs,
    program: PathBuf,
    sizes: &[&str],
) -> Agent {
    let flags = sizes.iter().chain(&["--drift-interval=1s"]);
    let places = [
        "run".as_ref(),
        "--kubeconfig".as_ref(),
        server.kubeconfig().as_os_str(),
        "--node-name".as_ref(),
        node.name.as_ref(),
        "--bpffs".as_ref(),
        bpffs.path().as_os_str(),
    ];
    Agent::start_program(&node.ns, program, places.into_iter().chain(flags.map(AsRef::as_ref)))
}

/// The agent with another version: every `0.1.0` in it is `0.1.9`.
fn other_build(directory: &tempfile::TempDir) -> PathBuf {
    let mut bytes = fs::read(agent_binary()).expect("read the agent");
    let (old, new) = (env!("CARGO_PKG_VERSION").as_bytes(), b"0.1.9");
    for at in 0..bytes.len().saturating_sub(old.len()) {
        if bytes[at] == old[0] && &bytes[at..at + old.len()] == old {
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
    let path = directory.path().join("waggle");
    fs::write(&path, bytes).expect("write the other agent");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    path
}

/// Something that happens to the cluster while everybody talks. All has recovered when it returns.
type Disturbance = (&'static str, fn(&World, &mut [Agent; 2], Plan));

/// All of them, in their order.
const DISTURBANCES: [Disturbance; 5] = [
    ("agents are killed", kill_agents),
    ("agents are replaced by another build", upgrade_agents),
    ("maps grow and shrink again", resize_maps),
    ("the maps are those of an older version", age_maps),
    ("the API server is away", cut_off),
];

fn kill_agents(world: &World, agents: &mut [Agent; 2], plan: Plan) {
    for kill in 0..plan.kills {
        agents[kill % 2].kill();
        agents[kill % 2] = world.start_agent(kill % 2, agent_binary());
    }
}

fn upgrade_agents(world: &World, agents: &mut [Agent; 2], plan: Plan) {
    let directory = temporary_directory("upgrade");
    let builds = [other_build(&directory), agent_binary()];
    for upgrade in 0..plan.upgrades {
        let at = upgrade % 2;
        assert!(agents[at].stop().success());
        agents[at] = world.start_agent(at, builds[(upgrade / 2) % 2].clone());
    }
}

fn resize_maps(world: &World, agents: &mut [Agent; 2], _: Plan) {
    for sizes in [LARGE, SMALL] {
        for (at, agent) in agents.iter_mut().enumerate() {
            assert!(agent.stop().success());
            *agent = world.start_sized(at, agent_binary(), &sizes);
        }
    }
}

fn age_maps(world: &World, agents: &mut [Agent; 2], _: Plan) {
    for (at, agent) in agents.iter_mut().enumerate() {
        agent.kill();
        let pins = world.bpffs[at].path().join("waggle");
        fs::rename(pins.join("v1"), pins.join("v0")).expect("make it the version before");
        *agent = world.start_agent(at, agent_binary());
    }
}

fn cut_off(world: &World, _: &mut [Agent; 2], plan: Plan) {
    world.server.trouble(Trouble::Status(503));
    world.server.disconnect_watches();
    let_pass(plan.outage);
    world.server.trouble(Trouble::None);
}

/// Lets everything happen, and goes on until the endpoints have changed often enough.
fn disturb(world: &World, agents: &mut [Agent; 2], plan: Plan, changed: &AtomicU32) {
    for (what, happen) in DISTURBANCES {
        eprintln!("{what} …");
        happen(world, agents, plan);
    }
    let all = || changed.load(Ordering::Relaxed) as usize >= plan.changes;
    wait_until("all endpoints have changed", 60 * PATIENCE, all);
}

/// Lets all kinds of traffic flow while `meanwhile` runs.
fn with_traffic(world: &World, meanwhile: impl FnOnce()) -> Tally {
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let kinds = [keep_asking, keep_asking, keep_connecting, keep_sending, keep_sending];
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        for (from, dst) in world.asking() {
            for kind in kinds {
                let (tally, stop) = (&tally, &stop);
                scope.spawn(move || kind(from, dst, tally, stop));
            }
        }
        meanwhile();
        drop(stopping);
    });
    tally
}

#[test]
fn nobody_notices_kills_upgrades_outages_and_a_thousand_changes() {
    let (plan, world) = (Plan::chosen(), World::new());
    let mut agents = [0, 1].map(|at| world.start_agent(at, agent_binary()));
    for (from, dst) in world.asking() {
        wait_for_answer(from, dst, "web1");
    }
    let calm = with_traffic(&world, || let_pass(plan.calm));
    let (changed, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let wild = thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                world.change(changed.fetch_add(1, Ordering::Relaxed) as usize);
                let_pass(Duration::from_millis(50));
            }
        });
        let wild = with_traffic(&world, || disturb(&world, &mut agents, plan, &changed));
        drop(stopping);
        wild
    });
    eprintln!("{plan:?}, {changed:?} changes\ncalm: {calm:?}\nwild: {wild:?}");
    for tally in [&calm, &wild] {
        let faults = tally.faults.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty(), "{faults:#?}");
    }
    let (calm, wild) = (calm.lost_in_a_million(), wild.lost_in_a_million());
    assert!(wild <= calm + NOISE, "{wild} datagrams of a million are lost, {calm} undisturbed");
    for (change, name) in [(1, OURS[0]), (3, OURS[1])] {
        world.change(change);
        world.wait_for_only(name);
    }
}
