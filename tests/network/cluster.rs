//! One node with pods that serve, a client outside, manifests and a running agent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use lb_tests::lab::{Agent, Bpffs, Client, Lab, Namespace, Node, Pod, Topology};
use lb_tests::objects::{Manifests, Protocol, Service, Slice, node, service, slice};
use lb_tests::traffic::{Connection, HttpServer, UdpEcho, http_get};
use serde_json::Value;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Where the servers of all pods listen, by TCP and by UDP.
pub(crate) const SERVER_PORT: u16 = 8080;
/// The node port of the service `default/web`.
pub(crate) const NODE_PORT: u16 = 30_080;

/// A pod with its servers.
pub(crate) struct Server {
    pub(crate) pod: Pod,
    node: String,
    _http: HttpServer,
    _udp: UdpEcho,
}

/// The world that most network tests start from. Fields are dropped in their order: the agent goes
/// before the namespaces it is in.
pub(crate) struct Cluster {
    pub(crate) agent: Agent,
    pub(crate) servers: Vec<Server>,
    pub(crate) pod: Pod,
    pub(crate) client: Client,
    pub(crate) node: Node,
    pub(crate) manifests: Manifests,
    pub(crate) bpffs: Bpffs,
    pub(crate) lab: Lab,
}

impl Cluster {
    /// A node of `topology` with `servers` serving pods and one more pod, a client outside, and an
    /// agent that knows of the service `default/web`; returns when the service answers.
    pub(crate) fn new(topology: Topology, servers: usize) -> Self {
        Self::with_flags(topology, servers, &[])
    }

    /// The same, with more flags for the agent.
    pub(crate) fn with_flags(topology: Topology, servers: usize, flags: &[&str]) -> Self {
        Self::in_lab(Lab::new(), topology, servers, flags)
    }

    /// The same in a lab that is not the usual one.
    pub(crate) fn in_lab(lab: Lab, topology: Topology, servers: usize, flags: &[&str]) -> Self {
        let node = lab.node(topology);
        let client = lab.client();
        let servers: Vec<_> =
            (1..=servers).map(|n| Server::start(&node, &format!("web{n}"))).collect();
        let pod = node.pod("client");
        let (manifests, bpffs) = (Manifests::new(), Bpffs::new());
        manifests.write("node.yaml", &[node_object(&node)]);
        let agent = start_agent(&node, &manifests, &bpffs, flags);
        let mut cluster = Self { agent, servers, pod, client, node, manifests, bpffs, lab };
        cluster.write_web(cluster.servers.len());
        cluster.wait_until_served();
        cluster
    }

    /// Writes the service `default/web` (TCP and UDP, both families, a node port) with its first
    /// `count` servers as endpoints.
    pub(crate) fn write_web(&self, count: usize) {
        let servers = &self.servers[..count];
        let [v4, v6] = slices("default/web", servers);
        self.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    }

    /// Waits until every frontend of `default/web` answers a pod, or a client outside.
    pub(crate) fn wait_until_served(&mut self) {
        for (from, dst) in [
            (&self.pod.ns, cluster_ips()[0]),
            (&self.pod.ns, cluster_ips()[1]),
            (&self.client.ns, self.node_ports()[0]),
            (&self.client.ns, self.node_ports()[1]),
        ] {
            self.agent.wait_ready(&format!("{dst} answers"), PATIENCE, || {
                http_get(from, dst, None, Duration::from_secs(1))
            });
        }
    }

    /// The NodePort's addresses, IPv4 first.
    pub(crate) fn node_ports(&self) -> [SocketAddr; 2] {
        [IpAddr::from(self.node.v4), IpAddr::from(self.node.v6)]
            .map(|ip| SocketAddr::new(ip, NODE_PORT))
    }

    /// Asks `dst` `times` times over new connections and counts who answered. Every answer must
    /// come, seem to come from `dst`, and have been asked by `from` itself.
    #[track_caller]
    pub(crate) fn ask(from: &Namespace, dst: SocketAddr, times: u32) -> BTreeMap<String, u32> {
        let mut shares = BTreeMap::new();
        for _ in 0..times {
            let answer = http_get(from, dst, None, PATIENCE)
                .unwrap_or_else(|error| panic!("{dst} answers: {error}"));
            assert_eq!(answer.peer, dst, "the socket's peer is what was dialled");
            assert_eq!(answer.seen_peer, Some(answer.local), "the server sees the client");
            *shares.entry(answer.name).or_default() += 1;
        }
        shares
    }

    /// Runs `waggle` with a subcommand against this node's pins; panics unless it succeeds.
    #[track_caller]
    pub(crate) fn waggle(&self, arguments: &[&str]) -> String {
        waggle(&self.node, &self.bpffs, arguments)
    }

    /// How often something was counted so far.
    #[track_caller]
    pub(crate) fn counter(&self, name: &str) -> u64 {
        counter(&self.node, &self.bpffs, name)
    }

    /// The parsed output of `waggle … -o json`.
    #[track_caller]
    pub(crate) fn waggle_json(&self, arguments: &[&str]) -> Value {
        waggle_json(&self.node, &self.bpffs, arguments)
    }
}

