//! The kernel side as the agent handles it: the object, its pins and where it is attached.
//!
//! What is attached and pinned outlives the agent (I7): nothing here is taken down by a `Drop`, only
//! by [`cleanup`] or because an interface is no longer ours.

pub mod attach;
pub mod bpffs;
pub mod cgroup;
pub mod cleanup;
mod clsact;
pub mod generation;
pub mod hold;
pub mod hooks;
pub mod layout;
mod links;
pub mod load;
#[cfg(feature = "datapath-log")]
pub mod log;
pub mod object;
pub mod pins;
mod query;
pub mod reserved;
pub mod sockets;
mod sys;
#[cfg(test)]
mod tests;

use aya::programs::TcAttachType;
use lb_common::abi::flow::Hook;

/// Both hooks of an interface, in the order in which they are attached: replies must be translated
/// before requests are.
pub const HOOKS: [Hook; 2] = [Hook::Egress, Hook::Ingress];

fn attach_type(hook: Hook) -> TcAttachType {
    match hook {
        Hook::Ingress => TcAttachType::Ingress,
        Hook::Egress => TcAttachType::Egress,
    }
}
