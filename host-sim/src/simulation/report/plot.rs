//! Plots over the time of a run, as SVG. They have no legends: the page has them.

use super::mark::{CHARACTER, Mark, Marks};
use crate::share;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The colour of success.
pub(super) const GOOD: RGBColor = RGBColor(0, 150, 109);
/// The colour of failure.
pub(super) const BAD: RGBColor = RGBColor(213, 58, 40);
/// The colour of what is neither.
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
/// The colour of absence and of all others, of axes and of text.
pub(super) const GREY: RGBColor = RGBColor(128, 128, 128);
/// The colour between success and failure.
const AMBER: RGBColor = RGBColor(184, 124, 0);

/// Colours that can be told apart with any form of colour vision (after Okabe and Ito 2008), each
/// with a contrast of 3 or more on white and on black, as WCAG asks of graphics.
const PALETTE: [RGBColor; MAX_LINES] = [
    BLUE,
    AMBER,
    GOOD,
    RGBColor(190, 95, 150),
    RGBColor(40, 145, 205),
    RGBColor(213, 94, 0),
    RGBColor(118, 96, 200),
];

/// The most lines of a plot that can be told apart: as many as there are colours.
pub(super) const MAX_LINES: usize = 7;
/// The width of a plot; the page scales it.
pub(super) const WIDTH: u32 = 460;
/// The height of what is inside the axes of a plot of lines.
const HEIGHT: u32 = 170;
/// What plotters calls the size of text: 1.24 times its height in CSS.
const FONT: u32 = 15;
/// The height of the time axis.
const BOTTOM: u32 = 40;
/// What is above a plot without marks: half of a label of the vertical axis.
const TOP: u32 = 8;
/// What is right of a plot: half of a label of the time axis.
const RIGHT: u32 = 10;
/// The height of a line of text above a plot.
const ROW: u32 = 15;
/// The height of a lane.
const LANE: u32 = 24;
/// The width of the vertical axis: the same in all plots of lines, whose times are then above one
/// another.
const LEFT: u32 = 62;
/// The most characters of a target's name beside its lane.
const MAX_NAME: usize = 24;
/// The ratio of the greatest to the least latency above which their axis is logarithmic.
const LOGARITHMIC_RATIO: f64 = 30.0;

/// The colour of a line by its number.
pub(super) fn color(number: usize) -> RGBColor {
    PALETTE[number % PALETTE.len()]
}

/// A colour in CSS.
pub(super) fn css(RGBColor(r, g, b): RGBColor) -> String {
    format!("rgb({r},{g},{b})")
}

/// A line: values over the times of its plot.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The name in the legend.
    pub name: String,
    /// The colour.
    pub color: RGBColor,
    /// Whether it is dashed, and left out of the legend.
    pub dashed: bool,
    /// The value at each time. None: there is none, and a gap in the line.
    pub values: Vec<Option<f64>>,
}

impl Line {
    /// The same line, dashed.
    pub(super) fn dashed(self) -> Line {
        Line {
            dashed: true,
            ..self
        }
    }

    /// The same line with its values divided.
    pub(super) fn divided_by(mut self, by: usize) -> Line {
        let values = self.values.iter_mut().flatten();
        values.for_each(|value| *value /= by as f64);
        self
    }

    /// Whether the line is 0 everywhere.
    pub(super) fn is_flat(&self) -> bool {
        self.values.iter().flatten().all(|value| *value == 0.0)
    }

    /// The greatest value; 0 if there is none.
    pub(super) fn most(&self) -> f64 {
        self.values.iter().flatten().copied().fold(0.0, f64::max)
    }
}

/// What the vertical axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Numbers of requests.
    Count,
    /// Numbers per second.
    PerSecond,
    /// From 0 to 100.
    Percent,
    /// Some percent of 100.
    PercentOfAll,
    /// Latencies in seconds; logarithmic if they differ much.
    Time,
}

