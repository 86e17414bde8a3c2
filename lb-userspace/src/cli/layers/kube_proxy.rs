//! What kube-proxy is told, and what that means here: its flags and its `KubeProxyConfiguration`.
//!
//! So that Waggle drops into a kube-proxy `DaemonSet`. What is unknown to kube-proxy is a fault; what
//! only kube-proxy has a use for is accepted and named in one warning.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use super::Setting;
use super::file::{Contents, value_text};

/// Flags of kube-proxy without a meaning here. Those with one are flags of ours, or their aliases.
const FLAGS: [&str; 44] = [
    "bind-address",
    "bind-address-hard-fail",
    "config-sync-period",
    "conntrack-max-per-core",
    "conntrack-min",
    "conntrack-tcp-be-liberal",
    "enable-dsr",
    "feature-gates",
    "forward-healthcheck-vip",
    "healthz-port",
    "iptables-localhost-nodeports",
    "iptables-masquerade-bit",
    "iptables-min-sync-period",
    "iptables-sync-period",
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "log-flush-frequency",
    "log-json-info-buffer-size",
    "log-json-split-stream",
    "log-text-info-buffer-size",
    "log-text-split-stream",
    "logtostderr",
    "metrics-port",
    "network-name",
    "oom-score-adj",
    "profiling",
    "proxy-mode",
    "proxy-port-range",
    "root-hnsendpoint-name",
    "show-hidden-metrics-for-version",
    "source-vip",
    "stderrthreshold",
    "vmodule",
    "windows-service",
    "alsologtostderr",
];

/// What a key of a `KubeProxyConfiguration` means.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// That of this flag of ours.
    Flag(&'static str),
    /// Nothing here, nor does anything below it.
    Nothing,
}

use Meaning::{Flag, Nothing};

/// Every key of version v1alpha1.
const KEYS: &[(&str, Meaning)] = &[
    ("bindAddress", Nothing),
    ("bindAddressHardFail", Nothing),
    ("clientConnection.acceptContentTypes", Nothing),
    ("clientConnection.burst", Nothing),
    ("clientConnection.contentType", Nothing),
    ("clientConnection.kubeconfig", Flag("kubeconfig")),
    ("clientConnection.qps", Nothing),
    ("clusterCIDR", Flag("cluster-cidr")),
    ("configSyncPeriod", Nothing),
    ("conntrack.maxPerCore", Nothing),
    ("conntrack.min", Nothing),
    ("conntrack.tcpBeLiberal", Nothing),
    ("conntrack.tcpCloseWaitTimeout", Flag("conntrack-tcp-timeout-close-wait")),
    ("conntrack.tcpEstablishedTimeout", Flag("conntrack-tcp-timeout-established")),
    ("conntrack.udpStreamTimeout", Flag("conntrack-udp-timeout-stream")),
    ("conntrack.udpTimeout", Flag("conntrack-udp-timeout")),
    ("detectLocal.bridgeInterface", Flag("pod-bridge-interface")),
    ("detectLocal.interfaceNamePrefix", Flag("pod-interface-name-prefix")),
    ("detectLocalMode", Flag("detect-local-mode")),
    ("enableProfiling", Nothing),
    ("featureGates", Nothing),
    ("healthzBindAddress", Flag("healthz-bind-address")),
    ("hostnameOverride", Flag("node-name")),
    ("iptables.localhostNodePorts", Nothing),
    ("iptables.masqueradeAll", Flag("masquerade-all")),
    ("iptables.masqueradeBit", Nothing),
    ("iptables.minSyncPeriod", Nothing),
    ("iptables.syncPeriod", Nothing),
    ("ipvs.excludeCIDRs", Nothing),
    ("ipvs.minSyncPeriod", Nothing),
    ("ipvs.scheduler", Nothing),
    ("ipvs.strictARP", Nothing),
    ("ipvs.syncPeriod", Nothing),
    ("ipvs.tcpFinTimeout", Nothing),
    ("ipvs.tcpTimeout", Nothing),
    ("ipvs.udpTimeout", Nothing),
    ("logging.format", Flag("log-format")),
    ("logging.verbosity", Flag("v")),
    ("logging", Nothing),
    ("metricsBindAddress", Flag("metrics-bind-address")),
    ("mode", Nothing),
    ("nftables.masqueradeAll", Flag("masquerade-all")),
    ("nftables.masqueradeBit", Nothing),
    ("nftables.minSyncPeriod", Nothing),
    ("nftables.syncPeriod", Nothing),
    ("nodePortAddresses", Flag("nodeport-addresses")),
    ("oomScoreAdj", Nothing),
    ("portRange", Nothing),
    ("showHiddenMetricsForVersion", Nothing),
    ("windowsRunAsService", Nothing),
    ("winkernel", Nothing),
];

