//! The command line: what was typed, and which command answers it.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 failed, 2 usage.

mod backends;
mod capacities;
mod check;
mod cleanup;
mod detect;
mod explain;
mod inspect;
mod layers;
mod log;
mod migrate;
mod output;
mod run;
mod sockets;
mod status;
mod terminate;
mod timeouts;
mod trace;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

pub use backends::BackendsArgs;
pub use check::CheckArgs;
pub use explain::ExplainArgs;
pub use inspect::FlowsArgs;
pub use migrate::MigrateArgs;
pub use output::Format;
pub use run::RunArgs;
pub use status::StatusArgs;
pub use trace::TraceArgs;

/// A Kubernetes service load balancer in eBPF: replaces kube-proxy, keeps your CNI.
#[derive(Debug, Parser)]
#[command(name = "waggle", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
    /// What kube-proxy is told and we have no use for.
    #[arg(skip)]
    ignored: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  waggle check                          is this node ready?
  waggle run --manifests ./services     balance the Services in a directory, no cluster needed
  waggle run --kubeconfig ~/.kube/config --node-name node-1
  waggle cleanup                        take everything down again";

/// The heading of [`Global`], which would else stand between the flags of a command.
const EVERYWHERE: &str = "For every command";

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The BPF file system under which maps and links are pinned
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", default_value = "/sys/fs/bpf")]
    bpffs: PathBuf,
    /// Where /proc/sys can be written: in a pod it cannot, so its host's is mounted elsewhere
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", default_value = "/proc/sys")]
    sysctls: PathBuf,
    /// How results are printed
    #[arg(short, long, global = true, help_heading = EVERYWHERE, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent of this node
    Run(Box<RunArgs>),
    /// Tell whether this node is ready for the agent
    #[command(after_help = check::HELP)]
    Check(CheckArgs),
    /// Take down everything the agent has attached and pinned
    #[command(after_help = cleanup::HELP)]
    Cleanup,
    /// Remove what kube-proxy has left on this node
    #[command(after_help = migrate::HELP)]
    Migrate(MigrateArgs),
    /// Show how the datapath and the agent of this node are, on one screen
    #[command(after_help = status::HELP)]
    Status(StatusArgs),
    /// List services, their frontends and how many of their backends serve
    Services,
    /// List backends, the lists they are in, and how many flows each has
    Backends(BackendsArgs),
    /// List flows: client, frontend, backend
    Flows(FlowsArgs),
    /// Tell step by step what the datapath would do with a packet, and change nothing
    #[command(after_help = explain::HELP)]
    Explain(ExplainArgs),
    /// Show new flows, drops and rejects as they happen
    #[command(after_help = trace::HELP)]
    Trace(TraceArgs),
    /// Print everything the maps hold, sorted
    Dump,
    /// Print the version of the agent and of its maps
    Version,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { global, command, ignored } = self;
        match command {
            Command::Run(args) => run::run(&global, *args, &ignored),
            Command::Check(args) => check::run(&global, &args),
            Command::Cleanup => cleanup::run(&global),
            Command::Migrate(args) => migrate::run(&global, &args),
            Command::Status(args) => status::run(&global, &args),
            Command::Services => inspect::services(&global),
            Command::Backends(args) => backends::run(&global, &args),
            Command::Flows(args) => inspect::flows(&global, &args),
            Command::Explain(args) => explain::run(&global, &args),
            Command::Trace(args) => trace::run(&global, &args),
            Command::Dump => inspect::dump(&global),
            Command::Version => version::run(&global),
        }
    }
}

/// One thread does everything: there is one owner of all state, and nothing to lock. (Flows are not
/// ours: [`crate::flows`] looks after them beside it.)
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        layers::command().debug_assert();
    }
}
