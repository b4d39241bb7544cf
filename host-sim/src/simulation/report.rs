//! The report of a run: an HTML page with tables, and with plots that share one time axis. The page
//! refers to no other file, so that it can be mailed.

mod plot;

use super::expectation::Verdict;
use super::measure::percentile;
use super::record::{RequestRecord, Run, Sample, TargetSample};
use super::scenario::{Scenario, Traffic};
use super::summary::{self, Row};
use plot::{Frame, Line, Mark, Scale};
use plotters::style::RGBColor;
use pointsman_core::time::Nanos;
use std::fmt::Write;

/// How many points a line has that is computed from records.
const BUCKETS: usize = 120;

/// How many samples a point of a line is the mean of: a single one fluctuates too much to be read.
const SAMPLES_PER_POINT: usize = 3;

/// The most lines of a plot that has one for each target: more cannot be told apart. The targets
/// with the most requests are shown.
const MAX_LINES: usize = 24;

const STYLE: &str = "\
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 60%, transparent); --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 0 }
p, figcaption { color: var(--soft); margin: .2rem 0 }
figure { margin: 1.6rem 0 } svg { width: 100%; height: auto; display: block } svg text { fill: currentColor }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child, .text td, .text th { text-align: left } th { font-weight: 600; color: var(--soft) }
.key { margin-right: 1rem; white-space: nowrap } .key::before { content: ''; display: inline-block; width: .8em; height: .8em; margin-right: .35em; border-radius: 2px; background: var(--c) }
.good { color: #1a8a5a } .bad { color: #d1432f; font-weight: 600 }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 0 2rem }
";

/// The page as HTML.
pub fn html(scenario: &Scenario, run: &Run, verdicts: &[Verdict]) -> String {
    let marks = marks(scenario);
    let frame = Frame {
        seconds: scenario.duration.as_secs_f64(),
        marks: &marks,
    };
    let buckets = Buckets::of(scenario, run);
    let mut page = Page::default();
    page.head(scenario, run, verdicts);
    page.table("traffic", &summary::by_traffic(scenario, run));
    page.table("target", &summary::by_target(scenario, run));
    page.faults(&marks);
    page.text.push_str("<div class=two>");

    let [answered, refused, errors, left] = [
        "answered",
        "refused by a limit",
        "errors",
        "left without an answer",
    ];
    let outcomes = [
        (
            answered,
            plot::GOOD,
            RequestRecord::is_answered as fn(&RequestRecord) -> bool,
        ),
        (refused, plot::BLUE, RequestRecord::is_refused),
        (errors, plot::BAD, RequestRecord::is_error),
        (left, plot::GREY, RequestRecord::is_abandoned),
    ];
    let lines = outcomes.map(|(name, color, is)| buckets.rate(name, color, is));
    page.plot(
        "Requests",
        "by outcome",
        &frame.stack(&lines, "per second"),
        &lines,
    );

    let targets = busiest(scenario, run);
    let share = |(color, &target): (usize, &usize)| {
        let is = |record: &RequestRecord| record.target == Some(target as u16);
        let any = |record: &RequestRecord| record.target.is_some();
        buckets.percent(&scenario.targets[target].name, plot::color(color), is, any)
    };
    let lines: Vec<_> = targets.iter().enumerate().map(share).collect();
    page.plot(
        "Share",
        "of the requests, by the target that was asked last",
        &frame.stack(&lines, "%"),
        &lines,
    );

    let lines = [
        ("median", 500, plot::color(0)),
        ("p90", 900, plot::color(1)),
        ("p99", 990, plot::BAD),
    ];
    let lines = lines.map(|(name, part, color)| buckets.latency(name, part, color));
    page.plot(
        "Latency",
        "as clients see it, refusals left out",
        &frame.lines(&lines, Scale::Time),
        &lines,
    );

    let truth = |(color, &target): (usize, &usize)| {
        sampled(
            run,
            &scenario.targets[target].name,
            plot::color(color),
            |sample| sample[target].in_flight,
        )
    };
    let mut lines: Vec<_> = targets.iter().enumerate().map(truth).collect();
    let counts = run
        .samples
        .iter()
        .flat_map(|sample| &sample.targets)
        .any(|target| target.counted > 0);
    let keys = lines.clone();
    if counts {
        let counted = |(color, &target): (usize, &usize)| {
            sampled(run, "", plot::color(color), |sample| sample[target].counted).dashed()
        };
        lines.extend(targets.iter().enumerate().map(counted));
    }
    let caption = match counts {
        true => "requests under way to each target; dashed: as the filter counts them",
        false => "requests under way to each target",
    };
    page.plot(
        "In flight",
        caption,
        &frame.lines(&lines, Scale::Count),
        &keys,
    );

    let mut lines = vec![
        buckets.rate("errors", plot::BAD, RequestRecord::is_error),
        buckets.sum("retries", plot::color(1), |record| {
            f64::from(record.retries)
        }),
        buckets.rate(
            "left without an answer",
            plot::GREY,
            RequestRecord::is_abandoned,
        ),
    ];
    lines.retain(|line| !line.is_flat());
    let (caption, svg) = match lines.is_empty() {
        true => ("none, and nobody tried again or left", String::new()),
        false => (
            "and what was done about them, per second",
            frame.lines(&lines, Scale::PerSecond),
        ),
    };
    page.plot("Errors", caption, &svg, &lines);

    let refused = |(place, traffic): (usize, &Traffic)| {
        let is =
            |record: &RequestRecord| record.is_refused() && usize::from(record.traffic) == place;
        buckets.rate(&traffic.name, plot::color(place), is)
    };
    let mut lines: Vec<_> = scenario.traffic.iter().enumerate().map(refused).collect();
    if !scenario.loaded.rate_limits.is_empty() {
        lines.extend(scenario.traffic.iter().enumerate().map(|(place, traffic)| {
            let is = |record: &RequestRecord| {
                !record.is_refused() && usize::from(record.traffic) == place
            };
            buckets.rate(&traffic.name, plot::color(place), is).dashed()
        }));
        let caption = "refused per second, by traffic; dashed: admitted";
        let keys = &lines[..scenario.traffic.len()];
        page.plot(
            "Limits",
            caption,
            &frame.lines(&lines, Scale::PerSecond),
            keys,
        );
    }
    page.text.push_str("</div>");

    let lanes: Vec<_> = targets
        .iter()
        .map(|target| health(scenario, run, *target))
        .collect();
    page.plot(
        "Health",
        "of each target, as the proxy meets it",
        &frame.lanes(&lanes),
        &plot::health_keys(),
    );
    page.text
}

fn marks(scenario: &Scenario) -> Vec<Mark> {
    let faults = scenario.faults.iter().enumerate();
    faults
        .map(|(place, fault)| Mark {
            number: place + 1,
            from: fault.at.as_secs_f64(),
            until: fault.until.map(Nanos::as_secs_f64),
            label: fault.label.clone(),
        })
        .collect()
}

/// The targets with the most requests, in the order of the configuration.
fn busiest(scenario: &Scenario, run: &Run) -> Vec<usize> {
    let mut requests = vec![0u64; scenario.targets.len()];
    for target in run.records.iter().filter_map(|record| record.target) {
        requests[usize::from(target)] += 1;
    }
    let mut targets: Vec<usize> = (0..requests.len()).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(requests[*target]));
    targets.truncate(MAX_LINES);
    targets.sort_unstable();
    targets
}

