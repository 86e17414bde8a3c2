//! The flags that say what is done at sockets.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use globset::{Glob, GlobSet};

use crate::datapath::sockets::{Settings, SocketLb};

#[derive(Debug, Args)]
#[command(next_help_heading = "At sockets")]
pub(super) struct SocketArgs {
    /// Which processes reach Services at their sockets, with no translation of packets: those of the
    /// node (and pods with hostNetwork), all of them, or none
    #[arg(long, value_name = "WHOSE", default_value = "host")]
    socket_lb: SocketLb,
    /// Leave network namespaces to their packets that have an interface with such a name, as those of
    /// virtual machines do (`tap*`); to look takes `CAP_SYS_ADMIN` (with --socket-lb=all)
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    socket_lb_skip_interfaces: Vec<Glob>,
    /// The cgroup (v2) of those processes [default: the root of the hierarchy, as /proc/mounts has it]
    #[arg(long, value_name = "DIR")]
    cgroup_root: Option<PathBuf>,
    /// Let no process of the node bind a node port of a Service: else it may, and never hears of
    /// whom it waits for (not with --socket-lb=off)
    #[arg(long)]
    guard_node_ports: bool,
}

impl SocketArgs {
    pub(super) fn skip_interfaces(&self) -> anyhow::Result<GlobSet> {
        GlobSet::new(&self.socket_lb_skip_interfaces)
            .context("read the names of interfaces to skip")
    }

    pub(super) fn settings(self) -> Settings {
        Settings {
            whose: self.socket_lb,
            guard_node_ports: self.guard_node_ports,
            root: self.cgroup_root,
        }
    }
}
