//! The result as a picture: for each workload, the ratio to the direct way over the number of
//! Services, one line for each way.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::load::Workload;
use crate::report::{Report, Row};
use crate::rig::Way;

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The ways whose cost may depend on the number of Services.
const LINES: [(Way, RGBColor); 3] = [
    (Way::Socket, RGBColor(0, 114, 178)),
    (Way::Tc, RGBColor(0, 158, 115)),
    (Way::Nftables, RGBColor(213, 94, 0)),
];

/// Draws `report` into `file`.
pub(crate) fn draw(report: &Report, file: &Path) -> Result<()> {
    let root = SVGBackend::new(file, (1200, 840)).into_drawing_area();
    root.fill(&WHITE)?;
    for (panel, workload) in root.split_evenly((2, 2)).iter().zip(Workload::ALL) {
        let rows: Vec<_> = report.rows.iter().filter(|row| row.workload == workload).collect();
        draw_panel(panel, workload, &rows)?;
    }
    root.present().with_context(|| format!("write {}", file.display()))
}

fn draw_panel(panel: &Panel<'_>, workload: Workload, rows: &[&Row]) -> Result<()> {
    let sizes: Vec<u32> =
        rows.iter().filter(|row| row.way == Way::Tc).map(|row| row.services).collect();
    let lowest = rows.iter().map(|row| row.ratio.low).fold(0.9, f64::min);
    let places = -0.2..f64::from(u32::try_from(sizes.len())?) - 0.8;
    let mut chart = ChartBuilder::on(panel)
        .margin(12)
        .caption(workload.title(), ("sans-serif", 20))
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(places, (lowest - 0.02)..1.05)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(1)
        .x_labels(0)
        .x_desc("Services")
        .y_desc("ratio to direct")
        .draw()?;
    let axis = lowest - 0.02;
    for (at, size) in (0..).zip(&sizes) {
        let style = ("sans-serif", 14).into_font().into_text_style(panel);
        chart.draw_series([Text::new(size.to_string(), (f64::from(at), axis + 0.01), style)])?;
    }
    for (way, colour) in LINES {
        let ratios = rows.iter().filter(|row| row.way == way).map(|row| row.ratio.median);
        let points: Vec<_> = (0..).map(f64::from).zip(ratios).collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(4))?
            .label(way.title())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}
