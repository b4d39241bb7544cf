//! Plots over the time of a run, as SVG. They have no legends: the page has them.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The colour of success.
pub(super) const GOOD: RGBColor = RGBColor(0, 158, 115);
/// The colour of failure.
pub(super) const BAD: RGBColor = RGBColor(213, 58, 40);
/// The colour of what is neither.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
/// The colour of absence, of axes and of text.
pub(super) const GREY: RGBColor = RGBColor(150, 150, 150);
/// The colour between success and failure.
const AMBER: RGBColor = RGBColor(230, 159, 0);

/// Colours that can be told apart with any form of colour vision (Okabe and Ito 2008), on white and
/// on black.
const PALETTE: [RGBColor; 6] = [
    BLUE,
    AMBER,
    GOOD,
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// The width and the height of a plot, in pixels; the page scales it.
const SIZE: (u32, u32) = (540, 230);
/// The height of text, in pixels.
const FONT: u32 = 13;
/// The height of the time axis, in pixels.
const BOTTOM: u32 = 38;
/// The ratio of the greatest to the least latency above which their axis is logarithmic.
const LOGARITHMIC_RATIO: f64 = 30.0;
/// The height of a lane, in pixels.
const LANE: u32 = 26;
/// The width of the vertical axis, in pixels: the same in all plots, so that their time axes are
/// aligned.
const LEFT: u32 = 58;

/// The colour of a line by its number, so that neighbours are told apart.
pub(super) fn color(number: usize) -> RGBColor {
    match PALETTE.get(number) {
        Some(color) => *color,
        // Steps of the golden angle: neighbours differ most.
        None => {
            let (r, g, b) = HSLColor((number as f64 * 0.381_966).fract(), 0.55, 0.5).rgb();
            RGBColor(r, g, b)
        }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Solid,
    Dashed,
    /// The area that the line encloses is filled.
    Filled,
}

/// A line: values over time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The name in the legend.
    pub name: String,
    color: RGBColor,
    kind: Kind,
    /// The time in seconds, and the value, of each point.
    points: Vec<(f64, f64)>,
}

impl Line {
    /// A solid line.
    pub(super) fn new(name: &str, color: RGBColor, points: Vec<(f64, f64)>) -> Line {
        Line {
            name: name.to_owned(),
            color,
            kind: Kind::Solid,
            points,
        }
    }

    /// The same line, dashed.
    pub(super) fn dashed(self) -> Line {
        Line {
            kind: Kind::Dashed,
            ..self
        }
    }

    /// Whether the line is 0 everywhere.
    pub(super) fn is_flat(&self) -> bool {
        self.points.iter().all(|(_, value)| *value == 0.0)
    }

    /// The line's colour in CSS.
    pub(super) fn css(&self) -> String {
        let RGBColor(r, g, b) = self.color;
        format!("rgb({r},{g},{b})")
    }
}

/// What the vertical axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Numbers of requests.
    Count,
    /// Numbers per second.
    PerSecond,
    /// Latencies in seconds; logarithmic if they differ much.
    Time,
}

/// The mark of a fault in a plot.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// The fault's number, which is shown in the plot.
    pub number: usize,
    /// When the fault begins, in seconds.
    pub from: f64,
    /// When the fault ends, in seconds. None: with the run, or it is over at once.
    pub until: Option<f64>,
    /// The fault for reports.
    pub label: String,
}

/// How a target answers the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// It gets no requests.
    Idle,
    /// It answers all requests.
    Good,
    /// Less than half of the requests fail.
    Failing,
    /// At least half of the requests fail.
    Bad,
}

impl LaneState {
    fn color(self) -> RGBColor {
        match self {
            LaneState::Idle => GREY,
            LaneState::Good => GOOD,
            LaneState::Failing => AMBER,
            LaneState::Bad => BAD,
        }
    }
}

/// The states of one target over time.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// The target's name.
    pub name: String,
    /// The begin and the end of each state, in seconds.
    pub states: Vec<(f64, f64, LaneState)>,
}

/// The legend of lanes.
pub(super) fn health_keys() -> Vec<Line> {
    let keys = [
        ("answers", LaneState::Good),
        ("fails now and then", LaneState::Failing),
        ("fails half of the time or more", LaneState::Bad),
        ("gets no requests", LaneState::Idle),
    ];
    keys.map(|(name, state)| Line::new(name, state.color(), Vec::new()))
        .to_vec()
}

