//! Every few minutes, and after writing has failed: is the kernel as it should be (I6)?
//!
//! Somebody else may have detached a program, flushed a qdisc, removed a pin or edited a map. What is
//! found is put back, logged and counted; what cannot be put back now is tried again next time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Agent;
use crate::config::Config;
use crate::datapath::hold::Hold;
use crate::datapath::pins::Pins;
use crate::datapath::sockets;

/// What is looked at beside maps and interfaces, and when.
pub(super) struct Watch {
    interval: Duration,
    due: Instant,
    /// Writing has failed since the last look.
    is_suspicious: bool,
    pins: Pins,
    sockets: sockets::Settings,
    /// Nobody else writes what is pinned.
    hold: Hold,
}

impl Watch {
    /// A first look is due after one interval.
    pub(super) fn new(config: &Config, hold: Hold) -> Self {
        let (interval, pins) = (config.drift_interval, Pins::new(&config.bpffs));
        let due = Instant::now() + interval;
        Self { interval, due, is_suspicious: false, pins, sockets: config.sockets.clone(), hold }
    }

    /// When the next look is.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// A pass is over. After those that failed, what is in the maps is worth a look.
    pub(super) fn passed(&mut self, now: Instant, is_done: bool) {
        if !is_done {
            self.is_suspicious = true;
        } else if std::mem::take(&mut self.is_suspicious) {
            self.due = now;
        }
    }
}

impl Agent {
    /// Looks, repairs and tells. Pins come first: links are pinned beside them.
    pub(super) async fn check(&mut self) {
        self.watch.due = Instant::now() + self.watch.interval;
        self.refused = None;
        self.check_pins();
        self.check_takeover();
        let network = Arc::clone(&self.network.borrow());
        self.attach(&network).await;
        self.check_sockets();
        self.check_maps();
    }

    fn check_pins(&mut self) {
        match self.attacher.datapath().pin_again(&self.watch.pins) {
            Ok(count) => self.repaired("pin", count),
            Err(error) => tracing::warn!("cannot look after the pins: {error:#}"),
        }
        if let Err(error) = self.watch.hold.renew(&self.watch.pins) {
            tracing::warn!("somebody else may write what is pinned: {error}");
        }
    }

    fn check_sockets(&mut self) {
        let Watch { pins, sockets, .. } = &self.watch;
        match sockets::sync(self.attacher.datapath(), pins, sockets) {
            Ok(made) => self.repaired("socket", made),
            Err(error) => tracing::warn!("cannot look after the sockets: {error:#}"),
        }
    }

    fn check_maps(&mut self) {
        match self.reconciler.compare() {
            Ok(drift) if drift.is_empty() => {}
            Ok(drift) => {
                for (map, count) in drift {
                    self.repaired(map, count);
                }
                self.schedule();
            }
            Err(error) => tracing::warn!("cannot compare the maps: {error}"),
        }
    }

    fn repaired(&self, of: &'static str, count: u64) {
        if count > 0 {
            tracing::warn!(of, count, "somebody else has changed what is ours, putting it back");
            self.metrics.repaired(of, count);
        }
    }
}