/// Values that kube-proxy reads in one mode only, whatever else is there.
const OF_MODE: [(&str, &str); 3] = [
    ("cluster-cidr", "ClusterCIDR"),
    ("pod-bridge-interface", "BridgeInterface"),
    ("pod-interface-name-prefix", "InterfaceNamePrefix"),
];

const KIND: &str = "KubeProxyConfiguration";
const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// Lets `run` be given the flags without a meaning, with a value behind `=` or a blank, or none.
pub(super) fn accept(run: Command) -> Command {
    let flags = FLAGS.map(|name| {
        let flag = Arg::new(name).long(name).hide(true).action(ArgAction::Append);
        flag.num_args(0..=1).default_missing_value("").allow_negative_numbers(true)
    });
    run.args(flags)
}

/// Which of the flags without a meaning were given.
pub(super) fn ignored(run: &ArgMatches) -> Vec<String> {
    let is_given = |name: &str| {
        matches!(run.try_contains_id(name), Ok(true))
            && run.value_source(name) == Some(ValueSource::CommandLine)
    };
    FLAGS.iter().filter(|name| is_given(name)).map(|name| format!("--{name}")).collect()
}

/// Reads a `KubeProxyConfiguration`. Empty values mean the default, as for kube-proxy.
pub(super) fn parse(mut keys: Map<String, Value>) -> Result<Contents, String> {
    let [kind, version] = ["kind", "apiVersion"]
        .map(|key| keys.remove(key).and_then(|value| Some(value.as_str()?.to_owned())));
    if kind.as_deref() != Some(KIND) || version.as_deref() != Some(VERSION) {
        return Err(format!("of the kinds of objects only {KIND} of {VERSION} can be read"));
    }
    let mut contents = Contents::default();
    take_in(&mut contents, "", keys)?;
    let mode = contents.settings.iter().find(|setting| setting.flag == "detect-local-mode");
    if let Some(mode) = mode.and_then(|mode| mode.value.to_str()).map(str::to_owned) {
        let is_read = |flag: &str| {
            OF_MODE.iter().all(|(of, when)| *of != flag || when.eq_ignore_ascii_case(&mode))
        };
        contents.settings.retain(|setting| is_read(&setting.flag));
    }
    Ok(contents)
}

fn take_in(contents: &mut Contents, above: &str, keys: Map<String, Value>) -> Result<(), String> {
    for (key, value) in keys {
        let path = if above.is_empty() { key } else { format!("{above}.{key}") };
        match (meaning(&path), value) {
            (None, Value::Object(keys)) => {
                known(&path)?;
                take_in(contents, &path, keys)?;
            }
            (None, _) => known(&path)?,
            (Some(_), value) if is_empty(&value) => {}
            (Some(Flag(flag)), value) => {
                let value = value_text(&path, &value)?.unwrap_or_default();
                let flag = flag.to_owned();
                contents.settings.push(Setting { origin: path, flag, value: value.into() });
            }
            (Some(Nothing), _) => contents.ignored.push(path),
        }
    }
    Ok(())
}

/// That of the key, else of what it is below of; a group of keys has none.
fn meaning(path: &str) -> Option<Meaning> {
    let of = |path: &str| KEYS.iter().find(|(key, _)| *key == path).map(|(_, meaning)| *meaning);
    let above = path.rsplit_once('.').and_then(|(above, _)| of(above));
    let has_rows_below = KEYS.iter().any(|(key, _)| is_below(key, path));
    of(path).or(above).filter(|_| !has_rows_below)
}

fn is_below(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

/// Complains unless there are keys below `path`.
fn known(path: &str) -> Result<(), String> {
    let is_group = KEYS.iter().any(|(key, _)| is_below(key, path));
    let message = || format!("a {KIND} has no key {path}");
    is_group.then_some(()).ok_or_else(message)
}

/// As Go leaves out, and kube-proxy fills with its default.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => ["", "0", "0s"].contains(&text.as_str()),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.values().all(is_empty),
    }
}
