//! How a scenario is set up, proven to take the path that is meant, and timed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_common::net::Family;

use crate::frame::{Party, Segment, frame};
use crate::kernel::{Books, Flows, Kernel, NOTHING};
use crate::scenario::{FLOW_CAPACITY, Scenario, Traffic};

/// `TC_ACT_UNSPEC`: the packet goes on.
const GOES_ON: i32 = -1;
/// Calls of the reference program in one measurement of it.
const REFERENCES: u32 = 100_000;
/// A sample is slow if the reference beside it took this much longer than the fastest one.
const SLOW: f64 = 1.2;
/// So many times more samples than wanted are tried until enough of them are not slow.
const PATIENCE: usize = 4;
/// Far apart in memory; a prime, so that a walk meets every flow.
const STRIDE: u32 = 7_919;

/// What a scenario costs: medians over the samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Nanoseconds per packet, of the program alone.
    pub(crate) ns: f64,
    /// The time as measured over that of one `LRU_HASH` hit as measured.
    pub(crate) ratio: f64,
    /// The program alone over one hit alone: without loop and wrapper, which dilute `ratio`.
    pub(crate) net_ratio: f64,
    /// Nanoseconds of that hit, with the loop around it.
    pub(crate) reference_ns: f64,
    /// Nanoseconds of the wrapper, with the loop around it.
    pub(crate) wrapper_ns: f64,
    /// Nanoseconds of the loop around an empty program.
    pub(crate) loop_ns: f64,
    /// How many samples were used.
    pub(crate) samples: usize,
    /// How many were not, because the machine was slow meanwhile.
    pub(crate) discarded: usize,
}

/// One measurement of everything, in nanoseconds per packet.
#[derive(Clone, Copy, Debug)]
struct Sample {
    before: f64,
    empty: f64,
    wrapper: f64,
    program: f64,
    after: f64,
}

impl Sample {
    fn reference(&self) -> f64 {
        f64::midpoint(self.before, self.after)
    }
}

/// Measures `scenario` with `samples` samples a hop; calls `tick` after each.
pub(crate) fn measure(
    objects: &Path,
    family: Family,
    scenario: Scenario,
    samples: usize,
    tick: impl Fn(),
) -> Result<Cost> {
    let costs = scenario.hops.iter().map(|hop| measure_hop(objects, family, *hop, samples, &tick));
    let costs: Vec<Cost> = costs.collect::<Result<_>>()?;
    costs.into_iter().reduce(Cost::and).context("a scenario without hops")
}

fn measure_hop(
    objects: &Path,
    family: Family,
    traffic: Traffic,
    samples: usize,
    tick: impl Fn(),
) -> Result<Cost> {
    let mut bench = Bench::set_up(objects, family, traffic)?;
    let before = bench.kernel.books()?;
    let mut all: Vec<Sample> = Vec::new();
    while usable(&all).len() < samples && all.len() < samples * PATIENCE {
        all.push(bench.sample()?);
        tick();
    }
    bench.check_books(before, all.len())?;
    let good = usable(&all);
    ensure!(!good.is_empty(), "no sample was taken");
    Ok(Cost {
        ns: median(&good, |s| s.program - s.wrapper),
        ratio: median(&good, |s| s.program / s.reference()),
        net_ratio: median(&good, |s| (s.program - s.wrapper) / (s.reference() - s.empty)),
        reference_ns: median(&good, Sample::reference),
        wrapper_ns: median(&good, |s| s.wrapper),
        loop_ns: median(&good, |s| s.empty),
        samples: good.len(),
        discarded: all.len() - good.len(),
    })
}

impl Cost {
    /// This hook and then another one, as if both were met in one round of the loop.
    fn and(self, next: Self) -> Self {
        Self {
            ns: self.ns + next.ns,
            ratio: self.ratio + next.ratio - next.wrapper_ns / next.reference_ns,
            net_ratio: self.net_ratio + next.net_ratio,
            reference_ns: f64::midpoint(self.reference_ns, next.reference_ns),
            samples: self.samples.min(next.samples),
            discarded: self.discarded + next.discarded,
            ..self
        }
    }
}

