//! Pods, of which only those matter that want to be left to their packets.

use std::sync::Arc;

/// A pod whose sockets are not translated, whatever `--socket-lb` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The node it runs on, by name.
    pub node: Arc<str>,
    /// By what its cgroup is named: its uid, or the hash of the file of a static pod, which the
    /// kubelet takes for it.
    pub uid: Arc<str>,
}
