//! The result: rows and goals, as tables for people and as JSON for programs.

use std::io::Write;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::goals::{self, Goal};
use crate::load::{Latency, Sample, Workload};
use crate::measure::{Series, Spread};
use crate::rig::Way;

/// Everything there is to say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
}

/// One path in one workload.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) way: Way,
    /// How many Services the node has.
    pub(crate) services: u32,
    /// Rounds of the workload a second.
    rate: Spread,
    /// That over the rate of the direct way in the same round.
    pub(crate) ratio: Spread,
    connect: Option<Connect>,
}

/// Latencies of connects in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Connect {
    p50: f64,
    p99: f64,
    /// Over the direct way in the same round.
    more_p50: Spread,
    more_p99: Spread,
}

impl Report {
    /// Compares every series with the direct way.
    pub(crate) fn new(all: &[Series]) -> Result<Self> {
        let rows = all.iter().map(|series| {
            let direct = find(all, series.workload, Way::Direct, None)?;
            Ok(row(series, direct))
        });
        Ok(Self { rows: rows.collect::<Result<_>>()?, goals: goals::check(all)? })
    }

    /// Writes a table for each workload, and one of the goals.
    pub(crate) fn tables(&self, out: &mut impl Write) -> Result<()> {
        for rows in self.rows.chunk_by(|a, b| a.workload == b.workload) {
            let mut table = table(&HEADER);
            for row in rows {
                table.add_row(cells(row));
            }
            align(&mut table);
            writeln!(out, "{}\n{table}\n", rows[0].workload.title())?;
        }
        let mut goals = table(&["goal", "wanted", "found", ""]);
        for goal in &self.goals {
            goals.add_row(goal.cells());
        }
        align(&mut goals);
        writeln!(out, "{goals}\n\n{EXPLANATION}")?;
        Ok(())
    }
}

/// The series of a workload and way, with so many Services; else the first.
pub(crate) fn find(
    all: &[Series],
    workload: Workload,
    way: Way,
    services: Option<u32>,
) -> Result<&Series> {
    let fits = |one: &&Series| {
        one.workload == workload
            && one.way == way
            && services.is_none_or(|services| services == one.services)
    };
    all.iter().find(fits).with_context(|| format!("{} was not measured", way.title()))
}

/// The latency of its connects; not a number where they were not timed.
pub(crate) fn latency(sample: &Sample) -> Latency {
    sample.connect.unwrap_or(Latency { p50: f64::NAN, p99: f64::NAN })
}

fn row(series: &Series, direct: &Series) -> Row {
    let more = |of: fn(Latency) -> f64| {
        series.against(direct, |own, base| of(latency(own)) - of(latency(base)))
    };
    let connect = (series.workload == Workload::Connections).then(|| Connect {
        p50: series.spread(|sample| latency(sample).p50).median,
        p99: series.spread(|sample| latency(sample).p99).median,
        more_p50: more(|of| of.p50),
        more_p99: more(|of| of.p99),
    });
    Row {
        workload: series.workload,
        way: series.way,
        services: series.services,
        rate: series.spread(|sample| sample.rate),
        ratio: series.against(direct, |own, base| own.rate / base.rate),
        connect,
    }
}

const HEADER: [&str; 9] =
    ["", "Services", "per second", "ratio", "quartiles", "p50 µs", "more", "p99 µs", "more"];

const EXPLANATION: &str = "\
ratio: to the direct way in the same round; median and quartiles over the rounds. p50, p99: of the
connect; more: than the direct way's in the same round. Client and server share one CPU. What
differs between the two direct ways is noise.";

fn cells(row: &Row) -> Vec<String> {
    let services = if row.services == 0 { String::new() } else { row.services.to_string() };
    let mut cells = vec![
        row.way.title().to_owned(),
        services,
        format!("{:.0}", row.rate.median),
        format!("{:.3}", row.ratio.median),
        format!("{:.3} to {:.3}", row.ratio.low, row.ratio.high),
    ];
    if let Some(connect) = row.connect {
        cells.extend([
            format!("{:.1}", connect.p50),
            format!("{:+.1}", connect.more_p50.median),
            format!("{:.1}", connect.p99),
            format!("{:+.1}", connect.more_p99.median),
        ]);
    }
    cells
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
