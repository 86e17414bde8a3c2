//! How long the programs run, while the kernel counts it (sysctl `kernel.bpf_stats_enabled`).

use std::fmt;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// The programs that are loaded, by name. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Programs(Arc<Mutex<Vec<(&'static str, OwnedFd)>>>);

/// What the kernel has counted of a program since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Runs {
    count: u64,
    time_ns: u64,
}

impl Programs {
    /// These are loaded now.
    pub fn set(&self, programs: Vec<(&'static str, OwnedFd)>) {
        *self.loaded() = programs;
    }

    /// What was counted of each. Read through the open file: asking by bpf(2) takes privileges.
    fn runs(&self) -> Vec<(&'static str, Runs)> {
        let read =
            |fd: &OwnedFd| fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let loaded = self.loaded();
        let runs = loaded.iter().filter_map(|(name, fd)| Some((*name, parse(&read(fd).ok()?))));
        runs.filter(|(_, runs)| runs.count > 0).collect()
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<(&'static str, OwnedFd)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Programs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.runs();
        // Parsers take no metric without a sample.
        if all.is_empty() {
            return Ok(());
        }
        let help = "Runs of a program, while the kernel counts them";
        let mut family =
            encoder.encode_descriptor("program_runs", help, None, MetricType::Counter)?;
        for (name, runs) in &all {
            let label = [("program", *name)];
            ConstCounter::new(runs.count).encode(family.encode_family(&label)?)?;
        }
        let help = "Time in a program, while the kernel counts it";
        let name = "program_run_time_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, runs) in &all {
            let label = [("program", *name)];
            let time = std::time::Duration::from_nanos(runs.time_ns).as_secs_f64();
            ConstCounter::new(time).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }
}

/// Lines of `name:` and a number, among others.
fn parse(text: &str) -> Runs {
    let number = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.find_map(|value| value.trim().parse().ok()).unwrap_or_default()
    };
    Runs { count: number("run_cnt"), time_ns: number("run_time_ns") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_counted_is_read_from_its_lines() {
        let text =
            "pos:\t0\nprog_type:\t3\nrun_time_ns:\t1234\nrun_cnt:\t5\nrecursion_misses:\t0\n";
        assert_eq!(parse(text), Runs { count: 5, time_ns: 1234 });
        assert_eq!(parse("pos:\t0\n"), Runs::default());
    }
}
