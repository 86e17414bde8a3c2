//! The result as a table.

use std::io::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::run::Row;

const HEADER: [&str; 9] = [
    "Services",
    "endpoints",
    "cold s",
    "warm s",
    "own MiB",
    "RSS MiB",
    "peak MiB",
    "later MiB",
    "look ms",
];

const EXPLANATION: &str = "\
cold, warm: from the start of the agent until everything is in the maps, first without maps, then with
maps that are filled; the API server of the lab works in that time too. own: memory of the process
after the first start; RSS: with the maps that it has mapped, which are the kernel's; peak: the most
there ever was; later: own memory after the second start and some looks. look: CPU time of one
comparison of everything in the kernel with what should be there, every three minutes by default.";

/// Writes it.
pub(crate) fn write(rows: &[Row], out: &mut impl Write) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for row in rows {
        table.add_row(cells(row));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(writeln!(out, "{}\n\n{EXPLANATION}", table.trim_fmt())?)
}

fn cells(row: &Row) -> [String; 9] {
    [
        row.size.services.to_string(),
        row.size.endpoints.to_string(),
        format!("{:.2}", row.cold.as_secs_f64()),
        format!("{:.2}", row.warm.as_secs_f64()),
        format!("{:.1}", row.memory.own),
        format!("{:.1}", row.memory.resident),
        format!("{:.1}", row.memory.peak),
        format!("{:.1}", row.later.own),
        format!("{:.1}", 1000.0 * row.look.as_secs_f64()),
    ]
}
