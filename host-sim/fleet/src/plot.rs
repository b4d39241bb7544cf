//! The plot over numbers of proxies, as SVG: what was admitted, and how often the engine was asked.

use crate::{ByNumber, Outcome};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;

/// Width and height in pixels, of both plots together.
const SIZE: (u32, u32) = (760, 460);
const FONT: u32 = 14;
const GREY: RGBColor = RGBColor(120, 120, 120);
/// Colours that can be told apart with any form of colour vision (Okabe and Ito 2008).
const PALETTE: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// Draws what was played. Error: the library's.
pub fn svg(played: &ByNumber) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, below) = root.split_vertically(SIZE.1 / 2);
        let admitted = |outcome: &Outcome| outcome.admitted * 100.0;
        let title = "admitted, % of the limit";
        let legend = SeriesLabelPosition::LowerLeft;
        panel(&above, played, title, 60.0..102.0, legend, &admitted)?;
        let calls = |outcome: &Outcome| outcome.calls_per_interval;
        let title = "calls of the engine, for each proxy in 100 ms";
        let legend = SeriesLabelPosition::UpperRight;
        panel(&below, played, title, 0.0..2.5, legend, &calls)?;
        root.present()?;
    }
    Ok(text)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    played: &ByNumber,
    title: &str,
    range: std::ops::Range<f64>,
    legend: SeriesLabelPosition,
    value: &dyn Fn(&Outcome) -> f64,
) -> Result<(), Box<dyn Error>> {
    let font = ("sans-serif", FONT).into_font();
    let last = played.numbers.last().copied().unwrap_or(1) as f64;
    let (bottom, top) = (range.start, range.end);
    let mut chart = ChartBuilder::on(area)
        .caption(title, font.clone())
        .margin_right(16)
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d((1.0..last).log_scale(), range)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(GREY)
        .x_desc("proxies")
        .x_labels(4)
        .x_label_formatter(&|number| format!("{number:.0}"))
        .y_labels(6)
        .label_style(font.clone())
        .draw()?;
    for ((name, outcomes), color) in played.lines.iter().zip(PALETTE) {
        let points = played.numbers.iter().zip(outcomes);
        let points = points.map(|(number, outcome)| {
            let value = value(outcome).clamp(bottom, top);
            (*number as f64, value)
        });
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .label_font(font)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}
