//! What the flows of each service carry.
//!
//! The flows' own counts are looked at by every walk through them. What a walk finds more than the
//! last one, and what was removed meanwhile, is added to counters that begin with the agent; what the
//! kernel evicted between two walks is not in them.
//!
//! Not more series than a limit: services get their own in the order in which they have traffic; all
//! that come later share one, whose labels are empty.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::net::Family as AddressFamily;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::family_word;
use crate::flows::{Share, Traffic, Walk};
use crate::maps::{PerFamily, ServiceId};

/// The services with traffic. Clones are the same.
#[derive(Clone, Debug)]
pub struct Services(Arc<Mutex<Known>>);

/// Invariant: no more of `own` than `limit`.
#[derive(Debug)]
struct Known {
    limit: usize,
    own: BTreeMap<ServiceId, Series>,
    others: PerFamily<Sums>,
    /// What the last walk found of services without series of their own.
    live_others: PerFamily<BTreeMap<ServiceId, Traffic>>,
    /// The first walk finds what an earlier agent has seen already.
    has_walked: PerFamily<bool>,
}

/// A service with series of its own.
#[derive(Debug)]
struct Series {
    /// `namespace/name:port/PROTOCOL`.
    name: String,
    family: AddressFamily,
    live: Traffic,
    sums: Sums,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    active: u64,
    total: Traffic,
}

