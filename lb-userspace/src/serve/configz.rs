//! The settings in force, for `/configz`: under the keys of a `KubeProxyConfiguration` as far as it has
//! them, the others under `waggle`.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::BindAddress;
use crate::config::{Config, Source};
use crate::plan::{Detector, NodePortAddresses};

/// All settings of `config`.
#[must_use]
pub fn configz(config: &Config) -> Value {
    let (mode, cidrs, bridge, prefix) = detector(&config.plan.detector);
    json!({
        "mode": super::status::MODE,
        "hostnameOverride": config.node_name,
        "healthzBindAddress": bind_address(config.healthz),
        "metricsBindAddress": bind_address(config.metrics),
        "nodePortAddresses": node_port_addresses(&config.plan.node_ports),
        "detectLocalMode": mode,
        "clusterCIDR": cidrs,
        "detectLocal": {"bridgeInterface": bridge, "interfaceNamePrefix": prefix},
        "nftables": {"masqueradeAll": config.masquerade_all},
        "waggle": own(config),
    })
}

fn own(config: &Config) -> Value {
    let capacities = &config.capacities;
    json!({
        "source": source(&config.source),
        "bpffs": config.bpffs,
        "serviceProxyName": config.service_proxy_name.as_deref(),
        "ignoreExternalIPs": config.plan.ignore_external_ips,
        "algorithm": word(&config.plan.algorithm),
        "maglevTableSize": config.plan.table_size.get(),
        "masquerade": word(&config.masquerade),
        "masqueradePorts": config.masquerade_ports.to_string(),
        "reservePorts": config.reserve_ports,
        "attach": word(&config.attach),
        "tcxOrder": word(&config.order),
        "driftInterval": format!("{:?}", config.drift_interval),
        "serviceMetrics": config.service_metrics,
        "maxFrontends": capacities.frontends,
        "maxServices": capacities.services,
        "maxSlots": capacities.slots,
        "maxBackends": capacities.backends,
        "maxFlows": capacities.flows,
        "maxClients": capacities.clients,
        "maxSourceRanges": capacities.source_ranges,
        "maxSockets": capacities.sockets,
    })
}

/// The mode, the prefixes, the bridge and the beginning of names.
fn detector(detector: &Detector) -> (&'static str, String, &str, &str) {
    match detector {
        Detector::Auto => ("auto", String::new(), "", ""),
        Detector::ClusterCidr(cidrs) => ("ClusterCIDR", joined(cidrs), "", ""),
        Detector::NodeCidr => ("NodeCIDR", String::new(), "", ""),
        Detector::BridgeInterface(name) => ("BridgeInterface", String::new(), name, ""),
        Detector::InterfaceNamePrefix(prefix) => ("InterfaceNamePrefix", String::new(), "", prefix),
        Detector::None => ("none", String::new(), "", ""),
    }
}

fn node_port_addresses(setting: &NodePortAddresses) -> Vec<String> {
    match setting {
        NodePortAddresses::Primary => vec!["primary".to_owned()],
        NodePortAddresses::All => vec!["all".to_owned()],
        NodePortAddresses::Cidrs(cidrs) => cidrs.iter().map(ToString::to_string).collect(),
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::InCluster => "in-cluster".to_owned(),
        Source::Kubeconfig(file) => format!("kubeconfig {}", file.display()),
        Source::Manifests(directory) => format!("manifests {}", directory.display()),
    }
}

fn bind_address<const PORT: u16>(address: BindAddress<PORT>) -> String {
    address.0.map(|address| address.to_string()).unwrap_or_default()
}

fn word(value: &impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
