//! `waggle run`: flags as typed, and the [`Config`] made of them.

mod values;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Uri;
use clap::{ArgAction, Args};
use globset::Glob;

use self::values::{api_server, host_name, interval, label_value, node_name};
use super::capacities::CapacityArgs;
use super::detect::DetectArgs;
use super::log::LogArgs;
use super::output::{self, Format};
use super::sockets::SocketArgs;
use super::terminate::TerminateArgs;
use super::timeouts::TimeoutArgs;
use super::{Global, runtime};
use crate::config::{Config, HEALTHZ_PORT, Masquerade, Source, Takeover, VipEcho};
use crate::datapath::attach::{Choice, Order};
use crate::datapath::reserved::PortRange;
use crate::model::Algorithm;
use crate::netlink::InterfaceFilter;
use crate::plan::{self, NodePortAddresses, TableSize};
use crate::serve::BindAddress;

const EXAMPLES: &str = "\
Examples:
  waggle run                                     in a pod, with its service account
  waggle run --kubeconfig /etc/waggle/config --node-name node-1
  waggle run --manifests ./services              Services and EndpointSlices as YAML files
  waggle run --exclude-interfaces 'docker*,virbr*' --nodeport-addresses 10.0.0.0/8

A flag that is not given is looked for in the environment, --max-flows as WAGGLE_MAX_FLOWS, then
in the file of --config, as max-flows. Flags of kube-proxy that mean nothing here are accepted.

Stopping the agent interrupts nothing: what it attached goes on working, and the next agent
takes it over. `waggle cleanup` takes it down.";

