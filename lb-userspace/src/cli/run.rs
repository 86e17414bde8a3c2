//! `waggle run`: flags as typed, and the [`Config`] made of them.
// tidy: long because every flag of the agent is described here

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::Uri;
use clap::{ArgAction, Args};
use globset::Glob;
use jiff::SignedDuration;

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
use crate::netlink::InterfaceFilter;
use crate::plan::{self, NodePortAddresses};
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
    /// Whether TCP connections that are there already are left to kube-proxy's rules: until the agent
    /// starts again without them; auto sees all rules but those of iptables-legacy
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    takeover: Takeover,
    /// How programs are attached
    #[arg(long, value_name = "HOW", default_value = "auto")]
    attach: Choice,
    /// Our place among other programs on an interface; programs already attached keep theirs
    #[arg(long, value_name = "PLACE", default_value = "first")]
    tcx_order: Order,
    /// How often what is in the kernel is compared with what should be there, and repaired: maps,
    /// pins, programs at interfaces and at sockets
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
        },
        interfaces,
        capacities: args.capacities.capacities(),
        masquerade: args.masquerade,
        masquerade_all: args.masquerade_all,
        masquerade_ports: args.masquerade_ports,
        reserve_ports: args.reserve_ports,
        vip_echo: args.vip_echo,
        timeouts: args.timeouts.timeouts(),
        terminate: args.terminate.settings(),
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

/// As the kubelet names a node that nobody named.
fn host_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .context("read the host name; give --node-name instead")?;
    node_name(&name).map_err(|problem| anyhow!("the host name {problem}; give --node-name instead"))
}

/// Kubelet and kube-proxy trim what they are told, and make it lower case.
fn node_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() { Err("is empty".to_owned()) } else { Ok(name) }
}

/// Often enough to matter, and seldom enough to leave time for the rest.
fn interval(text: &str) -> Result<Duration, &'static str> {
    let duration = text.parse().ok().and_then(|it: SignedDuration| Duration::try_from(it).ok());
    duration
        .filter(|it| (Duration::from_millis(100)..=Duration::from_hours(24)).contains(it))
        .ok_or("give a duration between 100ms and 24h, such as 3m or 90s")
}

fn api_server(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some() && uri.scheme().is_some());
    uri.ok_or_else(|| "write it as https://10.0.0.1:6443".to_owned())
}

