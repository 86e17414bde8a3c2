//! What sources tell the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{NamespacedName, Node, Outcome, Pod, Service, ServiceCidr, Slice, Subject};

/// Something a source learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// About Services.
    Services(Update<Service>),
    /// About EndpointSlices.
    Slices(Update<Slice>),
    /// About Nodes, all of them.
    Nodes(Update<Node>),
    /// About `ServiceCIDR`s.
    ServiceCidrs(Update<ServiceCidr>),
    /// About Pods that are left to their packets.
    Pods(Update<Pod>),
    /// All that is wrong with a file now, beyond the objects in it. Nothing = it is fine again.
    File(PathBuf, Vec<String>),
    /// Which file each object is in, of all that came from files.
    Origins(BTreeMap<Subject, PathBuf>),
}

/// A change of the objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<T> {
    /// An object is new or changed.
    Apply(NamespacedName, Outcome<T>),
    /// An object is gone.
    Delete(NamespacedName),
    /// These are all objects there are: the first list, or a list after the watch was lost.
    Replace(Vec<(NamespacedName, Outcome<T>)>),
}
