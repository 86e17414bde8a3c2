//! Lines, environments and files in, settings out.

use std::fs;

use super::*;
use crate::cli::run::config;
use crate::cli::{Cli, Command};
use crate::config::{Config, Masquerade, Source};
use crate::plan::Detector;

/// What kubeadm writes for kube-proxy, shortened where it repeats itself.
const KUBEADM: &str = r#"
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 2h0m0s
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 7s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: Node-1
iptables:
  localhostNodePorts: null
  masqueradeAll: true
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: true
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ipvs
nodePortAddresses: ["10.0.0.0/8", "fd00::/8"]
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  networkName: ""
  sourceVip: ""
"#;

/// Reads `waggle run`, with ` --config` if there is a `file`.
fn settings(line: &str, environment: &[(&str, &str)], file: &str) -> Result<(Config, Cli), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    fs::write(&path, file).unwrap();
    let words = ["waggle", "run"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    let config_flag = ["--config".into(), path.into_os_string()];
    let words = words.chain(config_flag.into_iter().filter(|_| !file.is_empty()));
    let variable = |name: &str| {
        environment.iter().find(|(of, _)| *of == name).map(|(_, value)| OsString::from(value))
    };
    let Cli { global, command, ignored } = read(words, variable)?;
    let Command::Run(args) = command else { panic!("{line} is no run") };
    let config = config(&global, *args).unwrap();
    Ok((config, Cli { global, command: Command::Version, ignored }))
}

#[track_caller]
fn flows(line: &str, environment: &[(&str, &str)], file: &str) -> u32 {
    settings(line, environment, file).unwrap().0.capacities.flows
}

#[track_caller]
fn refused(line: &str, environment: &[(&str, &str)], file: &str, parts: &[&str]) {
    let error = settings(line, environment, file).map(|_| ()).expect_err(file);
    assert_eq!(error.exit_code(), 2);
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn what_is_typed_counts_more_than_the_environment_and_that_more_than_a_file() {
    let (environment, file) = ([("WAGGLE_MAX_FLOWS", "3")], "max-flows: 4\n");
    assert_eq!(flows("--max-flows 2", &environment, file), 2);
    assert_eq!(flows("", &environment, file), 3);
    assert_eq!(flows("", &[], file), 4);
    assert_eq!(flows("", &[], "max-slots: 5"), lb_common::abi::capacity::FLOWS);
}

#[test]
fn the_name_of_the_node_has_two_variables() {
    let name = |environment: &[_], file| settings("", environment, file).unwrap().0.node_name;
    let both = [("NODE_NAME", "a"), ("WAGGLE_NODE_NAME", "b")];
    assert_eq!(name(&both, "node-name: c"), "b");
    assert_eq!(name(&both[..1], "node-name: c"), "a");
    assert_eq!(name(&[], "hostname-override: c"), "c");
}

#[test]
fn the_file_may_be_named_by_the_environment_and_holds_for_no_other_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    fs::write(&path, "bpffs: /elsewhere\n").unwrap();
    let variable = |name: &str| (name == "WAGGLE_CONFIG").then(|| path.clone().into());
    let bpffs = |word: &str| {
        let words = ["waggle", word].map(OsString::from);
        read(words, variable).unwrap().global.bpffs
    };
    assert_eq!(bpffs("run"), Path::new("/elsewhere"));
    assert_eq!(bpffs("dump"), Path::new("/sys/fs/bpf"));
}

#[test]
fn a_file_has_the_flags_as_keys_and_lists_and_switches_as_yaml_has_them() {
    let file = "\
        node-name: n\n\
        masquerade: kube-proxy\n\
        masquerade-all: true\n\
        ignore-external-ips: false\n\
        reserve-ports: false\n\
        nodeport-addresses: [10.0.0.0/8, 192.168.0.0/16]\n\
        metrics-bind-address: ''\n\
        detect-local-mode: NodeCIDR\n\
        kubeconfig:\n";
    let config = settings("", &[], file).unwrap().0;
    assert_eq!((config.masquerade, config.masquerade_all), (Masquerade::KubeProxy, true));
    assert!(!config.plan.ignore_external_ips && !config.reserve_ports);
    assert_eq!(config.plan.node_ports, "10.0.0.0/8,192.168.0.0/16".parse().unwrap());
    assert_eq!(config.metrics.0, None);
    assert_eq!(config.plan.detector, Detector::NodeCidr);
    assert_eq!(config.source, Source::InCluster);
}

#[test]
fn switches_are_typed_as_go_types_them() {
    let all = |line: &str| settings(line, &[], "").unwrap().0.masquerade_all;
    assert!(all("--masquerade-all") && all("--masquerade-all=true"));
    assert!(!all("") && !all("--masquerade-all=false"));
    let switched_off = [("WAGGLE_MASQUERADE_ALL", "false")];
    assert!(!settings("", &switched_off, "masquerade-all: true").unwrap().0.masquerade_all);
}

