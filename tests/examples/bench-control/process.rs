//! What the kernel knows of a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Memory in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All that is resident, the mapped maps included: they are the kernel's memory.
    pub(crate) resident: f64,
    /// What is the process's own.
    pub(crate) own: f64,
    /// The most that was ever resident.
    pub(crate) peak: f64,
}

impl Memory {
    /// Of a running process.
    pub(crate) fn of(pid: Pid) -> Result<Self> {
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().nth(1)?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).with_context(|| format!("find {name} in its status"))
        };
        Ok(Self { resident: mib("VmRSS")?, own: mib("RssAnon")?, peak: mib("VmHWM")? })
    }
}

/// How long a process has run so far, on all CPUs together, threads that have ended included.
pub(crate) fn cpu_time(pid: Pid) -> Result<Duration> {
    let time = clock_getcpuclockid(pid)?.now().context("read its clock")?;
    Ok(time.into())
}
