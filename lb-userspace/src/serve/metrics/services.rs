//! What the flows of each service carry.
//!
//! What is over stands in `SVC_CARRIED`, and what is not in the flows' own entries, which each walk
//! through them adds up. So the figures go on over restarts of the agent, and begin with the maps.
//!
//! Flows and sockets are exact, where a flow counts once for each time that it is decided on: again if its
//! request's entry was evicted, or a datagram leaves its backend. Packets and bytes are exact as of the
//! last walk, with these exceptions: an entry that the kernel's LRU evicts takes along what it has counted;
//! of two CPUs that count in one entry at once, one may lose; an agent that is killed on a walk loses what
//! it removed on it, and one whose maps grow what programs add while they change over; a flow that outlives
//! its service counts for whoever gets the id next; and what goes through sockets passes no program. No
//! figure ever goes back: what is missed because an entry ended during a walk is there on the next, and
//! what an eviction took is made up for by at most one walk's traffic.
//!
//! Not more series than a limit: services get their own in the order in which they have traffic, or of
//! their ids after a restart; all that come later share one, whose labels are empty. A service that gets its
//! own when another is gone begins with all it has carried.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::abi::carried::Carried;
use lb_common::net::Family as AddressFamily;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::family_word;
use crate::flows::{Share, Walk};
use crate::maps::{PerFamily, ServiceId};

/// The services with traffic. Clones are the same.
#[derive(Clone, Debug)]
pub struct Services(Arc<Mutex<Known>>);

/// Invariant: no more of `own` than `limit`, and no id is in both `own` and `rest`.
#[derive(Debug)]
struct Known {
    limit: usize,
    own: BTreeMap<ServiceId, Series>,
    /// Those that share a series.
    rest: BTreeMap<ServiceId, (AddressFamily, Track)>,
    others: PerFamily<Sums>,
}

/// A service with series of its own.
#[derive(Debug)]
struct Series {
    /// `namespace/name:port/PROTOCOL`.
    name: String,
    family: AddressFamily,
    track: Track,
}

/// What is known of a service.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    active: u64,
    flows: u64,
    sockets: u64,
    packets: Rising,
    bytes: Rising,
}

/// A figure that is found at each walk, and never goes back.
#[derive(Clone, Copy, Debug, Default)]
struct Rising {
    shown: u64,
    /// What was found when it was last brought up to date.
    found: u64,
    /// Less was found at the last walk.
    is_behind: bool,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    active: u64,
    total: Carried,
}