#[test]
fn a_fault_names_where_it_is() {
    let environment = [("WAGGLE_MAX_FLOWS", "many")];
    refused("", &environment, "", &["WAGGLE_MAX_FLOWS: ", "'many'"]);
    refused("", &[], "max-flows: 1", &["settings.yaml: max-flows: ", "'1'"]);
    refused("", &[], "max-flwos: 1", &["settings.yaml: ", "no setting max-flwos"]);
    refused("", &[], "config: other.yaml", &["no setting config"]);
    refused("", &[], "proxy-mode: ipvs", &["no setting proxy-mode"]);
    refused("", &[], "max-flows: {a: 1}", &["max-flows is a value"]);
    refused("", &[], "max-flows", &["settings.yaml: write one setting a line"]);
    refused("", &[], "a: [", &["settings.yaml: this is no YAML"]);
    refused("--config /nonexistent/file", &[], "", &["read /nonexistent/file"]);
}

#[test]
fn the_file_that_kubeadm_writes_for_kube_proxy_works() {
    let (config, cli) = settings("", &[], KUBEADM).unwrap();
    let kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf";
    assert_eq!(config.source, Source::Kubeconfig(kubeconfig.into()));
    assert_eq!((config.node_name.as_str(), config.masquerade_all), ("node-1", true));
    let cidrs = ["10.244.0.0/16", "fd00:10:244::/56"].map(|cidr| cidr.parse().unwrap());
    assert_eq!(config.plan.detector, Detector::ClusterCidr(cidrs.into()));
    assert_eq!(config.plan.node_ports, "10.0.0.0/8,fd00::/8".parse().unwrap());
    assert_eq!(config.timeouts.udp_unanswered, lb_common::clock::Ticks::in_seconds(7));
    assert_eq!(config.timeouts.tcp_closing, lb_common::clock::Ticks::in_seconds(7200));
    assert_eq!(config.metrics.0, "127.0.0.1:10249".parse().ok());
    assert_eq!(cli.ignored, ["bindAddress", "ipvs.strictARP", "mode"]);
    let named = settings("--hostname-override=other", &[], KUBEADM).unwrap().0.node_name;
    assert_eq!(named, "other");
}

#[test]
fn of_the_detection_modes_only_the_value_of_the_chosen_one_is_read() {
    let file = |rest: &str| {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        settings("", &[], &format!("{head}{rest}")).unwrap().0.plan.detector
    };
    let both = "clusterCIDR: 10.0.0.0/8\ndetectLocal: {bridgeInterface: br0}\ndetectLocalMode: ";
    assert_eq!(file(&format!("{both}NodeCIDR")), Detector::NodeCidr);
    assert_eq!(file(&format!("{both}BridgeInterface")), Detector::BridgeInterface("br0".into()));
    let cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    assert_eq!(file(&format!("{both}ClusterCIDR")), Detector::ClusterCidr(cidrs));
}

#[test]
fn what_kube_proxy_does_not_know_is_a_fault() {
    let file = |rest: &str| {
        format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{rest}"
        )
    };
    refused("", &[], &file("modes: ''"), &["KubeProxyConfiguration has no key modes"]);
    refused("", &[], &file("conntrack: {most: 0}"), &["no key conntrack.most"]);
    refused("", &[], &file("extra: {}"), &["no key extra"]);
    refused("", &[], &file("clusterCIDR: 10.0.0.0"), &["settings.yaml: clusterCIDR: "]);
    refused("", &[], "kind: Service", &["only KubeProxyConfiguration"]);
    let other = "apiVersion: kubeproxy.config.k8s.io/v2\nkind: KubeProxyConfiguration";
    refused("", &[], other, &["v1alpha1"]);
}

#[test]
fn flags_of_kube_proxy_are_accepted_and_those_without_a_meaning_named() {
    let line = "--hostname-override=N --proxy-mode=ipvs --ipvs-strict-arp --oom-score-adj -998 \
                --conntrack-min 0 --v=4 --logging-format=json --cluster-cidr=10.0.0.0/8 \
                --master https://10.0.0.1:6443 --profiling=false";
    let (config, cli) = settings(line, &[], "").unwrap();
    assert_eq!(config.node_name, "n");
    assert_eq!(config.api_server.unwrap(), "https://10.0.0.1:6443");
    let ignored =
        ["--conntrack-min", "--ipvs-strict-arp", "--oom-score-adj", "--profiling", "--proxy-mode"];
    assert_eq!(cli.ignored, ignored);
    refused("--cleanup", &[], "", &["--cleanup"]);
}
