//! What the cluster says, validated: no kube types, no aya types, no `Option<Vec<…>>`.

mod endpoint;
#[cfg(test)]
pub(crate) mod fixture;
mod node;
mod outcome;
mod pod;
mod service;
mod service_cidr;

pub use endpoint::{Endpoint, Slice, SlicePort};
pub use node::Node;
pub use outcome::{Kind, Outcome, Problem, Rejection, Subject};
pub use pod::Pod;
pub use service::{
    Affinity, Algorithm, NamespacedName, Service, ServicePort, ServicePortName, TrafficPolicy,
};
pub use service_cidr::ServiceCidr;

use std::fmt;

/// A transport protocol that a Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => lb_common::net::protocol::TCP,
            Self::Udp => lb_common::net::protocol::UDP,
            Self::Sctp => lb_common::net::protocol::SCTP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}