/// A value that a label can have, and not the empty one.
fn label_value(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edges = [text.bytes().next(), text.bytes().last()];
    let edges_fit = edges.iter().all(|byte| byte.is_some_and(|b| b.is_ascii_alphanumeric()));
    if !edges_fit || text.len() > 63 || !text.bytes().all(inner) {
        return Err("no label has this value; use up to 63 letters, digits, - _ or .".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use lb_common::abi::settings::{echo, masquerade};
    use lb_common::clock::Ticks;
    use lb_common::decide::state::Timeouts;

    use super::*;
    use crate::cli::{Command, layers};
    use crate::datapath::sockets::{self, SocketLb};
    use crate::maps::Capacities;
    use crate::terminate::{Settings, TerminateTcp};

    fn parse(line: &str) -> Result<Config, clap::Error> {
        let words = ["waggle", "run"].into_iter().chain(line.split_whitespace());
        let cli = layers::read(words.map(Into::into), |_| None)?;
        let Command::Run(args) = cli.command else { panic!("{line} is no run") };
        Ok(config(&cli.global, *args).unwrap())
    }

    #[track_caller]
    fn refused(line: &str, part: &str) {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn without_flags_the_agent_runs_in_its_pod() {
        let config = parse("").unwrap();
        assert_eq!(config.source, Source::InCluster);
        assert_eq!(config.bpffs, PathBuf::from("/sys/fs/bpf"));
        assert_eq!(config.capacities, Capacities::default());
        assert_eq!(config.plan, plan::Settings::default());
        assert_eq!((config.attach, config.order), (Choice::Auto, Order::First));
        assert_eq!(config.sockets, sockets::Settings::default());
        assert_eq!((config.masquerade, config.masquerade_all), (Masquerade::Remote, false));
        assert_eq!((config.masquerade_ports, config.reserve_ports), (PortRange::default(), true));
        assert_eq!(config.timeouts, Timeouts::DEFAULT);
        assert!(!config.node_name.is_empty());
        assert_eq!(config.metrics, BindAddress(Some("127.0.0.1:10249".parse().unwrap())));
        assert_eq!(config.healthz, BindAddress(Some("0.0.0.0:10256".parse().unwrap())));
        assert_eq!(config.service_metrics, 1000);
        assert_eq!(config.drift_interval, Duration::from_mins(3));
    }

    #[test]
    fn flags_reach_their_settings() {
        let config = parse(
            "--manifests m --kubelet-kubeconfig k --node-name n --service-proxy-name my-bees.v1 --max-flows 99 \
             --masquerade-ports 40000-40009 --reserve-ports=false --conntrack-udp-timeout 7s --attach clsact --tcx-order last --bpffs b --metrics-bind-address= --healthz-bind-address ::1 --service-metrics 7",
        )
        .unwrap();
        assert_eq!(config.source, Source::Manifests("m".into()));
        assert_eq!(config.kubelet_kubeconfig, Some("k".into()));
        assert_eq!(config.node_name, "n");
        assert_eq!(config.service_proxy_name.as_deref(), Some("my-bees.v1"));
        assert_eq!(config.capacities, Capacities { flows: 99, ..Capacities::default() });
        assert_eq!((config.attach, config.order), (Choice::Clsact, Order::Last));
        let ports = PortRange { low: 40_000, high: 40_009 };
        assert_eq!((config.masquerade_ports, config.reserve_ports), (ports, false));
        assert_eq!(config.timeouts.udp_unanswered, Ticks::in_seconds(7));
        assert_eq!(config.bpffs, PathBuf::from("b"));
        assert_eq!(config.metrics, BindAddress(None));
        assert_eq!(config.healthz, BindAddress(Some("[::1]:10256".parse().unwrap())));
        assert_eq!(config.service_metrics, 7);
        let config = parse("--ignore-external-ips --detect-local-mode none").unwrap();
        assert!(config.plan.ignore_external_ips);
        assert_eq!(config.plan.detector, plan::Detector::None);
    }

    #[test]
    fn a_drift_interval_is_neither_too_short_nor_too_long() {
        assert_eq!(parse("--drift-interval 90s").unwrap().drift_interval, Duration::from_secs(90));
        for junk in ["0", "0s", "99ms", "25h", "often", "-1m"] {
            refused(&format!("--drift-interval={junk}"), "between 100ms and 24h");
        }
    }

    /// As kube-proxy reads `--hostname-override`: the name is compared with that of the Node.
    #[test]
    fn a_node_name_is_trimmed_and_in_lower_case() {
        assert_eq!(parse("--node-name Node1").unwrap().node_name, "node1");
        assert_eq!(node_name(" NODE-1.example\n").as_deref(), Ok("node-1.example"));
        assert!(node_name(" \n").is_err());
        refused("--node-name=", "--node-name");
    }

    #[test]
    fn the_masquerade_flags_reach_the_programs() {
        for (line, bits) in [
            ("", 0),
            ("--masquerade remote", 0),
            ("--masquerade kube-proxy", masquerade::LOCAL_BACKENDS),
            ("--masquerade-all", masquerade::ALL),
            (
                "--masquerade-all --masquerade kube-proxy",
                masquerade::ALL | masquerade::LOCAL_BACKENDS,
            ),
        ] {
            assert_eq!(parse(line).unwrap().globals().masquerade, bits, "{line}");
        }
    }

    #[test]
    fn the_echo_flag_reaches_the_programs() {
        for (line, value) in [
            ("", echo::ANSWER),
            ("--vip-echo answer", echo::ANSWER),
            ("--vip-echo reject", echo::REJECT),
            ("--vip-echo drop", echo::DROP),
        ] {
            assert_eq!(parse(line).unwrap().globals().vip_echo, value, "{line}");
        }
        refused("--vip-echo no", "--vip-echo");
    }

    #[test]
    fn the_takeover_flag_reaches_the_programs() {
        for (line, takeover, takes_over) in [
            ("", Takeover::Auto, false),
            ("--takeover on", Takeover::On, true),
            ("--takeover off", Takeover::Off, false),
        ] {
            let config = parse(line).unwrap();
            assert_eq!((config.takeover, config.globals().takes_over), (takeover, takes_over));
        }
        refused("--takeover yes", "--takeover");
    }

    #[test]
    fn the_flags_of_sockets_reach_their_settings() {
        let config = parse("--socket-lb all --guard-node-ports --cgroup-root c").unwrap();
        let (whose, root) = (SocketLb::All, Some("c".into()));
        assert_eq!(config.sockets, sockets::Settings { whose, guard_node_ports: true, root });
        assert!(config.globals().all_sockets);
        assert!(!parse("--socket-lb host").unwrap().globals().all_sockets);
    }

    #[test]
    fn the_flags_of_termination_reach_their_settings() {
        let settings = |line| parse(line).unwrap().terminate;
        let expected = Settings { tcp: TerminateTcp::Never, netns_dir: "/run/netns".into() };
        assert_eq!(settings(""), expected);
        let expected = Settings { tcp: TerminateTcp::Removed, netns_dir: "n".into() };
        assert_eq!(settings("--terminate-tcp removed --netns-dir n"), expected);
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        refused("--manifests m --kubeconfig k", "cannot be used with");
        refused("--masquerade no", "--masquerade");
        refused("--socket-lb some", "--socket-lb");
        refused("--terminate-tcp terminating", "--terminate-tcp");
        refused("--masquerade-ports 80-90", "begin at 1024");
        refused("--max-flows 1", "--max-flows");
        refused("--max-services 99999999999", "--max-services");
        refused("--nodeport-addresses eth0", "--nodeport-addresses");
        refused("--exclude-interfaces a[", "--exclude-interfaces");
        refused("--metrics-bind-address localhost", "--metrics-bind-address");
        refused("--service-proxy-name a,b", "--service-proxy-name");
        refused("--api-server 10.0.0.1:6443", "https://");
        refused("--service-proxy-name -", "--service-proxy-name");
        refused("--log-level lb_userspace=loud", "--log-level");
    }
}