/// The time axis and the marks, which all plots of a run share.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// How long the run takes, in seconds.
    pub seconds: f64,
    /// The faults.
    pub marks: &'a [Mark],
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// The result of drawing, which into a string does not fail.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Frame<'_> {
    /// A plot of lines.
    pub(super) fn lines(&self, lines: &[Line], scale: Scale) -> String {
        let values = || {
            lines
                .iter()
                .flat_map(|line| line.points.iter().map(|(_, value)| *value))
        };
        let most = values().fold(0.0, f64::max);
        drawn(SIZE, |area| match scale {
            Scale::Time => {
                let least = values()
                    .filter(|value| *value > 0.0)
                    .fold(f64::INFINITY, f64::min);
                let (least, most) = if least.is_finite() {
                    (least, most)
                } else {
                    (0.001, 1.0)
                };
                let (bottom, top) = (least * 0.7, most * 1.5);
                let axis = Axis {
                    bottom,
                    top,
                    unit: "",
                    shown: &time,
                };
                match most / least > LOGARITHMIC_RATIO {
                    true => self.chart(area, (bottom..top).log_scale(), &axis, lines),
                    false => self.chart(
                        area,
                        0.0..above(most),
                        &Axis {
                            bottom: 0.0,
                            top: above(most),
                            ..axis
                        },
                        lines,
                    ),
                }
            }
            Scale::Count | Scale::PerSecond => {
                let unit = if scale == Scale::Count {
                    "requests"
                } else {
                    "per second"
                };
                let axis = Axis {
                    bottom: 0.0,
                    top: above(most),
                    unit,
                    shown: &count,
                };
                self.chart(area, 0.0..axis.top, &axis, lines)
            }
        })
    }

    /// A plot of lines that are stacked, with their areas filled.
    pub(super) fn stack(&self, lines: &[Line], unit: &str) -> String {
        let mut below = vec![0.0; lines.first().map_or(0, |line| line.points.len())];
        let stacked: Vec<Line> = lines
            .iter()
            .map(|line| {
                let top = line
                    .points
                    .iter()
                    .zip(&mut below)
                    .map(|((at, value), below)| {
                        let from = *below;
                        *below += value;
                        [(*at, from), (*at, *below)]
                    });
                let edges: Vec<_> = top.collect();
                let points = edges
                    .iter()
                    .map(|edge| edge[0])
                    .chain(edges.iter().rev().map(|edge| edge[1]));
                Line {
                    kind: Kind::Filled,
                    ..Line::new(&line.name, line.color, points.collect())
                }
            })
            .collect();
        let most = below.into_iter().fold(0.0, f64::max);
        let top = if unit == "%" { 100.0 } else { above(most) };
        let axis = Axis {
            bottom: 0.0,
            top,
            unit,
            shown: &count,
        };
        drawn(SIZE, |area| self.chart(area, 0.0..top, &axis, &stacked))
    }

    /// A plot with a lane for each target.
    pub(super) fn lanes(&self, lanes: &[Lane]) -> String {
        // The axis runs upwards, and the first lane is the topmost.
        let lanes: Vec<&Lane> = lanes.iter().rev().collect();
        let count = lanes.len();
        let size = (SIZE.0 * 2, LANE * count as u32 + BOTTOM + 18);
        let left = lanes
            .iter()
            .map(|lane| lane.name.chars().count())
            .max()
            .unwrap_or(0) as u32
            * 8
            + 16;
        drawn(size, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_right(8)
                .margin_top(18)
                .x_label_area_size(BOTTOM)
                .y_label_area_size(left.max(LEFT))
                .build_cartesian_2d(0.0..self.seconds, (0..count).into_segmented())?;
            let name = |at: &SegmentValue<usize>| match at {
                SegmentValue::CenterOf(place) => lanes
                    .get(*place)
                    .map_or(String::new(), |lane| lane.name.clone()),
                _ => String::new(),
            };
            chart
                .configure_mesh()
                .disable_mesh()
                .axis_style(GREY.mix(0.5))
                .x_desc("time, s")
                .x_label_formatter(&|at| format!("{at}"))
                .label_style(small())
                .axis_desc_style(small())
                .y_labels(count.max(1) + 1)
                .y_label_formatter(&name)
                .draw()?;
            for (place, lane) in lanes.iter().enumerate() {
                for (from, until, state) in joined(&lane.states) {
                    let corners = [
                        (from, SegmentValue::Exact(place)),
                        (until, SegmentValue::Exact(place + 1)),
                    ];
                    let mut block = Rectangle::new(
                        corners,
                        state
                            .color()
                            .mix(if state == LaneState::Idle { 0.35 } else { 0.85 })
                            .filled(),
                    );
                    block.set_margin(3, 3, 0, 0);
                    chart.draw_series([block])?;
                }
            }
            let tops = (SegmentValue::Exact(0), SegmentValue::Exact(count));
            for mark in self.marks {
                for at in std::iter::once(mark.from).chain(mark.until) {
                    let line = [(at, tops.0.clone()), (at, tops.1.clone())];
                    chart.draw_series([PathElement::new(line, GREY.mix(0.9))])?;
                }
                let label = Text::new(
                    mark.number.to_string(),
                    (mark.from, tops.1.clone()),
                    number(),
                );
                chart.draw_series([label])?;
            }
            Ok(())
        })
    }

    /// A chart whose vertical axis runs over `range`, from `bottom` to `top`.
    fn chart<Y>(&self, area: &Area<'_>, range: Y, axis: &Axis<'_>, lines: &[Line]) -> Drawn
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin_right(8)
            .margin_top(18)
            .x_label_area_size(BOTTOM)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(0.0..self.seconds, range)?;
        let (bottom, top) = (axis.bottom, axis.top);
        for mark in self.marks {
            let until = mark.until.unwrap_or(mark.from);
            chart.draw_series([Rectangle::new(
                [(mark.from, bottom), (until, top)],
                GREY.mix(0.15).filled(),
            )])?;
            for at in [mark.from, until] {
                chart.draw_series([PathElement::new([(at, bottom), (at, top)], GREY.mix(0.7))])?;
            }
        }
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.25))
            .axis_style(GREY.mix(0.5))
            .x_labels(8)
            .y_labels(6)
            .x_desc("time, s")
            .y_desc(axis.unit)
            .x_label_formatter(&|at| format!("{at}"))
            .y_label_formatter(axis.shown)
            .label_style(small())
            .axis_desc_style(small())
            .draw()?;
        for line in lines {
            let points = line.points.iter().copied();
            match line.kind {
                Kind::Solid => {
                    chart.draw_series(LineSeries::new(points, line.color.stroke_width(2)))?
                }
                Kind::Dashed => chart.draw_series(DashedLineSeries::new(
                    points,
                    4,
                    3,
                    line.color.stroke_width(1),
                ))?,
                Kind::Filled => chart.draw_series([Polygon::new(
                    points.collect::<Vec<_>>(),
                    line.color.mix(0.8),
                )])?,
            };
        }
        for mark in self.marks {
            chart.draw_series([Text::new(
                mark.number.to_string(),
                (mark.from, top),
                number(),
            )])?;
        }
        Ok(())
    }
}

