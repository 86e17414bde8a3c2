//! Who runs where.
//!
//! Client and server share a CPU, so that nobody waits for another CPU to wake up and a rate is one
//! over a cost; everybody else, the agents above all, has the others.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// A CPU of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(CpuSet);

impl Cpu {
    /// The last CPU that this process may use; the calling thread, and what it starts from now on,
    /// keeps off it.
    pub(crate) fn set_apart() -> Result<Self> {
        let mut others = sched_getaffinity(Pid::from_raw(0)).context("ask for the CPUs")?;
        let usable: Vec<_> =
            (0..CpuSet::count()).filter(|cpu| others.is_set(*cpu).unwrap_or_default()).collect();
        ensure!(usable.len() > 1, "agents and load need a CPU each: this process may use one only");
        let mut last = CpuSet::new();
        last.set(usable[usable.len() - 1])?;
        others.unset(usable[usable.len() - 1])?;
        sched_setaffinity(Pid::from_raw(0), &others).context("leave a CPU to the load")?;
        Ok(Self(last))
    }

    /// From now on the calling thread runs there only.
    pub(crate) fn stay(self) {
        sched_setaffinity(Pid::from_raw(0), &self.0).expect("run on a CPU of this process");
    }
}