impl Services {
    /// Up to `limit` services have series of their own; with 0, nothing is shown.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Known {
            limit,
            own: BTreeMap::new(),
            rest: BTreeMap::new(),
            others: PerFamily::default(),
        })))
    }

    /// Takes in what a walk has found; `find` knows the names and families of the services there are.
    pub fn walked(&self, walk: &Walk, find: impl Fn(ServiceId) -> Option<(String, AddressFamily)>) {
        let mut known = self.known();
        if known.limit > 0 {
            known.take_in(walk, find);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take_in(
        &mut self,
        walk: &Walk,
        find: impl Fn(ServiceId) -> Option<(String, AddressFamily)>,
    ) {
        let family = walk.family;
        let ids: BTreeSet<_> = walk.carried.keys().chain(walk.tally.services.keys()).collect();
        self.forget(family, &ids, &find);
        self.others[family].active = 0;
        for &id in ids {
            let over = walk.carried.get(&id).copied().unwrap_or_default();
            let met = walk.tally.services.get(&id).copied().unwrap_or_default();
            if self.is_of(family, id, &find) {
                self.update(id, &over, met);
            }
        }
    }

    /// Whether a service is of this `family`; if so it becomes known, with series of its own if there is
    /// room. Names are asked for as rarely as can be: that is a system call.
    fn is_of(
        &mut self,
        family: AddressFamily,
        id: ServiceId,
        find: &impl Fn(ServiceId) -> Option<(String, AddressFamily)>,
    ) -> bool {
        if let Some(series) = self.own.get(&id) {
            return series.family == family;
        }
        let has_room = self.own.len() < self.limit;
        let known = self.rest.get(&id).map(|(family, _)| *family);
        if known.is_some_and(|it| it != family || !has_room) {
            return known == Some(family);
        }
        let Some((name, its)) = find(id) else { return known.is_some() };
        if has_room && its == family {
            self.rest.remove(&id);
            self.own.insert(id, Series { name, family, track: Track::default() });
        } else {
            self.rest.insert(id, (its, Track::default()));
        }
        its == family
    }

    fn update(&mut self, id: ServiceId, over: &Carried, met: Share) {
        if let Some(series) = self.own.get_mut(&id) {
            series.track.take_in(over, met);
        } else if let Some((family, track)) = self.rest.get_mut(&id) {
            let before = track.sums();
            track.take_in(over, met);
            self.others[*family].advance(&before, &track.sums());
        }
    }

    /// An id that is free, or somebody else's now, says nothing more of who had it.
    fn forget(
        &mut self,
        family: AddressFamily,
        ids: &BTreeSet<&ServiceId>,
        find: &impl Fn(ServiceId) -> Option<(String, AddressFamily)>,
    ) {
        self.own.retain(|id, series| {
            series.family != family || find(*id).is_some_and(|(name, _)| name == series.name)
        });
        self.rest.retain(|id, (its, _)| *its != family || ids.contains(id));
    }

    /// All series with their labels.
    fn shown(&self) -> Vec<([(&'static str, &str); 5], Sums)> {
        let own = self.own.values();
        let own = own.map(|series| (labels(&series.name, series.family), series.track.sums()));
        let others = self.others.iter().map(|(family, sums)| (labels("", family), *sums));
        let others = others.filter(|(_, sums)| *sums != Sums::default());
        own.chain(others).collect()
    }
}

impl Track {
    /// What is `over`, and what was `met` on a walk that began then.
    fn take_in(&mut self, over: &Carried, met: Share) {
        let found = met.whole();
        (self.active, self.flows, self.sockets) = (met.live.flows, over.flows, over.sockets);
        self.packets.rise(over.packets + found.packets);
        self.bytes.rise(over.bytes + found.bytes);
    }

    fn sums(&self) -> Sums {
        let Self { active, flows, sockets, packets, bytes } = *self;
        let (packets, bytes) = (packets.shown, bytes.shown);
        Sums { active, total: Carried { flows, sockets, packets, bytes } }
    }
}

impl Rising {
    fn rise(&mut self, found: u64) {
        let is_less = found < self.found;
        if is_less && !self.is_behind {
            self.is_behind = true;
            return;
        }
        self.shown += found.saturating_sub(self.found);
        (self.found, self.is_behind) = (found, false);
    }
}

impl Sums {
    /// Adds what one of several has come to.
    fn advance(&mut self, before: &Self, now: &Self) {
        let (total, before, more) = (&mut self.total, &before.total, &now.total);
        total.flows += more.flows.saturating_sub(before.flows);
        total.sockets += more.sockets.saturating_sub(before.sockets);
        total.packets += more.packets.saturating_sub(before.packets);
        total.bytes += more.bytes.saturating_sub(before.bytes);
        self.active += now.active;
    }
}

impl Collector for Services {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.known();
        let shown = known.shown();
        // Parsers take no metric without a sample.
        if shown.is_empty() {
            return Ok(());
        }
        let encoder = &mut encoder;
        let gauge = |sums: &Sums| ConstGauge::new(sums.active);
        let help = "Flows of a service at the last walk through them";
        show(encoder, &shown, ("service_active_flows", help, MetricType::Gauge), gauge)?;
        let help = "Flows of a service that have begun";
        let counter = MetricType::Counter;
        show(encoder, &shown, ("service_flows", help, counter), |sums| {
            ConstCounter::new(sums.total.flows)
        })?;
        let help = "Connections and conversations of a service that have begun at sockets";
        show(encoder, &shown, ("service_sockets", help, counter), |sums| {
            ConstCounter::new(sums.total.sockets)
        })?;
        let help = "Packets of a service, both directions";
        show(encoder, &shown, ("service_packets", help, counter), |sums| {
            ConstCounter::new(sums.total.packets)
        })?;
        let help = "Bytes of a service, both directions, from the network header on";
        show(encoder, &shown, ("service_bytes", help, counter), |sums| {
            ConstCounter::new(sums.total.bytes)
        })
    }
}

fn show<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    shown: &[([(&'static str, &str); 5], Sums)],
    (name, help, kind): (&str, &str, MetricType),
    metric: impl Fn(&Sums) -> M,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, sums) in shown {
        metric(sums).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

/// The labels of `namespace/name:port/PROTOCOL`; all of nothing is nothing.
fn labels(name: &str, family: AddressFamily) -> [(&'static str, &str); 5] {
    let (namespace, rest) = name.split_once('/').unwrap_or_default();
    let (rest, protocol) = rest.rsplit_once('/').unwrap_or_default();
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    [
        ("namespace", namespace),
        ("service", service),
        ("port", port),
        ("protocol", protocol),
        ("ip_family", family_word(family)),
    ]
}
