//! Removes entries of flows that have ended or been forgotten, and puts back those that the kernel has
//! evicted while their flow lives.
//!
//! The kernel would evict them only when the table is full. A thread of its own walks through the
//! tables, a few hundred entries at a time and with pauses in between: however large they are, the
//! agent's own thread never waits for it. It touches nothing but `FLOWS_*`.

mod heal;
mod sweep;
mod tally;
#[cfg(test)]
mod tests;

pub use sweep::Sweep;
pub use tally::{Share, Stage, Tally, Traffic};

use std::hash::Hash;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use lb_common::clock::Ticks;
use lb_common::decide::state::Timeouts;
use lb_common::net::{Addr4, Addr6, Address, Family};
use nix::time::{ClockId, clock_gettime};

use crate::maps::kernel::KernelFlows;
use crate::maps::{FlowTable, MapError};

/// From the end of one walk to the beginning of the next.
const BETWEEN_WALKS: Duration = Duration::from_secs(8);
/// From the end of one step to the beginning of the next.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// Walks through the flows of both families.
pub struct Collector {
    v4: Walker<Addr4>,
    v6: Walker<Addr6>,
}

/// What came of a walk.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Whose flows.
    pub family: Family,
    /// What was met and done.
    pub tally: Tally,
    /// How many entries there is room for.
    pub capacity: u32,
    /// How long it took, pauses left out.
    pub duration: Duration,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// Of the flows that are pinned in `directory`.
    pub fn from_pins(directory: &Path, timeouts: Timeouts) -> Result<Self, MapError> {
        // Without a clock everything is young.
        let clock: Clock = || now().unwrap_or_default();
        Ok(Self {
            v4: Sweep::new(KernelFlows::from_pins(directory)?, clock, timeouts),
            v6: Sweep::new(KernelFlows::from_pins(directory)?, clock, timeouts),
        })
    }

    /// Walks for as long as the process lives and tells `show` of each walk.
    pub fn start(mut self, show: impl Fn(&Walk) + Send + 'static) -> io::Result<()> {
        let walk = move || {
            loop {
                tell(walk(&mut self.v4), &show);
                tell(walk(&mut self.v6), &show);
                thread::sleep(BETWEEN_WALKS);
            }
        };
        thread::Builder::new().name("flows".to_owned()).spawn(walk)?;
        Ok(())
    }
}

/// The time on the clock of the programs.
pub fn now() -> nix::Result<Ticks> {
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(Ticks::from_ns(u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX)))
}

type Clock = fn() -> Ticks;
type Walker<A> = Sweep<A, KernelFlows<A>, Clock>;

fn walk<A: Address + Eq + Hash>(sweep: &mut Walker<A>) -> Result<Walk, MapError>
where
    KernelFlows<A>: FlowTable<A>,
{
    let (mut tally, mut duration) = (Tally::default(), Duration::ZERO);
    loop {
        let started = Instant::now();
        let goes_on = sweep.step(&mut tally)?;
        duration += started.elapsed();
        if !goes_on {
            break;
        }
        thread::sleep(BETWEEN_STEPS);
    }
    Ok(Walk { family: A::FAMILY, tally, capacity: sweep.table().capacity(), duration })
}

fn tell(walk: Result<Walk, MapError>, show: &impl Fn(&Walk)) {
    match walk {
        Ok(walk) => show(&walk),
        Err(error) => tracing::warn!(%error, "flows that have ended stay for now, trying again"),
    }
}
