//! EndpointSlices and their endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use lb_common::net::Family;

use super::{NamespacedName, Protocol};

/// An EndpointSlice with addresses of one family, for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its own name. Endpoints move between slices, so state is kept per slice.
    pub name: NamespacedName,
    /// The Service of its label `kubernetes.io/service-name`.
    pub service: NamespacedName,
    /// `addressType`.
    pub family: Family,
    /// Its ports that have a number.
    pub ports: Vec<SlicePort>,
    /// Its endpoints that have an address.
    pub endpoints: Vec<Endpoint>,
    /// The annotation `endpoints.kubernetes.io/last-change-trigger-time`: when the pod or Service
    /// changed for whose sake this was written last.
    pub triggered: Option<Timestamp>,
}

impl Slice {
    /// Whether both say the same of endpoints, whenever they were written.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let what = |it: &Self| (it.service.clone(), it.family);
        what(self) == what(other) && self.ports == other.ports && self.endpoints == other.endpoints
    }
}

/// A port of a slice: joined to the Service's port by name and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Empty if unnamed.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Where the endpoints of this slice listen; never 0.
    pub port: u16,
}

/// An endpoint of a slice; the defaults of absent conditions are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`.
    pub address: IpAddr,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, whether or not it is terminating.
    pub serving: bool,
    /// Is shutting down.
    pub terminating: bool,
    /// `hints.forZones`.
    pub zone_hints: BTreeSet<Arc<str>>,
    /// `hints.forNodes`.
    pub node_hints: BTreeSet<Arc<str>>,
}
