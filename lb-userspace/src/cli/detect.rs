//! The flags of `waggle run` that say how pods are told from other clients.
//!
//! A mode without its value, and a value of another mode, are usage errors. A value alone chooses
//! its mode; of several the first counts, which is that of kube-proxy's default mode.

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum};
use ipnet::IpNet;

use crate::plan::Detector;

/// The flags, understood.
#[derive(Debug)]
pub(super) struct DetectArgs(pub(super) Detector);

/// The flags as typed. They are named as kube-proxy's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Telling pods from other clients")]
struct Typed {
    /// How pods are told from other clients
    /// [default: the mode that a value below is for, else auto]
    #[arg(long, value_name = "MODE", ignore_case = true)]
    detect_local_mode: Option<Mode>,
    /// For mode `ClusterCIDR`: the network of all pods, one per family; of several the first counts
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// For mode `BridgeInterface`: the bridge that all pods of this node are at
    #[arg(long, value_name = "NAME", value_parser = name())]
    pod_bridge_interface: Option<String>,
    /// For mode `InterfaceNamePrefix`: how the names of the interfaces of pods begin
    #[arg(long, value_name = "PREFIX", value_parser = name())]
    pod_interface_name_prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// By the pod networks of all Nodes, and by the interfaces that lead to pods
    #[value(name = "auto")]
    Auto,
    /// By the network of all pods
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By the pod networks of the own Node
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By the bridge that they are at
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By the names of their interfaces
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
    /// Not at all: any client could be a pod
    #[value(name = "none")]
    None,
}

fn name() -> clap::builder::NonEmptyStringValueParser {
    clap::builder::NonEmptyStringValueParser::new()
}

impl Typed {
    fn detector(self) -> Result<Detector, Error> {
        let cidrs = Some(self.cluster_cidr).filter(|cidrs| !cidrs.is_empty());
        let (bridge, prefix) = (self.pod_bridge_interface, self.pod_interface_name_prefix);
        if let Some(wanted) = self.detect_local_mode {
            check(wanted, Mode::ClusterCidr, "--cluster-cidr", cidrs.is_some())?;
            check(wanted, Mode::BridgeInterface, "--pod-bridge-interface", bridge.is_some())?;
            let is_given = prefix.is_some();
            check(wanted, Mode::InterfaceNamePrefix, "--pod-interface-name-prefix", is_given)?;
        }
        let by_value = cidrs.map(Detector::ClusterCidr);
        let by_value = by_value.or_else(|| bridge.map(Detector::BridgeInterface));
        let by_value = by_value.or_else(|| prefix.map(Detector::InterfaceNamePrefix));
        Ok(by_value.unwrap_or(match self.detect_local_mode {
            Some(Mode::NodeCidr) => Detector::NodeCidr,
            Some(Mode::None) => Detector::None,
            _ => Detector::Auto,
        }))
    }
}

/// The value of `flag` is given exactly if the mode that needs it is `wanted`.
fn check(wanted: Mode, mode: Mode, flag: &str, is_given: bool) -> Result<(), Error> {
    let mode_name = mode.to_possible_value().map(|value| value.get_name().to_owned());
    let with_mode = format!("--detect-local-mode {}", mode_name.unwrap_or_default());
    match (wanted == mode, is_given) {
        (true, false) => {
            Err(Error::raw(ErrorKind::MissingRequiredArgument, format!("{with_mode} needs {flag}")))
        }
        (false, true) => {
            Err(Error::raw(ErrorKind::ArgumentConflict, format!("{flag} needs {with_mode}")))
        }
        _ => Ok(()),
    }
}

impl FromArgMatches for DetectArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Typed::from_arg_matches(matches)?.detector().map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for DetectArgs {
    fn augment_args(command: Command) -> Command {
        Typed::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Typed::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        detect: DetectArgs,
    }

    fn parse(line: &str) -> Result<Detector, Error> {
        Line::try_parse_from(["waggle"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.detect.0)
    }

    #[test]
    fn a_mode_comes_with_its_value() {
        let check = |line, expected: Detector| assert_eq!(parse(line).unwrap(), expected, "{line}");
        check("", Detector::Auto);
        check("--detect-local-mode Auto", Detector::Auto);
        check("--detect-local-mode NodeCIDR", Detector::NodeCidr);
        check("--detect-local-mode nodecidr", Detector::NodeCidr);
        check("--detect-local-mode none", Detector::None);
        let cidrs = ["10.0.0.0/8", "fd00::/8"].map(|cidr| cidr.parse().unwrap());
        check(
            "--detect-local-mode clusterCIDR --cluster-cidr 10.0.0.0/8,fd00::/8",
            Detector::ClusterCidr(cidrs.into()),
        );
        let cidrs = vec!["10.0.0.0/8".parse().unwrap()];
        check("--cluster-cidr 10.0.0.0/8", Detector::ClusterCidr(cidrs));
        check("--pod-bridge-interface cni0", Detector::BridgeInterface("cni0".into()));
        check(
            "--detect-local-mode BridgeInterface --pod-bridge-interface cni0",
            Detector::BridgeInterface("cni0".into()),
        );
        check(
            "--detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix cali",
            Detector::InterfaceNamePrefix("cali".into()),
        );
    }

    #[test]
    fn a_mode_without_value_and_a_value_of_another_mode_are_usage_errors() {
        let check = |line, part: &str| {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{error}");
        };
        check(
            "--detect-local-mode ClusterCIDR",
            "--detect-local-mode ClusterCIDR needs --cluster-cidr",
        );
        check("--detect-local-mode BridgeInterface", "needs --pod-bridge-interface");
        check("--detect-local-mode InterfaceNamePrefix", "needs --pod-interface-name-prefix");
        check("--detect-local-mode none --pod-bridge-interface cni0", "BridgeInterface");
        check(
            "--detect-local-mode NodeCIDR --pod-interface-name-prefix cali",
            "needs --detect-local-mode InterfaceNamePrefix",
        );
        check("--detect-local-mode ClusterCIDR --cluster-cidr 10.0.0.0", "--cluster-cidr");
        check("--detect-local-mode guess", "--detect-local-mode");
    }
}