/// The samples beside which the reference was not slow.
fn usable(all: &[Sample]) -> Vec<Sample> {
    let fastest = all.iter().map(|s| s.before.min(s.after)).fold(f64::INFINITY, f64::min);
    all.iter().filter(|s| s.before.max(s.after) <= fastest * SLOW).copied().collect()
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A hop of a scenario, ready to be timed.
struct Bench {
    kernel: Kernel,
    family: Family,
    traffic: Traffic,
    frame: Vec<u8>,
}

impl Bench {
    fn set_up(objects: &Path, family: Family, traffic: Traffic) -> Result<Self> {
        let mut kernel = Kernel::load(objects, family, FLOW_CAPACITY)?;
        let (frontend, backend) = (Party::frontend(family), Party::backend(family));
        kernel.serve(frontend, backend, traffic.service())?;
        open(&mut kernel, family, traffic)?;
        let packet = traffic.packet(family);
        let frame = frame(packet.from, packet.to, packet.segment);
        let mut bench = Self { kernel, family, traffic, frame };
        bench.prepare(1)?;
        bench.kernel.target(traffic.program())?;
        bench.check_path().context("the program does not take the path to be timed")?;
        bench.warm_up()?;
        Ok(bench)
    }

    /// Makes the wrapper begin at flow 0. Requests that are to be met where they leave have to enter
    /// first, so many.
    fn prepare(&mut self, packets: u32) -> Result<()> {
        if self.traffic == Traffic::NewLeg {
            let entering = Traffic::NewMasqueraded;
            self.kernel.clear_flows()?;
            let frame = begin(&mut self.kernel, self.family, entering, Segment::Syn, 1)?;
            self.kernel.target(entering.program())?;
            self.kernel.run(&frame, packets)?;
        }
        let flows = self.traffic.flows();
        let stride = if self.traffic.opens_flows() { 1 } else { STRIDE % flows };
        let segment = self.traffic.packet(self.family).segment;
        begin(&mut self.kernel, self.family, self.traffic, segment, stride).map(drop)
    }

    /// Sends one packet and looks at everything that it must have done.
    fn check_path(&self) -> Result<()> {
        let packet = self.traffic.packet(self.family);
        let expected = frame(packet.new_from, packet.new_to, packet.segment);
        let before = self.kernel.books()?;
        let run = self.kernel.run(&self.frame, 1)?;
        ensure!(run.answer == GOES_ON, "it answered {}", run.answer);
        ensure!(run.packet == expected, "it made {:02x?}, not {expected:02x?}", run.packet);
        let after = self.kernel.books()?;
        let expected = self.traffic.books_after(before, 1);
        ensure!(after == expected, "it counted {after:?}, not {expected:?}");
        Ok(())
    }

    /// Brings caches and the flow table into the state to be timed.
    fn warm_up(&mut self) -> Result<()> {
        match self.traffic {
            Traffic::New | Traffic::NewMasqueraded | Traffic::NewLeg => self.kernel.clear_flows(),
            Traffic::NewWhenFull => {
                self.kernel.run(&self.frame, 2 * FLOW_CAPACITY)?;
                let entries = self.kernel.books()?.entries;
                ensure!(entries > u64::from(FLOW_CAPACITY) * 9 / 10, "only {entries} flows are in");
                Ok(())
            }
            _ => self.kernel.run(&self.frame, self.traffic.packets()).map(drop),
        }
    }

    fn sample(&mut self) -> Result<Sample> {
        let packets = self.traffic.packets();
        self.kernel.target(NOTHING)?;
        let before = self.kernel.reference(&self.frame, REFERENCES)?;
        let empty = self.kernel.empty(&self.frame, REFERENCES)?;
        let wrapper = self.kernel.run(&self.frame, packets)?.ns;
        if self.traffic == Traffic::NewLeg {
            self.prepare(packets)?;
        }
        self.kernel.target(self.traffic.program())?;
        let run = self.kernel.run(&self.frame, packets)?;
        let after = self.kernel.reference(&self.frame, REFERENCES)?;
        ensure!(run.answer == GOES_ON, "{} answered {}", self.traffic.program(), run.answer);
        if self.traffic.opens_flows() && self.traffic != Traffic::NewWhenFull {
            self.kernel.clear_flows()?;
        }
        Ok(Sample { before, empty, wrapper, program: run.ns, after })
    }

    /// Makes sure that every packet of `samples` samples did what the first one did.
    fn check_books(&self, before: Books, samples: usize) -> Result<()> {
        let packets = u64::from(self.traffic.packets()) * u64::try_from(samples)?;
        let after = self.kernel.books()?;
        let mut expected = self.traffic.books_after(before, packets);
        if self.traffic.opens_flows() {
            // Entries were removed or evicted meanwhile. Those that leave have entered.
            expected.new_flows = before.new_flows + packets;
            expected.packets = after.packets;
            expected.entries = after.entries;
        }
        ensure!(after == expected, "while timed it counted {after:?}, not {expected:?}");
        Ok(())
    }
}

/// Sends one packet of each flow wherever such packets are met.
fn open(kernel: &mut Kernel, family: Family, traffic: Traffic) -> Result<()> {
    let opening = traffic.opening();
    for traffic in &opening {
        let frame = begin(kernel, family, *traffic, Segment::Data, 1 % traffic.flows())?;
        kernel.target(traffic.program())?;
        kernel.run(&frame, traffic.flows())?;
    }
    let Some(first) = opening.first() else { return Ok(()) };
    let flows = u64::from(first.flows());
    let entries = flows * u64::try_from(opening.len())?;
    let books = kernel.books()?;
    let expected = Books { new_flows: flows, others: 0, packets: entries, entries };
    ensure!(books == expected, "opening {flows} flows counted {books:?}");
    Ok(())
}

/// Makes the wrapper walk the flows of `traffic`, from 0 on; returns the packet of flow 0.
fn begin(
    kernel: &mut Kernel,
    family: Family,
    traffic: Traffic,
    segment: Segment,
    stride: u32,
) -> Result<Vec<u8>> {
    let packet = traffic.packet(family);
    let frame = frame(packet.from, packet.to, segment);
    let flows = Flows { count: traffic.flows(), stride, to_client: traffic.is_answer() };
    kernel.walk(&frame, (packet.from, packet.to), flows)?;
    Ok(frame)
}

impl Traffic {
    /// What `books` become by `packets` of these packets.
    fn books_after(self, books: Books, packets: u64) -> Books {
        match self {
            Self::Established(_) | Self::Sticky | Self::Reply(_) | Self::Masqueraded(_) => {
                Books { packets: books.packets + packets, ..books }
            }
            Self::New | Self::NewWhenFull | Self::NewMasqueraded => Books {
                new_flows: books.new_flows + packets,
                packets: books.packets + packets,
                entries: books.entries + 2 * packets,
                ..books
            },
            Self::NewLeg => Books {
                packets: books.packets + packets,
                entries: books.entries + 2 * packets,
                ..books
            },
            Self::BystanderIn | Self::BystanderOut => books,
        }
    }
}
