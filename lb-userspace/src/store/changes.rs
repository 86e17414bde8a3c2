//! What has changed in the cluster, in numbers and in times: how far the maps are behind is told by it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lb_common::net::Family;

use crate::model::{NamespacedName, Slice};

/// Changes of objects that are balanced; an object that says the same as before is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that came, changed or went.
    pub services: u64,
    /// EndpointSlices that came, changed or went.
    pub slices: u64,
    /// When the changes of a Service's slices were triggered, as far as they say so. Nothing of the
    /// first list: that was in no map, but not for our fault.
    pub triggers: Triggers,
}

/// When changes were triggered, by the Service and the family of its slices.
pub type Triggers = BTreeMap<(NamespacedName, Family), Vec<Timestamp>>;

impl Changes {
    /// A slice came or changed, after the first list.
    pub(super) fn note_trigger(&mut self, slice: &Slice) {
        let key = (slice.service.clone(), slice.family);
        if let Some(triggered) = slice.triggered {
            self.triggers.entry(key).or_default().push(triggered);
        }
    }
}
