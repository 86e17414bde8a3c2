//! The flags that say what becomes of sockets whose backend is gone.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::terminate::{Settings, TerminateTcp};

#[derive(Debug, Args)]
#[command(next_help_heading = "At sockets")]
pub(super) struct TerminateArgs {
    /// Which TCP connections end with their endpoint: none, as with kube-proxy, or those of endpoints
    /// that have left the `EndpointSlices` (never of terminating ones). Sockets of this node end at
    /// once; other clients are sent a reset when they speak next. Connected UDP sockets always end
    /// when their endpoint serves no more
    #[arg(long, value_name = "WHICH", default_value = "never")]
    terminate_tcp: TerminateTcp,
    /// Where the network namespaces of pods are found, beside those of all processes in /proc;
    /// entering them takes `CAP_SYS_ADMIN`
    #[arg(long, value_name = "DIR", default_value = "/run/netns")]
    netns_dir: PathBuf,
}

impl TerminateArgs {
    /// The settings of one who looks every `interval`.
    pub(super) fn settings(self, interval: Duration) -> Settings {
        Settings { tcp: self.terminate_tcp, netns_dir: self.netns_dir, interval }
    }
}
