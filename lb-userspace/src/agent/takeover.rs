//! The end of taking over from kube-proxy.
//!
//! While its rules are there, TCP connections that are not known to be ours are left to them: one of ours
//! whose entries were evicted as well. When they are gone there is nobody to leave them to, so programs
//! that do not take over replace those that do, in their links, as at a restart (I7).

use super::{Agent, start};
use crate::kube_proxy::Leftovers;
use crate::maps::ReadBack as _;

impl Agent {
    /// Loads those programs if kube-proxy's rules are known to be gone; they are attached with the next
    /// look at the interfaces. What fails is tried again next time.
    pub(super) fn check_takeover(&mut self) {
        if !self.is_taking_over || !Leftovers::find().is_ok_and(|found| found.is_empty()) {
            return;
        }
        let sizes = self.reconciler.maps().capacities();
        match start::attacher(&self.config, &sizes, false) {
            Ok(attacher) => {
                self.attacher = attacher;
                self.is_taking_over = false;
                tracing::info!("kube-proxy's rules are gone: all TCP connections are ours");
            }
            Err(error) => tracing::warn!("cannot end taking over from kube-proxy: {error:#}"),
        }
    }
}
