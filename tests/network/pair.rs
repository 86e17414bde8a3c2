//! Two nodes, each with an agent, a pod that serves and a pod that asks, and a client outside.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::lab::{Agent, Bpffs, Client, Lab, Namespace, Node, Pod, Topology, wait_for};
use lb_tests::objects::{Manifests, Protocol, Service, Slice, service};
use lb_tests::traffic::{Connection, UdpClient, http_get, pattern};

use crate::cluster::{
    Cluster, NODE_PORT, PATIENCE, Server, cluster_ips, counter, node_object, slices, start_agent,
};

/// How long two agents may take to start: each has all kernel programs verified.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// The world of tests about more than one node. Fields are dropped in their order: agents go before
/// the namespaces they are in.
pub(crate) struct Pair {
    _agents: [Agent; 2],
    /// `web1` on the first node, `web2` on the second.
    pub(crate) servers: [Server; 2],
    pub(crate) pods: [Pod; 2],
    pub(crate) client: Client,
    pub(crate) nodes: [Node; 2],
    pub(crate) manifests: Manifests,
    pub(crate) bpffs: [Bpffs; 2],
    pub(crate) lab: Lab,
}

impl Pair {
    /// Two nodes of `topology` with agents that know of no service yet.
    pub(crate) fn new(lab: Lab, topology: Topology) -> Self {
        let nodes = [lab.node(topology), lab.node(topology)];
        let client = lab.client();
        let [first, second] = &nodes;
        let servers = [Server::start(first, "web1"), Server::start(second, "web2")];
        let pods = [first.pod("client"), second.pod("client")];
        let (manifests, bpffs) = (Manifests::new(), [Bpffs::new(), Bpffs::new()]);
        manifests.write("node.yaml", &[node_object(first), node_object(second)]);
        let mut agents = [(first, &bpffs[0]), (second, &bpffs[1])]
            .map(|(node, bpffs)| start_agent(node, &manifests, bpffs, &[]));
        for agent in &mut agents {
            agent.wait_printed("every source has delivered", START_PATIENCE);
        }
        Self { _agents: agents, servers, pods, client, nodes, manifests, bpffs, lab }
    }

    /// How often the node of that index counted something so far.
    #[track_caller]
    pub(crate) fn counter(&self, node: usize, name: &str) -> u64 {
        counter(&self.nodes[node], &self.bpffs[node], name)
    }

    /// Writes `service` (`default/web`) with these of the servers as endpoints.
    pub(crate) fn write(&self, service: &Service, servers: &[Server]) {
        self.write_as("web", service, servers);
    }

    /// Writes `service`, which is `default/<name>`.
    pub(crate) fn write_as(&self, name: &str, service: &Service, servers: &[Server]) {
        self.write_slices(name, service, slices(&format!("default/{name}"), servers));
    }

    /// Writes `service`, which is `default/<name>`, with these of its slices.
    pub(crate) fn write_slices(&self, name: &str, service: &Service, slices: [Slice; 2]) {
        let [v4, v6] = slices;
        let objects = [service.object(), v4.object(), v6.object()];
        self.manifests.write(&format!("{name}.yaml"), &objects);
    }

    /// A pod that asks the ClusterIPs of [`web`], and a client outside that asks the first node's
    /// NodePorts.
    pub(crate) fn askers(&self) -> [(&Namespace, SocketAddr); 4] {
        let ([a, b], [c, d]) = (cluster_ips(), node_ports(&self.nodes[0]));
        let (pod, client) = (&self.pods[0].ns, &self.client.ns);
        [(pod, a), (pod, b), (client, c), (client, d)]
    }
}

/// Where the load balancer of [`web`] is, IPv4 first.
pub(crate) const BALANCER: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];

