//! What the design promises of connections, and what was found.

use anyhow::Result;
use serde::Serialize;

use crate::load::{Latency, Workload};
use crate::measure::Series;
use crate::report::{find, latency};
use crate::rig::Way;

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    name: String,
    bound: Bound,
    /// Median over the rounds.
    found: f64,
    met: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    /// A ratio of rates.
    AtLeast(f64),
    /// Microseconds.
    AtMost(f64),
}

impl Goal {
    fn new(name: String, bound: Bound, found: f64) -> Self {
        let met = match bound {
            Bound::AtLeast(least) => found >= least,
            Bound::AtMost(most) => found <= most,
        };
        Self { name, bound, found, met }
    }

    /// Name, what is wanted, what was found, and the verdict.
    pub(crate) fn cells(&self) -> [String; 4] {
        let (wanted, found, lacking) = match self.bound {
            Bound::AtLeast(least) => (
                format!("≥ {least:.2}"),
                format!("{:.3}", self.found),
                format!("{:.3}", least - self.found),
            ),
            Bound::AtMost(most) => (
                format!("≤ +{most:.0} µs"),
                format!("{:+.1} µs", self.found),
                format!("{:.1} µs", self.found - most),
            ),
        };
        let verdict = if self.met { "ok".to_owned() } else { format!("falls short by {lacking}") };
        [self.name.clone(), wanted, found, verdict]
    }
}

/// Compares the short connections of `all` with the design's budget.
pub(crate) fn check(all: &[Series]) -> Result<Vec<Goal>> {
    let sizes: Vec<u32> =
        connections(all).filter(|one| one.way == Way::Tc).map(|one| one.services).collect();
    let mut goals = Vec::new();
    for &services in &sizes {
        let name = |what: &str| format!("{what}, Services: {services}");
        let at_socket = ratio(all, (Way::Socket, services), None)?;
        goals.push(Goal::new(name("socket over direct"), Bound::AtLeast(0.97), at_socket));
        let at_tc = ratio(all, (Way::Tc, services), Some((Way::Nftables, services)))?;
        goals.push(Goal::new(name("TC over nftables"), Bound::AtLeast(1.0), at_tc));
        for (way, what, p50) in [(Way::Socket, "socket", 1.0), (Way::Tc, "TC", 3.0)] {
            let most = Bound::AtMost(p50);
            let found = more(all, (way, services), |of| of.p50)?;
            goals.push(Goal::new(name(&format!("{what}, p50 over direct")), most, found));
        }
        let found = more(all, (Way::Tc, services), |of| of.p99)?;
        goals.push(Goal::new(name("TC, p99 over direct"), Bound::AtMost(10.0), found));
    }
    if let [first, .., last] = sizes[..] {
        for (way, what) in [(Way::Tc, "TC"), (Way::Socket, "socket")] {
            let found = ratio(all, (way, last), Some((way, first)))?;
            let name = format!("{what}, Services: {last} over {first}");
            goals.push(Goal::new(name, Bound::AtLeast(0.97), found));
        }
    }
    Ok(goals)
}

fn connections(all: &[Series]) -> impl Iterator<Item = &Series> {
    all.iter().filter(|one| one.workload == Workload::Connections)
}

/// Of rates; to the direct way unless it is said to which.
fn ratio(all: &[Series], own: (Way, u32), base: Option<(Way, u32)>) -> Result<f64> {
    let base = match base {
        Some((way, services)) => find(all, Workload::Connections, way, Some(services))?,
        None => find(all, Workload::Connections, Way::Direct, None)?,
    };
    let own = find(all, Workload::Connections, own.0, Some(own.1))?;
    Ok(own.against(base, |own, base| own.rate / base.rate).median)
}

/// How much later than the direct way's.
fn more(all: &[Series], (way, services): (Way, u32), of: fn(Latency) -> f64) -> Result<f64> {
    let own = find(all, Workload::Connections, way, Some(services))?;
    let direct = find(all, Workload::Connections, Way::Direct, None)?;
    Ok(own.against(direct, |own, base| of(latency(own)) - of(latency(base))).median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    /// Rates and p50 that all goals allow, and no better.
    fn just_enough() -> Vec<Series> {
        let ways = [
            (Way::Direct, 0, 1000.0, 30.0),
            (Way::Tc, 1, 900.0, 33.0),
            (Way::Tc, 50_000, 880.0, 33.0),
            (Way::Socket, 1, 990.0, 31.0),
            (Way::Socket, 50_000, 970.0, 31.0),
            (Way::Nftables, 1, 900.0, 40.0),
            (Way::Nftables, 50_000, 880.0, 40.0),
        ];
        ways.map(|(way, services, rate, p50)| series(way, services, rate, p50)).to_vec()
    }

    fn series(way: Way, services: u32, rate: f64, p50: f64) -> Series {
        let connect = Some(Latency { p50, p99: p50 + 7.0 });
        let samples = vec![Sample { rate, connect }];
        Series { way, services, workload: Workload::Connections, samples }
    }

    /// Which goals are missed once one series is another.
    fn missed(other: Series) -> Vec<String> {
        let mut all = just_enough();
        let place = (other.way, other.services);
        *all.iter_mut().find(|one| (one.way, one.services) == place).unwrap() = other;
        let goals = check(&all).unwrap();
        goals.into_iter().filter(|goal| !goal.met).map(|goal| goal.name).collect()
    }

    #[test]
    fn each_promise_is_kept_up_to_its_bound() {
        let goals = check(&just_enough()).unwrap();
        assert!(goals.iter().all(|goal| goal.met), "{goals:?}");
        assert_eq!(goals.len(), 12);
    }

    #[test]
    fn what_falls_short_is_named() {
        assert_eq!(
            missed(series(Way::Tc, 1, 899.0, 33.0)),
            ["TC over nftables, Services: 1"],
            "slower than nftables"
        );
        assert_eq!(
            missed(series(Way::Socket, 50_000, 969.0, 31.0)),
            ["socket over direct, Services: 50000"],
            "slower than direct"
        );
        assert_eq!(
            missed(series(Way::Socket, 1, 990.0, 31.5)),
            ["socket, p50 over direct, Services: 1"],
            "later than direct"
        );
        assert_eq!(
            missed(series(Way::Tc, 1, 910.0, 33.0)),
            ["TC, Services: 50000 over 1"],
            "not flat"
        );
    }

    #[test]
    fn a_way_that_was_not_measured_is_named() {
        let all: Vec<_> =
            just_enough().into_iter().filter(|one| one.way != Way::Nftables).collect();
        assert_eq!(check(&all).unwrap_err().to_string(), "nftables was not measured");
    }
}
