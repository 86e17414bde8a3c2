//! The process itself, under the names that Prometheus' own libraries use.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Shows what the kernel says of this process when it is asked.
#[derive(Debug)]
pub(super) struct Process;

/// The unit of CPU times in `/proc` (`USER_HZ`), the same on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let help = "CPU time of the agent, its own and the kernel's for it";
        let counter = MetricType::Counter;
        let cpu = encoder.encode_descriptor("process_cpu_seconds", help, None, counter)?;
        ConstCounter::new(cpu_seconds(&read("/proc/self/stat"))).encode(cpu)?;
        let status = read("/proc/self/status");
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory of the agent", memory(&status, "VmRSS:")),
            ("process_virtual_memory_bytes", "Its address space", memory(&status, "VmSize:")),
            ("process_open_fds", "Its open files", open_files as u64),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

/// The times in user and kernel mode of a line of `/proc/<pid>/stat` (proc(5)), whose second field is
/// the program's name, which may hold anything.
fn cpu_seconds(line: &str) -> f64 {
    let behind_name = line.rsplit_once(')').unwrap_or_default().1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// The bytes that a line of `/proc/<pid>/status` tells in kB.
fn memory(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kilobytes = line.trim().trim_end_matches(" kB").parse().unwrap_or(0_u64);
    kilobytes * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_from_the_lines_of_the_kernel() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 3 0 900 4096000 25";
        assert!((cpu_seconds(line) - 2.0).abs() < 1e-9);
        assert!(cpu_seconds("").abs() < 1e-9);
        let status = "Name:\twaggle\nVmSize:\t    4000 kB\nVmRSS:\t      12 kB\n";
        assert_eq!(memory(status, "VmRSS:"), 12 * 1024);
        assert_eq!(memory("", "VmRSS:"), 0);
    }
}