/// A line through the means of several samples each.
fn sampled(run: &Run, name: &str, color: RGBColor, of: impl Fn(&[TargetSample]) -> u32) -> Line {
    let mean = |samples: &[Sample]| {
        let of = |sample: &Sample| (sample.at.as_secs_f64(), f64::from(of(&sample.targets)));
        let sum = |sum: (f64, f64), of: (f64, f64)| (sum.0 + of.0, sum.1 + of.1);
        let (at, value) = samples.iter().map(of).fold((0.0, 0.0), sum);
        (at / samples.len() as f64, value / samples.len() as f64)
    };
    Line::new(
        name,
        color,
        run.samples.chunks(SAMPLES_PER_POINT).map(mean).collect(),
    )
}

fn health(scenario: &Scenario, run: &Run, target: usize) -> plot::Lane {
    let states = run.samples.windows(2).map(|pair| {
        let TargetSample { tries, failed, .. } = pair[1].targets[target];
        let state = match (tries, failed) {
            (0, _) => plot::LaneState::Idle,
            (_, 0) => plot::LaneState::Good,
            (_, failed) if failed < tries.div_ceil(2) => plot::LaneState::Failing,
            _ => plot::LaneState::Bad,
        };
        (pair[0].at.as_secs_f64(), pair[1].at.as_secs_f64(), state)
    });
    plot::Lane {
        name: scenario.targets[target].name.clone(),
        states: states.collect(),
    }
}

/// The records in buckets, by the time at which they began.
struct Buckets<'r> {
    /// The width of a bucket, in seconds.
    width: f64,
    buckets: Vec<Vec<&'r RequestRecord>>,
}

