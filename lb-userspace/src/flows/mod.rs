//! Removes entries of flows that have ended or been forgotten, and puts back those that the kernel has
//! evicted while their flow lives.
//!
//! The kernel would evict them only when the table is full. A thread of its own walks through the
//! tables, a few hundred entries at a time and with pauses in between: however large they are, the
//! agent's own thread never waits for it. It touches nothing but `FLOWS_*` and, for the sake of what the
//! removed entries have counted, `SVC_CARRIED`.

mod heal;
mod sweep;
mod tally;
#[cfg(test)]
mod tests;

pub use sweep::Sweep;
pub use tally::{Share, Stage, Tally, Traffic};

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use lb_common::abi::carried::Carried;
use lb_common::clock::Ticks;
use lb_common::decide::state::Timeouts;
use lb_common::net::{Addr4, Addr6, Address, Family};
use nix::time::{ClockId, clock_gettime};

use crate::maps::kernel::{KernelFlows, Sums};
use crate::maps::{FlowTable, MapError, ServiceId};

/// From the end of one walk to the beginning of the next.
const BETWEEN_WALKS: Duration = Duration::from_secs(8);
/// From the end of one step to the beginning of the next.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);

/// Walks through the flows of both families.
pub struct Collector {
    v4: Walker<Addr4>,
    v6: Walker<Addr6>,
    /// Where the sums are. They are opened each time: the maps by services grow, those of flows do not
    /// while the agent runs.
    maps: PathBuf,
}

/// What came of a walk.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Whose flows.
    pub family: Family,
    /// What services of both families had carried before it, apart from what was met or removed on it.
    pub carried: BTreeMap<ServiceId, Carried>,
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
            maps: directory.to_owned(),
        })
    }

    /// Walks for as long as the process lives and tells `show` of each walk.
    pub fn start(mut self, show: impl Fn(&Walk) + Send + 'static) -> io::Result<()> {
        let walk = move || {
            loop {
                tell(walk(&mut self.v4, &self.maps), &show);
                tell(walk(&mut self.v6, &self.maps), &show);
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

/// One walk. What ends on it is added to the sums, also if the walk does not come to its end.
fn walk<A: Address + Eq + Hash>(sweep: &mut Walker<A>, maps: &Path) -> Result<Walk, MapError>
where
    KernelFlows<A>: FlowTable<A>,
{
    // Read first: what a program removes meanwhile is missed once rather than counted twice.
    let carried = Sums::from_pins(maps)?.all();
    let mut tally = Tally::default();
    let walked = steps(sweep, &mut tally);
    let sums = Sums::from_pins(maps)?;
    for (id, share) in &tally.services {
        sums.add(*id, &share.gone.carried());
    }
    let capacity = sweep.table().capacity();
    walked.map(|duration| Walk { family: A::FAMILY, carried, tally, capacity, duration })
}

/// Walks to the end, and tells how long that took.
fn steps<A: Address + Eq + Hash>(
    sweep: &mut Walker<A>,
    tally: &mut Tally,
) -> Result<Duration, MapError>
where
    KernelFlows<A>: FlowTable<A>,
{
    let mut duration = Duration::ZERO;
    loop {
        let started = Instant::now();
        let goes_on = sweep.step(tally)?;
        duration += started.elapsed();
        if !goes_on {
            return Ok(duration);
        }
        thread::sleep(BETWEEN_STEPS);
    }
}

fn tell(walk: Result<Walk, MapError>, show: &impl Fn(&Walk)) {
    match walk {
        Ok(walk) => show(&walk),
        Err(error) => tracing::warn!(%error, "flows that have ended stay for now, trying again"),
    }
}