impl Scale {
    /// A value with its unit.
    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Scale::Count => count(&value),
            Scale::PerSecond => format!("{}/s", count(&value)),
            Scale::Percent | Scale::PercentOfAll => share::percent(value / 100.0, 1),
            Scale::Time => match value {
                value if value >= 10.0 => format!("{value:.1} s"),
                value if value >= 1.0 => format!("{value:.2} s"),
                value if value >= 0.1 => format!("{:.0} ms", value * 1e3),
                value if value >= 0.000_1 => format!("{:.1} ms", value * 1e3),
                value => format!("{:.0} µs", value * 1e6),
            },
        }
    }
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
    /// Every state.
    pub(super) const ALL: [LaneState; 4] = [
        LaneState::Good,
        LaneState::Failing,
        LaneState::Bad,
        LaneState::Idle,
    ];

    /// The state in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            LaneState::Good => "answers",
            LaneState::Failing => "fails now and then",
            LaneState::Bad => "fails half of the time or more",
            LaneState::Idle => "gets no requests",
        }
    }

    /// The state's colour.
    pub(super) fn color(self) -> RGBColor {
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

/// A plot that is drawn.
pub(super) struct Drawing {
    /// The SVG.
    pub svg: String,
    /// Where the time axis begins and ends, from 0 to 1 of the drawing's width.
    pub axis: (f64, f64),
}

impl Drawing {
    fn new(left: u32, height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> Drawing {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            draw(&area).expect("drawing into a string");
        }
        let part = |at: u32| f64::from(at) / f64::from(WIDTH);
        Drawing {
            svg,
            axis: (part(left), part(WIDTH - RIGHT)),
        }
    }
}

/// The time axis and the marks, which all plots of a run share.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// How long the run takes, in seconds.
    pub seconds: f64,
    /// What happens.
    pub marks: &'a Marks,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// The result of drawing, which into a string does not fail.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Frame<'_> {
    /// A plot of lines over these times, in seconds.
    pub(super) fn lines(&self, at: &[f64], lines: &[Line], scale: Scale) -> Drawing {
        let most = lines.iter().map(Line::most).fold(0.0, f64::max);
        let height = TOP + self.above(LEFT) + HEIGHT + BOTTOM;
        Drawing::new(LEFT, height, |area| {
            let axis = Axis::of(scale, most);
            if scale != Scale::Time {
                return self.chart(area, 0.0..axis.top, &axis, at, lines);
            }
            let values = lines.iter().flat_map(|line| &line.values).flatten();
            let least = values.copied().filter(|value| *value > 0.0);
            let least = least.fold(f64::INFINITY, f64::min);
            if !(least.is_finite() && most / least > LOGARITHMIC_RATIO) {
                return self.chart(area, 0.0..axis.top, &axis, at, lines);
            }
            let (bottom, top) = (least * 0.7, most * 1.5);
            let axis = Axis {
                bottom,
                top,
                unit: "log scale",
                ..axis
            };
            self.chart(area, (bottom..top).log_scale(), &axis, at, lines)
        })
    }

    /// A plot of lines that are stacked, with their areas filled. Where one has no value, none has.
    pub(super) fn stack(&self, at: &[f64], lines: &[Line], scale: Scale) -> Drawing {
        let sum = |place: usize, lines: &[Line]| -> Option<f64> {
            lines.iter().map(|line| line.values[place]).sum()
        };
        let sums = (0..at.len()).filter_map(|place| sum(place, lines));
        let axis = Axis::of(scale, sums.fold(0.0, f64::max));
        let height = TOP + self.above(LEFT) + HEIGHT + BOTTOM;
        Drawing::new(LEFT, height, |area| {
            let mut chart = self.chart_without_lines(area, 0.0..axis.top, &axis)?;
            for number in 0..lines.len() {
                let below = |place| sum(place, &lines[..number]);
                let above = |place| sum(place, &lines[..=number]);
                for run in runs(&lines[number].values) {
                    let there = run
                        .clone()
                        .filter_map(|place| Some((at[place], above(place)?)));
                    let back = run
                        .rev()
                        .filter_map(|place| Some((at[place], below(place)?)));
                    let area: Vec<_> = there.chain(back).collect();
                    chart.draw_series([Polygon::new(area, lines[number].color.mix(0.85))])?;
                }
            }
            Ok(())
        })
    }

    /// A plot with a lane for each target.
    pub(super) fn lanes(&self, lanes: &[Lane]) -> Drawing {
        // The axis runs upwards, and the first lane is the topmost.
        let lanes: Vec<&Lane> = lanes.iter().rev().collect();
        let count = lanes.len();
        let names: Vec<String> = lanes.iter().map(|lane| short(&lane.name)).collect();
        let longest = names.iter().map(|name| name.chars().count()).max();
        let left = longest.unwrap_or(0) as f64 * CHARACTER + 16.0;
        let left = (left as u32).max(LEFT);
        let height = TOP + self.above(left) + LANE * count as u32 + BOTTOM;
        Drawing::new(left, height, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_right(RIGHT)
                .margin_top(TOP + self.above(left))
                .x_label_area_size(BOTTOM)
                .y_label_area_size(left)
                .build_cartesian_2d(0.0..self.seconds, 0.0..count as f64)?;
            chart
                .configure_mesh()
                .disable_mesh()
                .axis_style(GREY.mix(0.5))
                .x_labels(7)
                .x_desc("time, s")
                .x_label_formatter(&|at| format!("{at}"))
                .label_style(small())
                .axis_desc_style(small())
                .y_labels(0)
                .draw()?;
            let beside = small().pos(Pos::new(HPos::Right, VPos::Center));
            for (place, lane) in lanes.iter().enumerate() {
                let (_, middle) = chart.backend_coord(&(0.0, place as f64 + 0.5));
                let at = (left as i32 - 6, middle);
                area.draw(&Text::new(names[place].as_str(), at, beside.clone()))?;
                for (from, until, state) in joined(&lane.states) {
                    let corners = [(from, place as f64), (until, place as f64 + 1.0)];
                    let opacity = if state == LaneState::Idle { 0.3 } else { 0.9 };
                    let mut block = Rectangle::new(corners, state.color().mix(opacity).filled());
                    block.set_margin(3, 3, 0, 0);
                    chart.draw_series([block])?;
                }
            }
            for mark in self.marks.all() {
                for at in std::iter::once(mark.from).chain(mark.until) {
                    let line = [(at, 0.0), (at, count as f64)];
                    chart.draw_series([PathElement::new(line, GREY.mix(0.9))])?;
                }
            }
            self.labels(area, left)
        })
    }

    /// How high the words above a plot are.
    fn above(&self, left: u32) -> u32 {
        self.marks.placed(self.seconds, left, WIDTH - RIGHT).rows as u32 * ROW
    }

    fn chart<Y>(&self, area: &Area<'_>, range: Y, axis: &Axis, at: &[f64], lines: &[Line]) -> Drawn
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
        let mut chart = self.chart_without_lines(area, range, axis)?;
        for line in lines {
            for run in runs(&line.values) {
                let points = run.filter_map(|place| Some((at[place], line.values[place]?)));
                let points: Vec<_> = points.collect();
                if let ([point], false) = (&points[..], line.dashed) {
                    chart.draw_series([Circle::new(*point, 1.5, line.color.filled())])?;
                } else if line.dashed {
                    let style = line.color.stroke_width(1);
                    chart.draw_series(DashedLineSeries::new(points, 4, 3, style))?;
                } else {
                    chart.draw_series(LineSeries::new(points, line.color.stroke_width(2)))?;
                }
            }
        }
        Ok(())
    }

    /// A chart whose vertical axis runs over `range`, with the marks and what they say.
    fn chart_without_lines<'a, Y>(
        &self,
        area: &Area<'a>,
        range: Y,
        axis: &Axis,
    ) -> Result<Chart<'a, Y::CoordDescType>, DrawingAreaErrorKind<std::io::Error>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin_right(RIGHT)
            .margin_top(TOP + self.above(LEFT))
            .x_label_area_size(BOTTOM)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(0.0..self.seconds, range)?;
        let (bottom, top) = (axis.bottom, axis.top);
        for Mark {
            from,
            until,
            planned,
            ..
        } in self.marks.all()
        {
            let until = until.unwrap_or(*from);
            let color = if *planned { BLUE } else { GREY };
            let corners = [(*from, bottom), (until, top)];
            chart.draw_series([Rectangle::new(corners, color.mix(0.15).filled())])?;
            for at in [*from, until] {
                chart.draw_series([PathElement::new([(at, bottom), (at, top)], color.mix(0.7))])?;
            }
        }
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.25))
            .axis_style(GREY.mix(0.5))
            .x_labels(7)
            .y_labels(5)
            .x_desc("time, s")
            .y_desc(axis.unit)
            .x_label_formatter(&|at| format!("{at}"))
            .y_label_formatter(&axis.shown)
            .label_style(small())
            .axis_desc_style(small())
            .draw()?;
        self.labels(area, LEFT)?;
        Ok(chart)
    }

    /// Writes what the marks say above a plot that begins at `left`.
    fn labels(&self, area: &Area<'_>, left: u32) -> Drawn {
        let placed = self.marks.placed(self.seconds, left, WIDTH - RIGHT);
        let foot = (TOP + placed.rows as u32 * ROW) as i32;
        for label in &placed.labels {
            let top = (label.row as u32 * ROW + 3) as i32;
            let stem = [(label.mark, top + 11), (label.mark, foot)];
            area.draw(&PathElement::new(stem, GREY.mix(0.7)))?;
            area.draw(&Text::new(label.text.as_str(), (label.left, top), small()))?;
        }
        Ok(())
    }
}

