//! What is typed, and the settings that come of it.

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
        ("--masquerade-all --masquerade kube-proxy", masquerade::ALL | masquerade::LOCAL_BACKENDS),
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
    let skipped = parse("--socket-lb-skip-interfaces tap*,k6t-*").unwrap().skip_interfaces;
    assert_eq!(
        ["tap0", "k6t-eth0", "eth0"].map(|name| skipped.is_match(name)),
        [true, true, false]
    );
    assert!(config.skip_interfaces.is_empty());
}

#[test]
fn the_flags_of_termination_reach_their_settings() {
    let config = parse("").unwrap();
    let interval = Duration::from_mins(3);
    let expected = Settings { tcp: TerminateTcp::Never, netns_dir: "/run/netns".into(), interval };
    assert_eq!((config.globals().terminates_tcp, config.terminate), (false, expected));
    let config = parse("--terminate-tcp removed --netns-dir n --drift-interval 7s").unwrap();
    let interval = Duration::from_secs(7);
    let expected = Settings { tcp: TerminateTcp::Removed, netns_dir: "n".into(), interval };
    assert_eq!((config.globals().terminates_tcp, config.terminate), (true, expected));
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

#[test]
fn how_backends_are_chosen_is_told_by_a_word_and_a_prime() {
    let check = |line: &str, algorithm, size| {
        let plan = parse(line).unwrap().plan;
        assert_eq!((plan.algorithm, plan.table_size.get()), (algorithm, size), "{line}");
    };
    check("", Algorithm::Random, 65_537);
    check("--algorithm maglev --maglev-table-size 16381", Algorithm::Maglev, 16_381);
    refused("--maglev-table-size 16384", "no prime");
    refused("--algorithm wrr", "maglev");
}
