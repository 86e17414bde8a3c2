//! Rounds over all paths, and ratios within a round.
//!
//! A machine's speed changes from minute to minute: only what was measured in the same round is
//! compared, and the median of such comparisons is the result.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cpu::Cpu;
use crate::load::{Sample, Workload};
use crate::rig::{Path, Way};

/// What was measured on one path, in one workload: a sample a round.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) way: Way,
    pub(crate) services: u32,
    pub(crate) workload: Workload,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    /// `of` every sample with the sample that `base` has of the same round.
    pub(crate) fn against(&self, base: &Self, of: impl Fn(&Sample, &Sample) -> f64) -> Spread {
        let pairs = self.samples.iter().zip(&base.samples);
        Spread::new(pairs.map(|(own, base)| of(own, base)).collect())
    }

    /// `of` every sample.
    pub(crate) fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::new(self.samples.iter().map(of).collect())
    }
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        let middle = f64::midpoint(values[last / 2], values[last.div_ceil(2)]);
        Self { median: middle, low: values[last / 4], high: values[last - last / 4] }
    }
}

/// Measures every workload on every path, `rounds` times for `slice` each, and once before that
/// does not count; calls `tick` after each.
pub(crate) fn measure(
    paths: &[Path<'_>],
    rounds: usize,
    slice: Duration,
    cpu: Cpu,
    tick: impl Fn(),
) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for workload in Workload::ALL {
        all.extend(paths.iter().map(|path| {
            let Path { way, services, .. } = *path;
            Series { way, services, workload, samples: Vec::new() }
        }));
    }
    for round in 0..=rounds {
        for block in all.chunks_mut(paths.len()) {
            // Another path begins each round, so that none always follows the same pause.
            for at in (0..paths.len()).map(|at| (at + round) % paths.len()) {
                let sample = sample(paths[at], block[at].workload, slice, cpu)?;
                block[at].samples.extend((round > 0).then_some(sample));
                tick();
            }
        }
    }
    Ok(all)
}

fn sample(path: Path<'_>, workload: Workload, slice: Duration, cpu: Cpu) -> Result<Sample> {
    let Path { way, services, client, target } = path;
    let work = || {
        cpu.stay();
        workload.run(target, slice)
    };
    client.run(work).with_context(|| {
        format!("measure {} with {services} Services: {}", way.title(), workload.title())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], expected: [f64; 3]) {
        check_spread(&Spread::new(values.to_vec()), expected);
    }

    #[track_caller]
    fn check_spread(found: &Spread, expected: [f64; 3]) {
        let pairs = [found.low, found.median, found.high].into_iter().zip(expected);
        for (value, expected) in pairs {
            assert!((value - expected).abs() < 1e-9, "{found:?}, {expected}");
        }
    }

    #[test]
    fn a_spread_is_made_of_quartiles_and_the_middle() {
        check(&[5.0], [5.0, 5.0, 5.0]);
        check(&[4.0, 1.0], [1.0, 2.5, 4.0]);
        check(&[9.0, 1.0, 5.0, 3.0, 7.0], [3.0, 5.0, 7.0]);
        check(&[1.0, 2.0, 3.0, 1000.0], [1.0, 2.5, 1000.0]);
    }

    #[test]
    fn only_samples_of_the_same_round_are_compared() {
        let series = |rates: [f64; 3]| Series {
            way: Way::Tc,
            services: 1,
            workload: Workload::Connections,
            samples: rates.map(|rate| Sample { rate, connect: None }).to_vec(),
        };
        // The machine was twice as fast in the second round, and half as fast in the third.
        let (own, base) = (series([90.0, 180.0, 45.0]), series([100.0, 200.0, 50.0]));
        let ratio = own.against(&base, |own, base| own.rate / base.rate);
        check_spread(&ratio, [0.9, 0.9, 0.9]);
    }
}