impl Services {
    /// Up to `limit` services have series of their own; with 0, nothing is shown.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Known {
            limit,
            own: BTreeMap::new(),
            others: PerFamily::default(),
            live_others: PerFamily::default(),
            has_walked: PerFamily::default(),
        })))
    }

    /// Takes in what a walk has found; `name` knows the services there are now.
    pub fn walked(&self, walk: &Walk, name: impl Fn(ServiceId) -> Option<String>) {
        let mut known = self.known();
        if known.limit > 0 {
            known.take_in(walk, name);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take_in(&mut self, walk: &Walk, name: impl Fn(ServiceId) -> Option<String>) {
        let (family, found) = (walk.family, &walk.tally.services);
        let is_first = !std::mem::replace(&mut self.has_walked[family], true);
        self.forget_renamed(family, &name);
        self.others[family].active = 0;
        let before = std::mem::take(&mut self.live_others[family]);
        for (&id, series) in self.own.iter_mut().filter(|(_, series)| series.family == family) {
            series.take_in(found.get(&id).copied().unwrap_or_default());
        }
        for (&id, &share) in found {
            if self.own.contains_key(&id) {
                continue;
            }
            let last = before.get(&id).copied().or(is_first.then(|| share.whole()));
            let last = last.unwrap_or_default();
            if let Some(name) = name(id).filter(|_| self.own.len() < self.limit) {
                let mut series = Series { name, family, live: last, sums: Sums::default() };
                series.take_in(share);
                self.own.insert(id, series);
            } else {
                self.others[family].take_in(last, share);
                self.live_others[family].insert(id, share.live);
            }
        }
    }

    /// An id that is free, or somebody else's now, says nothing more of who had it.
    fn forget_renamed(
        &mut self,
        family: AddressFamily,
        name: &impl Fn(ServiceId) -> Option<String>,
    ) {
        self.own.retain(|id, series| {
            series.family != family || name(*id).as_ref() == Some(&series.name)
        });
    }

    /// All series with their labels.
    fn shown(&self) -> Vec<([(&'static str, &str); 5], Sums)> {
        let own =
            self.own.values().map(|series| (labels(&series.name, series.family), series.sums));
        let others = self.others.iter().map(|(family, sums)| (labels("", family), *sums));
        let others = others.filter(|(_, sums)| self.limit > 0 && sums.total != Traffic::default());
        own.chain(others).collect()
    }
}

impl Series {
    fn take_in(&mut self, share: Share) {
        self.sums.active = 0;
        self.sums.take_in(self.live, share);
        self.live = share.live;
    }
}

impl Sums {
    /// Adds what is there and what is gone, less what was there at the `last` walk.
    fn take_in(&mut self, last: Traffic, share: Share) {
        let mut more = share.whole();
        more.subtract(last);
        self.total.add(more);
        self.active += share.live.flows;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flows::Tally;

    fn traffic(flows: u64, packets: u64) -> Traffic {
        Traffic { flows, packets, bytes: 100 * packets }
    }

    fn walk(services: &[(ServiceId, Traffic, Traffic)]) -> Walk {
        let share = |&(id, live, gone): &(ServiceId, _, _)| (id, Share { live, gone });
        let mut tally = Tally::default();
        tally.services = services.iter().map(share).collect();
        Walk { family: AddressFamily::V4, tally, capacity: 100, duration: Duration::ZERO }
    }

    fn name(id: ServiceId) -> Option<String> {
        (id < 100).then(|| format!("shop/web{id}:http/TCP"))
    }

    /// `service active flows packets`, of all series.
    fn shown(services: &Services) -> Vec<String> {
        let known = services.known();
        let line = |(labels, sums): &([(_, &str); 5], Sums)| {
            assert_eq!(sums.total.bytes, 100 * sums.total.packets);
            let Traffic { flows, packets, .. } = sums.total;
            format!("{}:{} {} {flows} {packets}", labels[1].1, labels[2].1, sums.active)
        };
        known.shown().iter().map(line).collect()
    }

    #[test]
    fn counters_begin_with_the_agent_and_never_go_back() {
        let services = Services::new(10);
        let none = Traffic::default();
        let expect = |walked: &[(ServiceId, Traffic, Traffic)], expected: &[&str]| {
            services.walked(&walk(walked), name);
            assert_eq!(shown(&services), expected, "{walked:?}");
        };
        expect(&[(1, traffic(5, 50), traffic(9, 90))], &["web1:http 5 0 0"]);
        expect(&[(1, traffic(6, 60), none)], &["web1:http 6 1 10"]);
        expect(&[(1, traffic(2, 15), traffic(5, 55))], &["web1:http 2 2 20"]);
        // Evicted: what they carried since the last walk is lost.
        expect(&[(1, traffic(1, 5), none)], &["web1:http 1 2 20"]);
        expect(&[(1, traffic(1, 8), none)], &["web1:http 1 2 23"]);
        expect(&[(2, traffic(1, 3), none)], &["web1:http 0 2 23", "web2:http 1 1 3"]);
    }

    #[test]
    fn services_beyond_the_limit_share_one_series() {
        let services = Services::new(1);
        let none = Traffic::default();
        services.walked(&walk(&[]), name);
        let all = [(1, traffic(1, 1), none), (2, traffic(2, 2), none), (3, traffic(3, 3), none)];
        services.walked(&walk(&all), name);
        assert_eq!(shown(&services), ["web1:http 1 1 1", ": 5 5 5"]);
        services.walked(&walk(&[(2, traffic(2, 9), none), (3, none, traffic(3, 4))]), name);
        assert_eq!(shown(&services), ["web1:http 0 1 1", ": 2 5 13"]);
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_see() {
        let services = Services::new(0);
        services.walked(&walk(&[(1, traffic(1, 1), Traffic::default())]), name);
        assert!(shown(&services).is_empty());
    }

    #[test]
    fn an_id_that_has_another_user_begins_anew() {
        let services = Services::new(10);
        services.walked(&walk(&[]), name);
        let found = [(1, traffic(1, 1), Traffic::default())];
        services.walked(&walk(&found), name);
        services.walked(&walk(&[]), |_| None);
        assert!(shown(&services).is_empty());
        let other = |_| Some("shop/other:http/TCP".to_owned());
        services.walked(&walk(&found), other);
        assert_eq!(shown(&services), ["other:http 1 1 1"]);
    }
}
