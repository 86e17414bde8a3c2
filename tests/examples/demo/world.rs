//! The node, its pods and the client outside, with an agent that knows the manifests of deploy/demo.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use lb_tests::lab::{Agent, Bpffs, Client, Lab, Namespace, Node, Pod, Topology};
use lb_tests::objects::Manifests;
use lb_tests::traffic::{HttpServer, http_get};
use lb_userspace::datapath::pins::Pins;
use serde_json::Value;

use crate::requests::{PATIENCE, Target};

const NODE: &str = include_str!("../../../deploy/demo/node.yaml");
const SERVICE: &str = include_str!("../../../deploy/demo/web-service.yaml");
const ENDPOINTS: &str = include_str!("../../../deploy/demo/web-endpoints.yaml");

/// Where the pods serve, and what the Service is dialled by, as the manifests say.
const SERVER_PORT: u16 = 8080;
const CLUSTER_IPS: [&str; 2] = ["10.96.0.10:80", "[fd00:96::10]:80"];
const NODE_PORT: u16 = 30_080;

/// Everything there is. Fields are dropped in their order: the agent goes before its namespace.
#[derive(Debug)]
pub(crate) struct World {
    agent: Agent,
    /// The pods that serve, with their servers.
    pub(crate) pods: [(Pod, HttpServer); 3],
    asking: Pod,
    client: Client,
    node: Node,
    manifests: Manifests,
    bpffs: Bpffs,
    _lab: Lab,
}

impl World {
    /// A node of `topology`; returns when its Service answers.
    pub(crate) fn new(topology: Topology) -> Self {
        let lab = Lab::new();
        let (node, client) = (lab.node(topology), lab.client());
        // The first three pods: their addresses are the EndpointSlices'.
        let pods = ["web1", "web2", "web3"].map(|name| {
            let pod = node.pod(name);
            let server = HttpServer::start(&pod.ns, name, SERVER_PORT);
            (pod, server)
        });
        let asking = node.pod("client");
        let (manifests, bpffs) = (Manifests::new(), Bpffs::new());
        for (file, text) in
            [("node.yaml", NODE), ("web-service.yaml", SERVICE), ("web-endpoints.yaml", ENDPOINTS)]
        {
            manifests.write_text(file, text);
        }
        let mut agent = start_agent(&node, &manifests, &bpffs);
        for target in targets(&asking, &client, &node) {
            agent.wait_ready(&format!("{} answers", target.dst), PATIENCE, || {
                http_get(target.from, target.dst, None, Duration::from_secs(1))
            });
        }
        Self { agent, pods, asking, client, node, manifests, bpffs, _lab: lab }
    }

    /// What is asked, ClusterIPs first, IPv4 first.
    pub(crate) fn targets(&self) -> [Target<'_>; 4] {
        targets(&self.asking, &self.client, &self.node)
    }

    /// Leaves the first `count` endpoints in the EndpointSlices; returns when new connections are
    /// answered by those alone.
    pub(crate) fn scale(&mut self, count: usize) {
        let mut slices: Vec<Value> =
            serde_saphyr::from_multiple(ENDPOINTS).expect("read the EndpointSlices of the demo");
        for slice in &mut slices {
            slice["endpoints"].as_array_mut().expect("a slice has endpoints").truncate(count);
        }
        self.manifests.write("web-endpoints.yaml", &slices);
        let Self { agent, asking, .. } = self;
        agent.wait_ready(&format!("{count} pods answer"), PATIENCE, || {
            let found = answering(&asking.ns);
            if found.len() == count { Ok(()) } else { Err(format!("{found:?} answer")) }
        });
    }

    /// What `bpftool` prints of a map.
    pub(crate) fn bpftool_dump(&self, map: &str) -> String {
        let pin = Pins::new(self.bpffs.path()).map(map);
        let pin = pin.to_str().expect("temporary directories have names in UTF-8");
        self.node.ns.output("bpftool", &["--json", "map", "dump", "pinned", pin])
    }

    /// What a command of `waggle` prints on the node.
    pub(crate) fn waggle(&self, command: &str) -> String {
        let bpffs = self.bpffs.path().to_str().expect("temporary directories have names in UTF-8");
        let output = lb_tests::lab::waggle(&self.node.ns, &[command, "--bpffs", bpffs]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "waggle {command}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Commands for another terminal.
    pub(crate) fn hints(&self) -> String {
        let (client, node) = (self.client.ns.name(), self.node.ns.name());
        let (bpffs, [.., node_port, _]) = (self.bpffs.path().display(), self.targets());
        let manifests = self.manifests.path().display();
        format!(
            "  ip netns exec {client} curl -s http://{}/
  ip netns exec {node} ip address
  target/debug/waggle flows --bpffs {bpffs}
  target/debug/waggle dump --bpffs {bpffs}
  editor {manifests}/web-endpoints.yaml",
            node_port.dst
        )
    }
}

fn targets<'a>(asking: &'a Pod, client: &'a Client, node: &Node) -> [Target<'a>; 4] {
    let (pod, outside) = (("pod", &asking.ns), ("outside", &client.ns));
    let [cluster_v4, cluster_v6] = CLUSTER_IPS.map(|dst| dst.parse().expect("address:port"));
    let [node_v4, node_v6] = [IpAddr::from(node.v4), IpAddr::from(node.v6)];
    [
        ("ClusterIP IPv4", pod, cluster_v4),
        ("ClusterIP IPv6", pod, cluster_v6),
        ("NodePort IPv4", outside, SocketAddr::new(node_v4, NODE_PORT)),
        ("NodePort IPv6", outside, SocketAddr::new(node_v6, NODE_PORT)),
    ]
    .map(|(kind, (client, from), dst)| Target { kind, client, from, dst })
}

fn start_agent(node: &Node, manifests: &Manifests, bpffs: &Bpffs) -> Agent {
    let [manifests, bpffs] = [manifests.path(), bpffs.path()].map(Path::as_os_str);
    let arguments = [
        OsStr::new("run"),
        OsStr::new("--manifests"),
        manifests,
        OsStr::new("--node-name"),
        OsStr::new(&node.name),
        OsStr::new("--bpffs"),
        bpffs,
    ];
    Agent::start(&node.ns, arguments)
}

/// Who answers on the first ClusterIP: 24 answers miss one of three pods once in 5 000 times, and
/// then the caller asks again.
fn answering(from: &Namespace) -> BTreeSet<String> {
    let dst = CLUSTER_IPS[0].parse().expect("address:port");
    let answers = (0..24).map_while(|_| http_get(from, dst, None, PATIENCE).ok());
    answers.map(|answer| answer.name).collect()
}
