//! The cluster of the story: two nodes with agents, and pods that serve, ask, resolve and proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::ingress::Ingress;
use super::names::Names;
use super::objects::{self, PodStatus};
use crate::lab::{
    Agent, Bpffs, Client, Lab, Node, Pod, Program, ROUTER_V4, ROUTER_V6, Topology, waggle, wait_for,
};
use crate::objects::{Manifests, Node as NodeObject};
use crate::traffic::{HttpServer, http_get};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long two agents may take to start: each has all kernel programs verified.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// The web Service's own addresses, IPv4 first.
pub(super) const CLUSTER_IPS: [&str; 2] = ["10.96.0.80", "fd00:96::80"];
/// The addresses of its load balancer, IPv4 first.
pub(super) const BALANCER: [&str; 2] = ["192.0.2.80", "2001:db8::80"];
/// Its port on every node.
pub(super) const WEB_PORT: u16 = 30_080;
/// The ingress's port on every node.
pub(super) const INGRESS_PORT: u16 = 30_081;
/// Where pods look names up.
const DNS_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Everything there is. Fields are dropped in their order: programs go before their namespaces.
#[derive(Debug)]
pub struct World {
    agents: [Agent; 2],
    /// The name servers; the last one is on the second node.
    pub(super) dns: Vec<(Pod, Program)>,
    ingress: Ingress,
    pub(super) ingress_pod: Pod,
    pub(super) web: Web,
    _database: HttpServer,
    /// A pod on each node that asks.
    pub(super) shells: [Pod; 2],
    pub(super) client: Client,
    pub(super) nodes: [Node; 2],
    pub(super) names: Names,
    services: Vec<Value>,
    manifests: Manifests,
    bpffs: [Bpffs; 2],
    _lab: Lab,
}

/// A pod that serves the web.
#[derive(Debug)]
pub(super) struct Web {
    pod: Pod,
    node: String,
    _server: HttpServer,
}

impl World {
    /// The cluster with one pod that serves the web; returns when every way to it answers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "building a world is not a default")]
    pub fn new() -> Self {
        let lab = Lab::new();
        let nodes = [lab.node(Topology::Routed), lab.node(Topology::Bridge)];
        let client = lab.client();
        for ip in BALANCER {
            client.route(ip, &nodes[0]);
        }
        let [first, second] = &nodes;
        let (names, services) = (Names::new(DNS_IP.into()), objects::services());
        let dns = [(first, "dns1"), (second, "dns2")];
        let dns = dns.map(|(node, name)| name_server(node, name, &names, &services)).into();
        let web = Web::start(first, "web1");
        let ingress_pod = second.pod("ingress");
        let upstreams = objects::upstreams(&services, "web-server-service", &[web.status()]);
        let ingress = Ingress::start(&ingress_pod.ns, &upstreams);
        let (manifests, bpffs) = (Manifests::new(), [Bpffs::new(), Bpffs::new()]);
        let objects = [first, second].map(|real| NodeObject::from(real).object());
        manifests.write("nodes.yaml", &objects);
        manifests.write_text("services.yaml", objects::SERVICES);
        let agents = [(first, &bpffs[0]), (second, &bpffs[1])]
            .map(|(node, bpffs)| start_agent(node, &manifests, bpffs));
        let mut world = Self {
            agents,
            dns,
            ingress,
            ingress_pod,
            web,
            _database: HttpServer::start(&lab.router, "database", 80),
            shells: [first.pod("shell"), second.pod("shell")],
            client,
            nodes,
            names,
            services,
            manifests,
            bpffs,
            _lab: lab,
        };
        world.wait_until_served();
        world
    }

    /// Says which pods serve the web, besides all others that there are: to the agents by slices, to
    /// the name servers by records, to the ingress by its configuration.
    pub(super) fn publish(&self, web: &[PodStatus]) {
        let mut pods = web.to_vec();
        pods.push(status("ingress", &self.ingress_pod, &self.nodes[1].name));
        for ((pod, _), node) in self.dns.iter().zip(&self.nodes) {
            pods.push(status("kube-dns", pod, &node.name));
        }
        self.manifests.write("slices.yaml", &objects::slices(&self.services, &pods));
        self.names.write_hosts(&objects::hosts(&self.services, &pods));
        for (_, server) in &self.dns {
            server.reload();
        }
        self.ingress.send_to(&objects::upstreams(&self.services, "web-server-service", &pods));
    }

    /// The first node's Services, as its agent has them.
    pub(super) fn waggle_services(&self) -> String {
        let bpffs = self.bpffs[0].path().to_str().expect("UTF-8");
        let output = waggle(&self.nodes[0].ns, &["services", "--bpffs", bpffs]);
        assert!(output.status.success(), "waggle services: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_until_served(&mut self) {
        for (_, server) in &self.dns {
            server.wait_printed("started", PATIENCE);
        }
        let [first, second] = &mut self.agents;
        for agent in [first, second] {
            agent.wait_printed("every source has delivered", START_PATIENCE);
        }
        self.publish(&[self.web.status()]);
        let ports = self.nodes.iter().flat_map(|node| {
            let ips = [IpAddr::from(node.v4), node.v6.into()];
            ips.into_iter()
                .flat_map(|ip| [WEB_PORT, INGRESS_PORT].map(|port| SocketAddr::new(ip, port)))
        });
        for dst in ports {
            wait_for(&format!("{dst} answers"), PATIENCE, || {
                http_get(&self.client.ns, dst, None, Duration::from_secs(2))
            });
        }
    }
}

impl Web {
    pub(super) fn start(node: &Node, name: &str) -> Self {
        let pod = node.pod(name);
        let server = HttpServer::start(&pod.ns, name, 8080);
        Self { pod, node: node.name.clone(), _server: server }
    }

    /// As controllers see it.
    pub(super) fn status(&self) -> PodStatus {
        status("web-server", &self.pod, &self.node)
    }
}

fn status(app: &'static str, pod: &Pod, node: &str) -> PodStatus {
    PodStatus { app, node: node.to_owned(), v4: pod.v4, v6: pod.v6, is_terminating: false }
}

fn name_server(node: &Node, name: &str, names: &Names, services: &[Value]) -> (Pod, Program) {
    let pod = node.pod(name);
    let database = [ROUTER_V4.into(), ROUTER_V6.into()];
    let server = names.serve(&pod.ns, &objects::aliases(services), database);
    (pod, server)
}

fn start_agent(node: &Node, manifests: &Manifests, bpffs: &Bpffs) -> Agent {
    let [manifests, bpffs] = [manifests.path(), bpffs.path()].map(Path::as_os_str);
    let named = [
        "--manifests".as_ref(),
        manifests,
        "--node-name".as_ref(),
        node.name.as_ref(),
        "--bpffs".as_ref(),
        bpffs,
    ];
    // Small maps: they are made twice.
    let small =
        ["--max-services=1024", "--max-slots=4096", "--max-backends=1024", "--max-flows=16384"];
    let arguments = ["run"].into_iter().chain(small).map(AsRef::as_ref).chain(named);
    Agent::start(&node.ns, arguments)
}