impl<'r> Buckets<'r> {
    fn of(scenario: &Scenario, run: &'r Run) -> Buckets<'r> {
        let width = scenario.duration.get().div_ceil(BUCKETS as u64);
        let width = Nanos::new(width.max(1));
        let mut buckets = vec![Vec::new(); BUCKETS];
        for record in &run.records {
            buckets[((record.start / width) as usize).min(BUCKETS - 1)].push(record);
        }
        Buckets {
            width: width.as_secs_f64(),
            buckets,
        }
    }

    /// A line with a point in the middle of each bucket that has a value.
    fn line(
        &self,
        name: &str,
        color: RGBColor,
        value: impl Fn(&[&RequestRecord]) -> Option<f64>,
    ) -> Line {
        let points = self.buckets.iter().enumerate();
        let points = points
            .filter_map(|(i, records)| Some(((i as f64 + 0.5) * self.width, value(records)?)));
        Line::new(name, color, points.collect())
    }

    /// A line of how many records there are, per second.
    fn rate(&self, name: &str, color: RGBColor, is: impl Fn(&RequestRecord) -> bool) -> Line {
        self.sum(name, color, |record| if is(record) { 1.0 } else { 0.0 })
    }

    /// A line of the sum over the records, per second.
    fn sum(&self, name: &str, color: RGBColor, of: impl Fn(&RequestRecord) -> f64) -> Line {
        self.line(name, color, |records| {
            Some(records.iter().map(|record| of(record)).sum::<f64>() / self.width)
        })
    }

    /// A line of how many records there are, in percent of others.
    fn percent(
        &self,
        name: &str,
        color: RGBColor,
        is: impl Fn(&RequestRecord) -> bool,
        of: impl Fn(&RequestRecord) -> bool,
    ) -> Line {
        self.line(name, color, |records| {
            let count = |is: &dyn Fn(&RequestRecord) -> bool| {
                records.iter().filter(|record| is(record)).count() as f64
            };
            Some(100.0 * count(&is) / count(&of).max(1.0))
        })
    }

    /// A line of the latency that so many thousandths do not exceed, in seconds.
    fn latency(&self, name: &str, thousandths: u16, color: RGBColor) -> Line {
        self.line(name, color, |records| {
            let kept = records.iter().filter(|record| !record.is_refused());
            let mut latencies: Vec<Nanos> = kept.map(|record| record.latency).collect();
            percentile(&mut latencies, thousandths).map(Nanos::as_secs_f64)
        })
    }
}

/// The page as far as it is written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, scenario: &Scenario, run: &Run, verdicts: &[Verdict]) {
        let name = escaped(&scenario.name);
        let _ = write!(
            self.text,
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
             <title>{name}</title><style>{STYLE}</style><h1>{name}</h1>\
             <p>{} s of virtual time, {} workers, seed {}, {} requests</p><table class=text>",
            scenario.duration.as_secs_f64(),
            scenario.workers,
            scenario.seed,
            run.records.len() + run.open,
        );
        for verdict in verdicts {
            let (class, mark) = if verdict.good {
                ("good", '✓')
            } else {
                ("bad", '✗')
            };
            let (label, found) = (escaped(&verdict.label), escaped(&verdict.found));
            let _ = write!(self.text, "<tr><td class={class}>{mark} {label}<td>{found}");
        }
        self.text.push_str("</table>");
    }

    fn table(&mut self, title: &str, rows: &[Row]) {
        let Some(first) = rows.first() else { return };
        let _ = write!(self.text, "<table><tr><th>{title}");
        for (measure, _) in &first.values {
            let _ = write!(self.text, "<th>{}", measure.name());
        }
        for row in rows {
            let _ = write!(self.text, "<tr><td>{}", escaped(&row.name));
            for (measure, value) in &row.values {
                let _ = write!(self.text, "<td>{}", summary::shown(*measure, *value));
            }
        }
        self.text.push_str("</table>");
    }

    fn faults(&mut self, marks: &[Mark]) {
        if marks.is_empty() {
            return;
        }
        self.text
            .push_str("<table class=text><tr><th>fault<th>from<th>until<th>what");
        for mark in marks {
            let until = mark
                .until
                .map_or(String::new(), |until| format!("{until} s"));
            let label = escaped(&mark.label);
            let _ = write!(
                self.text,
                "<tr><td>{}<td>{} s<td>{until}<td>{label}",
                mark.number, mark.from
            );
        }
        self.text.push_str("</table>");
    }

    fn plot(&mut self, title: &str, caption: &str, svg: &str, keys: &[Line]) {
        let _ = write!(
            self.text,
            "<figure><h2>{title}</h2><figcaption>{caption}<br>"
        );
        for line in keys {
            let _ = write!(
                self.text,
                "<span class=key style='--c:{}'>{}</span>",
                line.css(),
                escaped(&line.name)
            );
        }
        let _ = write!(self.text, "</figcaption>{svg}</figure>");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