/// The service `default/web` with all kinds of addresses; each has TCP and UDP on the same port.
pub(crate) fn web() -> Service {
    let [v4, v6] = cluster_ips().map(|dst| dst.ip().to_string());
    let service = service("default/web").cluster_ip(&v4).cluster_ip(&v6);
    let service = BALANCER.into_iter().fold(service, Service::load_balancer_ip);
    service
        .port("http", 80, Protocol::Tcp)
        .node_port(NODE_PORT)
        .port("dns", 80, Protocol::Udp)
        .node_port(NODE_PORT)
}

/// The frontends of [`web`] at its load balancer, IPv4 first.
pub(crate) fn balancer() -> [SocketAddr; 2] {
    BALANCER.map(|ip| SocketAddr::new(ip.parse().expect("an address"), 80))
}

/// The frontends of [`web`] at a node, IPv4 first.
pub(crate) fn node_ports(node: &Node) -> [SocketAddr; 2] {
    [IpAddr::from(node.v4), IpAddr::from(node.v6)].map(|ip| SocketAddr::new(ip, NODE_PORT))
}

/// Waits until the server `name` answers at `dst` by TCP.
#[track_caller]
pub(crate) fn wait_for_answer(from: &Namespace, dst: SocketAddr, name: &str) {
    wait_for(&format!("{name} answers at {dst}"), PATIENCE, || {
        let answer = http_get(from, dst, None, Duration::from_secs(1));
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.name == name { Ok(()) } else { Err(format!("{} answers", answer.name)) }
    });
}

/// Writes [`web`] with all servers of the cluster, and waits until it answers.
#[track_caller]
pub(crate) fn write_web(cluster: &Cluster) {
    let [v4, v6] = slices("default/web", &cluster.servers);
    cluster.manifests.write("web.yaml", &[web().object(), v4.object(), v6.object()]);
    for dst in balancer() {
        wait_for_answer(&cluster.pod.ns, dst, "web1");
    }
}

/// Whom a server sees.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// The client, with its own address and port.
    Client,
    /// Somebody with this address in the client's place.
    Other(IpAddr),
}

/// Asks `dst` by TCP and by UDP: `name` must answer, seem to be `dst`, and have seen `seen`.
#[track_caller]
pub(crate) fn check_asked(from: &Namespace, dst: SocketAddr, name: &str, seen: Seen) {
    let is_seen = |peer: SocketAddr, local: SocketAddr| match seen {
        Seen::Client => peer == local,
        Seen::Other(ip) => peer.ip() == ip,
    };
    let answer = http_get(from, dst, None, PATIENCE)
        .unwrap_or_else(|error| panic!("{dst} answers by TCP: {error}"));
    assert_eq!((answer.name.as_str(), answer.peer), (name, dst), "TCP");
    assert!(
        answer.seen_peer.is_some_and(|peer| is_seen(peer, answer.local)),
        "{seen:?}: {answer:?}"
    );
    let open = UdpClient::open(from, dst, None, PATIENCE).unwrap();
    let connected = UdpClient::connect(from, dst, None, PATIENCE).unwrap();
    let local = connected.socket().local_addr().unwrap();
    for client in [open, connected] {
        // An unconnected socket knows its port only.
        let port = client.socket().local_addr().unwrap().port();
        let answer = client.ask_with(&[b'?'; 1000]);
        let answer = answer.unwrap_or_else(|error| panic!("{dst} answers by UDP: {error}"));
        assert_eq!(answer.name, name, "UDP {dst}");
        assert!(
            is_seen(answer.seen_peer, SocketAddr::new(local.ip(), port)),
            "{seen:?}: {answer:?}"
        );
    }
}

/// Sends `length` bytes to `dst` and takes them back.
#[track_caller]
pub(crate) fn check_bulk(from: &Namespace, dst: SocketAddr, length: u32) {
    let sent = pattern(length);
    let mut connection = Connection::open(from, dst, None, PATIENCE).expect("a connection");
    let answer = connection.post("/echo", &sent).expect("an answer");
    assert!(answer.body == sent, "{length} bytes come back from {dst} as they went");
}