/// Flags of `waggle run`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Read settings from this file: keys named as these flags, or a `KubeProxyConfiguration`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what the agent would attach, write and change on this node, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take Services from Kubernetes YAML files in this directory, and follow its changes
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: Option<PathBuf>,
    /// Reach the API server as this file says, instead of with the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where the API server is, instead of where the kubeconfig or the pod's environment says
    #[arg(long, value_name = "URL", alias = "master", value_parser = api_server)]
    api_server: Option<Uri>,
    /// Where the kubelet of this node has its kubeconfig, which tells where the API server is if its
    /// in-cluster address does not answer [default: where kubeadm, k3s and others put it]
    #[arg(long, value_name = "FILE")]
    kubelet_kubeconfig: Option<PathBuf>,
    /// The name of this node in the cluster, also in the environment variable `NODE_NAME`
    /// [default: the host name]
    #[arg(long, value_name = "NAME", alias = "hostname-override", value_parser = node_name)]
    node_name: Option<String>,
    /// Balance only Services whose label service.kubernetes.io/service-proxy-name is this name
    /// [default: only those without the label]
    #[arg(long, value_name = "NAME", value_parser = label_value)]
    service_proxy_name: Option<String>,
    /// Where node ports are opened: primary, all, or networks separated by commas
    #[arg(long, value_name = "WHERE", default_value = "primary")]
    nodeport_addresses: NodePortAddresses,
    /// Do not serve externalIPs: with them, whoever may write Services can take over any address
    /// (CVE-2020-8554)
    #[arg(long)]
    ignore_external_ips: bool,
    /// How backends are chosen for Services whose annotation waggle.dev/algorithm does not say it
    #[arg(long, value_name = "HOW", default_value = "random")]
    algorithm: Algorithm,
    /// How many slots a Maglev table has: a prime, much larger than the number of endpoints. A Service
    /// takes two tables, of four bytes a slot
    #[arg(long, value_name = "PRIME", default_value_t)]
    maglev_table_size: TableSize,
    /// Attach only to interfaces with these names
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',', default_value = "*")]
    include_interfaces: Vec<Glob>,
    /// Never attach to interfaces with these names
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    exclude_interfaces: Vec<Glob>,
    /// Which backends see an address of this node instead of the client's, for traffic to node
    /// ports, load balancer and external addresses under externalTrafficPolicy: Cluster: those on
    /// other nodes, or all of them
    #[arg(long, value_name = "WHICH", default_value = "remote")]
    masquerade: Masquerade,
    /// Hide every client of a ClusterIP behind an address of this node, pods too: for networks in
    /// which answers to a pod do not come back through its node
    #[arg(long)]
    masquerade_all: bool,
    /// The source ports that masqueraded flows get when the client's own does not fit; node ports
    /// and ports that anything on this node listens at should be outside
    #[arg(long, value_name = "LOW-HIGH", default_value_t)]
    masquerade_ports: PortRange,
    /// Keep sockets of this node off those ports: add those that sockets get by themselves
    /// (`ip_local_port_range`) to the sysctl `net.ipv4.ip_local_reserved_ports`, until the cleanup
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    reserve_ports: bool,
    /// What becomes of pings to a ClusterIP or load balancer address: answered by this node, rejected
    /// as unreachable, or dropped. A reply says nothing of the Service
    #[arg(long, value_name = "WHAT", default_value = "answer")]
    vip_echo: VipEcho,
    /// Whether TCP connections that are there already are left to kube-proxy's rules; auto: while they
    /// are there, and it sees all but those of iptables-legacy
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    takeover: Takeover,
    /// How programs are attached
    #[arg(long, value_name = "HOW", default_value = "auto")]
    attach: Choice,
    /// Our place among other programs on an interface; programs already attached keep theirs
    #[arg(long, value_name = "PLACE", default_value = "first")]
    tcx_order: Order,
    /// How often what is in the kernel is compared with what should be there, and repaired: maps,
    /// pins, programs at interfaces and at sockets, entries of sockets that are closed
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = interval)]
    drift_interval: Duration,
    /// Where metrics are served, at /metrics; "" serves none
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10249")]
    metrics_bind_address: BindAddress,
    /// Where the agent tells how it is, at /healthz and /livez; 0.0.0.0 stands for all addresses of
    /// both families, "" or 0 for none
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:10256")]
    healthz_bind_address: BindAddress<HEALTHZ_PORT>,
    /// How many ports of Services have metrics of their own, four series each; those that come
    /// later share one; 0 shows none
    #[arg(long, value_name = "N", default_value = "1000")]
    service_metrics: usize,
    #[command(flatten)]
    detect: DetectArgs,
    #[command(flatten)]
    sockets: SocketArgs,
    #[command(flatten)]
    terminate: TerminateArgs,
    #[command(flatten)]
    timeouts: TimeoutArgs,
    #[command(flatten)]
    capacities: CapacityArgs,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) fn run(global: &Global, args: RunArgs, ignored: &[String]) -> anyhow::Result<ExitCode> {
    args.log.start()?;
    if !ignored.is_empty() {
        tracing::warn!("without a meaning here, and not used: {}", ignored.join(", "));
    }
    let is_rehearsal = args.dry_run;
    let config = config(global, args)?;
    if is_rehearsal {
        let changes = runtime()?.block_on(crate::rehearsal::run(&config))?;
        match global.output {
            Format::Json => output::json(&changes)?,
            Format::Table => output::text(&changes.to_string())?,
        }
    } else {
        runtime()?.block_on(crate::agent::run(config))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything but the host name was checked when the flags were read.
pub(super) fn config(global: &Global, args: RunArgs) -> anyhow::Result<Config> {
    let interfaces = InterfaceFilter::new(&args.include_interfaces, &args.exclude_interfaces)
        .context("read the names of interfaces")?;
    Ok(Config {
        bpffs: global.bpffs.clone(),
        sysctls: global.sysctls.clone(),
        source: source(args.manifests, args.kubeconfig),
        api_server: args.api_server,
        kubelet_kubeconfig: args.kubelet_kubeconfig,
        service_proxy_name: args.service_proxy_name.map(Into::into),
        node_name: args.node_name.map_or_else(host_name, Ok)?,
        plan: plan::Settings {
            node_ports: args.nodeport_addresses,
            detector: args.detect.0,
            ignore_external_ips: args.ignore_external_ips,
            algorithm: args.algorithm,
            table_size: args.maglev_table_size,
        },
        interfaces,
        capacities: args.capacities.capacities(),
        masquerade: args.masquerade,
        masquerade_all: args.masquerade_all,
        masquerade_ports: args.masquerade_ports,
        reserve_ports: args.reserve_ports,
        vip_echo: args.vip_echo,
        timeouts: args.timeouts.timeouts(),
        terminate: args.terminate.settings(args.drift_interval),
        skip_interfaces: args.sockets.skip_interfaces()?,
        sockets: args.sockets.settings(),
        takeover: args.takeover,
        attach: args.attach,
        order: args.tcx_order,
        drift_interval: args.drift_interval,
        metrics: args.metrics_bind_address,
        healthz: args.healthz_bind_address,
        service_metrics: args.service_metrics,
    })
}

fn source(manifests: Option<PathBuf>, kubeconfig: Option<PathBuf>) -> Source {
    match (manifests, kubeconfig) {
        (Some(directory), _) => Source::Manifests(directory),
        (None, Some(file)) => Source::Kubeconfig(file),
        (None, None) => Source::InCluster,
    }
}

#[cfg(test)]
mod tests;
