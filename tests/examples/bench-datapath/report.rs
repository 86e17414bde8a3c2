//! The result: a table for people, JSON for programs.

use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use lb_common::net::Family;
use serde::Serialize;

use crate::measure::Cost;
use crate::scenario::{GOALS_REFERENCE_NS, Scenario};

/// One measured scenario.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Row {
    /// The address family, `ipv4` or `ipv6`.
    family: &'static str,
    scenario: &'static str,
    /// Nanoseconds per packet of the program alone.
    ns: f64,
    /// Hits of an `LRU_HASH` of the same run in the time of one packet.
    ratio: f64,
    /// The most that `ratio` may be.
    goal: f64,
    met: bool,
    /// Whether a hit takes about as long as where the goals were set; else `met` says little.
    comparable: bool,
    /// The program alone over a hit alone.
    net_ratio: f64,
    /// Nanoseconds of one such hit, with the loop around it.
    reference_ns: f64,
    /// Nanoseconds of the wrapper that was subtracted, with the loop around it.
    wrapper_ns: f64,
    /// Nanoseconds of the loop around an empty program.
    loop_ns: f64,
    samples: usize,
    /// Samples left out, because the machine was slow meanwhile.
    discarded: usize,
}

impl Row {
    /// What `scenario` cost in `family`.
    pub(crate) fn new(family: Family, scenario: Scenario, cost: Cost) -> Self {
        Self {
            family: name(family),
            scenario: scenario.name,
            ns: cost.ns,
            ratio: cost.ratio,
            goal: scenario.goal,
            met: cost.ratio <= scenario.goal,
            comparable: GOALS_REFERENCE_NS.contains(&cost.reference_ns),
            net_ratio: cost.net_ratio,
            reference_ns: cost.reference_ns,
            wrapper_ns: cost.wrapper_ns,
            loop_ns: cost.loop_ns,
            samples: cost.samples,
            discarded: cost.discarded,
        }
    }
}

/// The name of `family` in the output.
pub(crate) fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// Writes `rows` as a table a family.
pub(crate) fn table(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    for family in rows.chunk_by(|a, b| a.family == b.family) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(HEADER);
        for row in family {
            table.add_row(cells(row));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(out, "{table}\n")?;
    }
    writeln!(out, "{EXPLANATION}")?;
    if rows.iter().any(|row| !row.comparable) {
        writeln!(
            out,
            "*: a hit does not take {} to {} ns here, as where the goals were set. Calls and memory\n\
             cost other multiples of it, so this verdict is not the design's.",
            GOALS_REFERENCE_NS.start(),
            GOALS_REFERENCE_NS.end()
        )?;
    }
    Ok(())
}

const HEADER: [&str; 9] =
    ["", "ns", "ratio", "goal", "", "net ratio", "hit ns", "loop ns", "left out"];

const EXPLANATION: &str = "\
ns: the program alone, wrapper and loop subtracted. ratio: time as measured over one LRU_HASH hit
as measured just before and after. net ratio: the program alone over that hit alone. hit, loop: as
measured. Medians; below 15 % nothing differs. What is masqueraded meets two hooks: their sum.";

fn cells(row: &Row) -> [String; 9] {
    let met = if row.met {
        "ok".to_owned()
    } else {
        format!("falls short by {:.1}", row.ratio - row.goal)
    };
    let mark = if row.comparable { "" } else { "*" };
    [
        format!("{}, {}", row.family, row.scenario),
        format!("{:.0}", row.ns),
        format!("{:.1}", row.ratio),
        format!("{:.0}", row.goal),
        format!("{met}{mark}"),
        format!("{:.1}", row.net_ratio),
        format!("{:.1}", row.reference_ns),
        format!("{:.1}", row.loop_ns),
        row.discarded.to_string(),
    ]
}

/// Writes `rows` as JSON.
pub(crate) fn json(out: &mut impl Write, rows: &[Row]) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, rows)?;
    writeln!(out)?;
    Ok(())
}