impl Server {
    /// A new pod of `node` that serves HTTP and UDP.
    pub(crate) fn start(node: &Node, name: &str) -> Self {
        let pod = node.pod(name);
        let http = HttpServer::start(&pod.ns, name, SERVER_PORT);
        let udp = UdpEcho::start(&pod.ns, name, SERVER_PORT);
        Self { pod, node: node.name.clone(), _http: http, _udp: udp }
    }

    /// Where it serves, IPv4 first.
    pub(crate) fn sockets(&self) -> [SocketAddr; 2] {
        [IpAddr::from(self.pod.v4), IpAddr::from(self.pod.v6)]
            .map(|ip| SocketAddr::new(ip, SERVER_PORT))
    }
}

/// The ClusterIPs of `default/web` with its TCP port, IPv4 first.
pub(crate) fn cluster_ips() -> [SocketAddr; 2] {
    ["10.96.0.10:80", "[fd00:96::10]:80"].map(|address| address.parse().expect("address:port"))
}

/// The service `default/web` without its endpoints.
pub(crate) fn web() -> Service {
    service("default/web")
        .cluster_ip("10.96.0.10")
        .cluster_ip("fd00:96::10")
        .port("http", 80, Protocol::Tcp)
        .node_port(NODE_PORT)
        .port("dns", 53, Protocol::Udp)
        .node_port(NODE_PORT)
}

/// The EndpointSlices of a service with these servers, IPv4 first.
pub(crate) fn slices(service: &str, servers: &[Server]) -> [Slice; 2] {
    let (_, name) = service.split_once('/').expect("namespace/name");
    [0, 1].map(|family| {
        let mut slice = slice(&format!("{service}-{family}"))
            .service(name)
            .port("http", SERVER_PORT, Protocol::Tcp)
            .port("dns", SERVER_PORT, Protocol::Udp);
        for server in servers {
            slice = slice.endpoint(&server.sockets()[family].ip().to_string()).on(&server.node);
        }
        slice
    })
}

/// The Node object of `node`.
pub(crate) fn node_object(lab_node: &Node) -> Value {
    let [v4, v6] = lab_node.pod_cidrs();
    node(&lab_node.name)
        .address(&lab_node.v4.to_string())
        .address(&lab_node.v6.to_string())
        .pod_cidr(&v4)
        .pod_cidr(&v6)
        .object()
}

/// An agent on `node` whose cluster is a folder of manifests.
pub(crate) fn start_agent(
    node: &Node,
    manifests: &Manifests,
    bpffs: &Bpffs,
    flags: &[&str],
) -> Agent {
    // Small maps: they are made, dumped and unmade many times.
    let small =
        ["--max-services=1024", "--max-slots=4096", "--max-backends=1024", "--max-flows=16384"];
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let is_usual = |flag: &&str| flags.iter().all(|other| name(other) != name(flag));
    let usual = [
        "run".as_ref(),
        "--manifests".as_ref(),
        manifests.path().as_os_str(),
        "--node-name".as_ref(),
        node.name.as_ref(),
        "--bpffs".as_ref(),
        bpffs.path().as_os_str(),
    ];
    let capacities = small.iter().filter(|flag| is_usual(flag));
    let flags = capacities.chain(flags).map(AsRef::as_ref);
    Agent::start(&node.ns, usual.into_iter().chain(flags))
}

/// What an agent shows of the flows of its node, a line each, as far as it is not zero.
pub(crate) fn flow_metrics(node: &Node) -> String {
    let dst = SocketAddr::from(([127, 0, 0, 1], 10_249));
    let connection = Connection::open(&node.ns, dst, None, PATIENCE);
    let answer = connection.and_then(|mut it| it.get("/metrics")).expect("the agent's metrics");
    let text = String::from_utf8(answer.body).expect("UTF-8");
    let is_of_flows = |line: &&str| {
        let names = ["waggle_flow", "waggle_datapath_events"];
        names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
    };
    text.lines().filter(is_of_flows).collect::<Vec<_>>().join("\n")
}

/// Runs `waggle` with a subcommand against a node's pins; panics unless it succeeds.
#[track_caller]
fn waggle(node: &Node, bpffs: &Bpffs, arguments: &[&str]) -> String {
    let bpffs = bpffs.path().to_str().expect("UTF-8");
    let output = lb_tests::lab::waggle(&node.ns, &[arguments, &["--bpffs", bpffs]].concat());
    assert!(output.status.success(), "waggle {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn waggle_json(node: &Node, bpffs: &Bpffs, arguments: &[&str]) -> Value {
    let text = waggle(node, bpffs, &[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// How often a node counted something so far.
#[track_caller]
pub(crate) fn counter(node: &Node, bpffs: &Bpffs, name: &str) -> u64 {
    let dump = waggle_json(node, bpffs, &["dump"]);
    let counters = dump["counters"].as_array().expect("a list of counters");
    let row = counters.iter().find(|row| row["name"] == name);
    row.and_then(|row| row["value"].as_u64()).expect(name)
}

/// The output of a command that must succeed, run on the machine itself.
#[track_caller]
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