type Chart<'a, Y> =
    ChartContext<'a, SVGBackend<'a>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>;

/// The vertical axis.
struct Axis {
    bottom: f64,
    top: f64,
    unit: &'static str,
    shown: fn(&f64) -> String,
}

impl Axis {
    /// A linear axis from 0 on, which ends a little above the highest value.
    fn of(scale: Scale, most: f64) -> Axis {
        let top = match scale {
            Scale::Percent => 100.0,
            _ if most > 0.0 => most * 1.08,
            _ => 1.0,
        };
        let (unit, shown): (_, fn(&f64) -> String) = match scale {
            Scale::Count => ("requests", count),
            Scale::PerSecond => ("per second", count),
            Scale::Percent | Scale::PercentOfAll => ("%", count),
            Scale::Time => ("", time),
        };
        Axis {
            bottom: 0.0,
            top,
            unit,
            shown,
        }
    }
}

fn small() -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&GREY)
}

/// A name that fits beside a lane: the ends of names say more than their beginnings do.
fn short(name: &str) -> String {
    let length = name.chars().count();
    if length <= MAX_NAME {
        return name.to_owned();
    }
    let end = name.chars().skip(length - (MAX_NAME - 1));
    std::iter::once('…').chain(end).collect()
}

fn count(value: &f64) -> String {
    match *value {
        value if value >= 10_000.0 => format!("{:.0} k", value / 1000.0),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value => share::per_second(value),
    }
}

fn time(value: &f64) -> String {
    match *value {
        value if value >= 1.0 => format!("{value} s"),
        0.0 => "0".to_owned(),
        value if value >= 0.001 => format!("{:.0} ms", value * 1e3),
        value => format!("{:.0} µs", value * 1e6),
    }
}

/// The places of values that have no gap between them.
fn runs(values: &[Option<f64>]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for place in (0..values.len()).filter(|place| values[*place].is_some()) {
        match runs.last_mut() {
            Some(last) if last.end == place => last.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
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
