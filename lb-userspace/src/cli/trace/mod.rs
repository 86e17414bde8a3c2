//! `waggle trace`: new flows, drops, rejects and counted passes as they happen.
//!
//! It reads what the pinned programs tell, so it needs no agent. They tell until a deadline that is put
//! off every second: however this ends, soon nothing is told any more.

mod filter;
mod row;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use lb_common::abi::event::Event;
use lb_common::clock::Ticks;
use nix::net::if_::if_indextoname;
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use self::filter::Filter;
use self::row::Row;
use super::output::{self, Format};
use super::{Global, runtime};
use crate::datapath::pins::Pins;
use crate::maps::kernel::Events;

pub(super) const HELP: &str = "\
Ends on Ctrl-C, or after --count events. With -o json each line is one JSON object.
One can listen at a time: a second trace is told who does.
Packets that follow a flow are not shown, nor those that are nobody's.";

/// How often the deadline is put off, and by how many ticks: a listener may be late twice.
const RENEWAL: Duration = Duration::from_secs(1);
const AHEAD: u32 = 3;

/// Flags of `waggle trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(flatten)]
    filter: Filter,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(super) fn run(global: &Global, args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let directory = Pins::new(&global.bpffs).maps();
    let events = Events::open(&directory).with_context(|| {
        let shown = directory.display();
        format!("listen to the programs of {shown}; has an agent run with this --bpffs, and are you root?")
    })?;
    runtime()?.block_on(async {
        let mut trace = Trace { left: args.count, filter: &args.filter, format: global.output };
        let mut events = watched(events)?;
        let result = trace.follow(&mut events).await;
        events.get_ref().listen(Ticks(0));
        result
    })?;
    Ok(ExitCode::SUCCESS)
}

#[expect(deprecated, reason = "the map keeps its file open for as long as it is watched")]
fn watched(events: Events) -> anyhow::Result<AsyncFd<Events>> {
    AsyncFd::with_interest(events, Interest::READABLE).context("watch the ring buffer of events")
}

/// What is shown, and how much of it is left to show.
struct Trace<'a> {
    filter: &'a Filter,
    format: Format,
    left: Option<u64>,
}

impl Trace<'_> {
    async fn follow(&mut self, events: &mut AsyncFd<Events>) -> anyhow::Result<()> {
        let mut renewals = interval(RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        while self.left != Some(0) {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = renewals.tick() => events.get_ref().listen(soon()?),
                guard = events.readable_mut() => {
                    let mut guard = guard.context("wait for events")?;
                    self.show(guard.get_inner_mut())?;
                    guard.clear_ready();
                }
            }
        }
        Ok(())
    }

    /// Prints what was told since, as far as it is wanted.
    fn show(&mut self, events: &mut Events) -> anyhow::Result<()> {
        let boot = Timestamp::now() - monotonic()?;
        while self.left != Some(0) {
            let Some(event) = events.take() else { return Ok(()) };
            let row = named(&event, events, boot)?;
            if self.filter.admits(&row) {
                self.print(&row).context("print an event")?;
                self.left = self.left.map(|left| left - 1);
            }
        }
        Ok(())
    }

    fn print(&self, row: &Row) -> io::Result<()> {
        match self.format {
            Format::Table => output::text(&row.to_string()),
            Format::Json => output::text(&serde_json::to_string(row)?),
        }
    }
}

/// The row of an event with the names that its ids have now, in this network namespace.
fn named(event: &Event, events: &Events, boot: Timestamp) -> anyhow::Result<Row> {
    let time = boot + SignedDuration::from_nanos(i64::try_from(event.time)?);
    let interface = if_indextoname(event.ifindex).ok().and_then(|name| name.into_string().ok());
    Ok(Row::new(event, time, events.service_name(event.service), interface))
}

/// The end of what a renewal now lasts for.
fn soon() -> anyhow::Result<Ticks> {
    let Ticks(now) = Ticks::from_ns(u64::try_from(monotonic()?.as_nanos())?);
    Ok(Ticks(now + AHEAD))
}

fn monotonic() -> anyhow::Result<SignedDuration> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read the monotonic clock")?;
    Ok(SignedDuration::try_from(Duration::from(time))?)
}