/// The vertical axis.
struct Axis<'a> {
    bottom: f64,
    top: f64,
    unit: &'a str,
    shown: &'a dyn Fn(&f64) -> String,
}

fn drawn((width, height): (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        draw(&area).expect("drawing into a string");
    }
    svg
}

fn small() -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&GREY)
}

/// The number of a fault stands above its beginning.
fn number() -> TextStyle<'static> {
    small().pos(Pos::new(HPos::Center, VPos::Bottom))
}

/// The end of an axis: a little above the highest value, which then does not touch the edge.
fn above(most: f64) -> f64 {
    if most > 0.0 { most * 1.08 } else { 1.0 }
}

fn count(value: &f64) -> String {
    match *value {
        value if value >= 10_000.0 => format!("{:.0} k", value / 1000.0),
        value if value.fract() == 0.0 => format!("{value}"),
        value => format!("{value:.1}"),
    }
}

fn time(value: &f64) -> String {
    match *value {
        value if value >= 1.0 => format!("{value:.0} s"),
        0.0 => "0".to_owned(),
        value if value >= 0.001 => format!("{:.0} ms", value * 1e3),
        value => format!("{:.0} µs", value * 1e6),
    }
}

/// Merges neighbours of the same state.
fn joined(states: &[(f64, f64, LaneState)]) -> Vec<(f64, f64, LaneState)> {
    let mut joined: Vec<(f64, f64, LaneState)> = Vec::new();
    for (from, until, state) in states.iter().copied() {
        match joined.last_mut() {
            Some(last) if last.2 == state => last.1 = until,
            _ => joined.push((from, until, state)),
        }
    }
    joined
}
