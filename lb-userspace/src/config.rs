//! What the agent was told to do: validated, typed, ready.
//!
//! The command line is the low side (what was typed, [`crate::cli`]); this is the high side, and the
//! only one the agent sees.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use globset::GlobSet;
use lb_common::abi::settings::{echo, masquerade};
use lb_common::decide::state::Timeouts;

use crate::datapath::attach::{Choice, Order};
use crate::datapath::load::Globals;
use crate::datapath::reserved::PortRange;
use crate::datapath::sockets::{self, SocketLb};
use crate::maps::Capacities;
use crate::netlink::InterfaceFilter;
use crate::plan;
use crate::serve::BindAddress;
use crate::terminate::{self, TerminateTcp};

/// The port of `/healthz` where only an address was given, as in kube-proxy.
pub const HEALTHZ_PORT: u16 = 10_256;

/// The agent's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The BPF file system under which everything is pinned.
    pub bpffs: PathBuf,
    /// `/proc/sys`, or where that can be written.
    pub sysctls: PathBuf,
    /// Where Services come from.
    pub source: Source,
    /// Where the API server is, whatever the source says.
    pub api_server: Option<Uri>,
    /// The kubeconfig of the node's kubelet, if it is at no usual place.
    pub kubelet_kubeconfig: Option<PathBuf>,
    /// Only Services with this value of the label `service.kubernetes.io/service-proxy-name` are
    /// ours; `None`: only those without the label.
    pub service_proxy_name: Option<Arc<str>>,
    /// The name of this node in the cluster.
    pub node_name: String,
    /// What plans depend on.
    pub plan: plan::Settings,
    /// Which interfaces may be attached.
    pub interfaces: InterfaceFilter,
    /// How large the maps are.
    pub capacities: Capacities,
    /// Which clients backends see under an address of this node.
    pub masquerade: Masquerade,
    /// Whether all clients of ClusterIPs are among them.
    pub masquerade_all: bool,
    /// The source ports that masqueraded flows get.
    pub masquerade_ports: PortRange,
    /// What becomes of echo requests to addresses that only Services have.
    pub vip_echo: VipEcho,
    /// Whether the node's own sockets are kept off them.
    pub reserve_ports: bool,
    /// How long flows last without a packet.
    pub timeouts: Timeouts,
    /// What is done at sockets.
    pub sockets: sockets::Settings,
    /// The names of interfaces whose network namespaces are left to their packets, where the sockets of
    /// pods are translated.
    pub skip_interfaces: GlobSet,
    /// Whether connections of kube-proxy are left to it.
    pub takeover: Takeover,
    /// What becomes of sockets whose backend is gone.
    pub terminate: terminate::Settings,
    /// How programs are attached.
    pub attach: Choice,
    /// Our place among other programs.
    pub order: Order,
    /// How often what is in the kernel is compared with what should be there.
    pub drift_interval: Duration,
    /// Where metrics are served.
    pub metrics: BindAddress,
    /// Where the agent tells how it is.
    pub healthz: BindAddress<HEALTHZ_PORT>,
    /// How many services have metrics of their own.
    pub service_metrics: usize,
}

impl Config {
    /// The settings that the programs read.
    #[must_use]
    pub fn globals(&self) -> Globals {
        let local = match self.masquerade {
            Masquerade::Remote => 0,
            Masquerade::KubeProxy => masquerade::LOCAL_BACKENDS,
        };
        let all = if self.masquerade_all { masquerade::ALL } else { 0 };
        Globals {
            masquerade: local | all,
            masquerade_ports: self.masquerade_ports,
            vip_echo: match self.vip_echo {
                VipEcho::Answer => echo::ANSWER,
                VipEcho::Reject => echo::REJECT,
                VipEcho::Drop => echo::DROP,
            },
            all_sockets: self.sockets.whose == SocketLb::All,
            takes_over: self.takeover == Takeover::On,
            terminates_tcp: self.terminate.tcp == TerminateTcp::Removed,
            ..Globals::default()
        }
    }
}

/// Which backends see an address of this node instead of the client's, where a client from outside
/// could not be answered otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Masquerade {
    /// Only backends on other nodes: those on this node see who asks.
    #[default]
    Remote,
    /// Backends on this node as well, as with kube-proxy.
    KubeProxy,
}

/// Whether TCP connections that began before us are left to kube-proxy's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Takeover {
    /// If its rules are there when the agent starts, and until they are gone.
    #[default]
    Auto,
    /// Yes, as long as the agent runs.
    On,
    /// No: each is given a backend, which may be another one.
    Off,
}

/// What becomes of an echo request (ping) to an address that only Services have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum VipEcho {
    /// This node answers.
    #[default]
    Answer,
    /// This node says that nobody is there.
    Reject,
    /// Nobody says anything.
    Drop,
}

/// Where Services come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server, with the service account of the pod the agent runs in.
    InCluster,
    /// The API server that a kubeconfig file names.
    Kubeconfig(PathBuf),
    /// Ordinary Kubernetes YAML in a directory.
    Manifests(PathBuf),
}
