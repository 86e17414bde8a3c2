//! A node with a pod that asks and a pod that serves, and what is between them.
//!
//! Each rig is a lab of its own, so that no two paths share addresses and ports at a server, and
//! only the rigs of nftables have conntrack.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path as FilePath;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::lab::{Agent, Bpffs, Lab, Namespace, Node, Pod, Topology};
use lb_tests::objects::Manifests;
use serde::Serialize;

use crate::cpu::Cpu;
use crate::load::Workload;
use crate::{manifests, nftables, server};

/// Where every Service is dialled.
pub(crate) const SERVICE_PORT: u16 = 80;
/// Where the server listens for what comes through a Service, or directly where there is none.
const SERVER_PORT: u16 = 8080;
/// Where it listens for what passes Waggle and is no Service's.
const OTHER_PORT: u16 = 8081;
/// How long an unoptimised agent may take to read and write 50,000 Services.
const PATIENCE: Duration = Duration::from_mins(4);

/// How the client gets to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// To the pod's address, on a node without anything.
    Direct,
    /// The same on another such node: what differs is noise.
    DirectAgain,
    /// To the pod's address, on a node with Waggle.
    PastWaggle,
    /// To a `ClusterIP`, translated at the client's link.
    Tc,
    /// To a `ClusterIP`, translated at the client's socket.
    Socket,
    /// To a `ClusterIP`, translated by nftables.
    Nftables,
}

impl Way {
    /// What people call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectAgain => "direct again",
            Self::PastWaggle => "direct past Waggle",
            Self::Tc => "Waggle at TC",
            Self::Socket => "Waggle at the socket",
            Self::Nftables => "nftables",
        }
    }
}

/// One way, with so many Services on the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    pub(crate) way: Way,
    pub(crate) services: u32,
    pub(crate) client: &'a Namespace,
    pub(crate) target: SocketAddr,
}

/// A small world. Fields are dropped in their order: the agent goes before its namespace.
#[derive(Debug)]
pub(crate) struct Rig {
    way: Way,
    services: u32,
    agent: Option<Agent>,
    client: Pod,
    server: Pod,
    node: Node,
    manifests: Option<Manifests>,
    bpffs: Bpffs,
    _lab: Lab,
}

impl Rig {
    /// A node with `services` Services of which one leads to the server; returns when it answers.
    pub(crate) fn new(way: Way, services: u32, cpu: Cpu) -> Result<Self> {
        let (lab, bpffs) = (Lab::new(), Bpffs::new());
        let node = lab.node(Topology::Routed);
        let (client, server) = (node.pod("client"), node.pod("server"));
        // Else the client runs out of ports, for closed connections hold theirs for a minute.
        client.ns.sysctls(&[
            ("net.ipv4.tcp_tw_reuse", "1"),
            ("net.ipv4.ip_local_port_range", "1024 65535"),
        ]);
        for port in [SERVER_PORT, OTHER_PORT] {
            server::start(&server.ns, port, cpu).context("start a server")?;
        }
        let (agent, manifests) = (None, None);
        let mut rig =
            Self { way, services, agent, client, server, node, manifests, bpffs, _lab: lab };
        rig.fill()?;
        rig.try_out()?;
        Ok(rig)
    }

    /// The paths through it.
    pub(crate) fn paths(&self) -> Vec<Path<'_>> {
        let path = |way, ip, port| {
            let (services, client) = (self.services, &self.client.ns);
            Path { way, services, client, target: SocketAddr::new(Ipv4Addr::into(ip), port) }
        };
        match self.way {
            Way::Direct | Way::DirectAgain => vec![path(self.way, self.server.v4, SERVER_PORT)],
            Way::Tc => vec![
                path(Way::PastWaggle, self.server.v4, OTHER_PORT),
                path(self.way, service_ip(0), SERVICE_PORT),
            ],
            _ => vec![path(self.way, service_ip(0), SERVICE_PORT)],
        }
    }

    fn fill(&mut self) -> Result<()> {
        match self.way {
            Way::Direct | Way::DirectAgain | Way::PastWaggle => Ok(()),
            Way::Tc => self.start_agent("host"),
            Way::Socket => self.start_agent("all"),
            Way::Nftables => nftables::load(&self.node, &self.server, SERVER_PORT, self.services),
        }
    }

    /// Returns when everything is in the maps.
    fn start_agent(&mut self, socket_lb: &str) -> Result<()> {
        let manifests = manifests::write(&self.node, &self.server, SERVER_PORT, self.services)?;
        let [folder, bpffs] = [manifests.path(), self.bpffs.path()].map(FilePath::as_os_str);
        let sockets = format!("--socket-lb={socket_lb}");
        let arguments = ["run".as_ref(), "--manifests".as_ref(), folder, "--bpffs".as_ref(), bpffs];
        let names = ["--node-name", &self.node.name, &sockets].map(AsRef::as_ref);
        let mut agent = Agent::start(&self.node.ns, arguments.into_iter().chain(names));
        let what = format!("{} Services are written", self.services);
        agent.wait_ready(&what, PATIENCE, || has_written(&self.node, self.services));
        (self.agent, self.manifests) = (Some(agent), Some(manifests));
        Ok(())
    }

    /// Every path answers in every way.
    fn try_out(&self) -> Result<()> {
        for Path { way, client, target, .. } in self.paths() {
            for workload in Workload::ALL {
                client
                    .run(|| workload.run(target, Duration::ZERO))
                    .with_context(|| format!("try {}: {}", way.title(), workload.title()))?;
            }
        }
        Ok(())
    }
}

/// Whether the agent says so in its metrics.
fn has_written(node: &Node, services: u32) -> Result<(), String> {
    let curl = || {
        let arguments = ["--silent", "http://127.0.0.1:10249/metrics"];
        Command::new("curl").args(arguments).output()
    };
    let output = node.ns.run(curl).map_err(|error| format!("run curl: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u32>().ok())
    };
    match (value("waggle_services"), value("waggle_unwritten_services")) {
        (Some(written), Some(0)) if written >= services => Ok(()),
        found => Err(format!("services and unwritten services are {found:?}")),
    }
}

/// The `ClusterIP` of a Service; that of the dialled one is number 0.
pub(crate) fn service_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 10)) + number)
}

/// The endpoint of any Service but the dialled one: nobody is there.
pub(crate) fn endpoint_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + number)
}
