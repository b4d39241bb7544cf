//! A run as one page: tables, and plots that share one time axis. Everything is inside of it, so it
//! can be mailed and attached.

mod plot;

use super::Run;
use super::measure::{Verdict, percentile};
use super::record::{Record, Sample, TargetSample};
use super::scenario::{SECOND, Scenario, Traffic};
use super::summary::{self, Row};
use plot::{Frame, Line, Mark, Scale};
use plotters::style::RGBColor;
use std::fmt::Write;

/// How many points a line has.
const BUCKETS: usize = 120;

/// How many samples a point of a line stands for.
const SAMPLES: usize = 3;

/// Of a plot with a line for each target, how many it has at most: more cannot be told apart, and
/// the busiest are shown.
const MOST_LINES: usize = 24;

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

/// The page, in HTML.
pub fn html(scenario: &Scenario, run: &Run, judged: &[Verdict]) -> String {
    let marks = marks(scenario);
    let frame = Frame {
        seconds: seconds(scenario.duration),
        marks: &marks,
    };
    let buckets = Buckets::of(scenario, run);
    let mut page = Page::default();
    page.head(scenario, run, judged);
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
            Record::is_answered as fn(&Record) -> bool,
        ),
        (refused, plot::BLUE, Record::is_refused),
        (errors, plot::BAD, Record::is_error),
        (left, plot::GREY, Record::has_left),
    ];
    let lines = outcomes.map(|(name, color, is)| buckets.rate(name, color, is));
    page.plot(
        "Requests",
        "by what became of them",
        &frame.stack(&lines, "per second"),
        &lines,
    );

    let targets = busiest(scenario, run);
    let share = |(color, &target): (usize, &usize)| {
        let is = |record: &Record| record.target == Some(target as u16);
        let any = |record: &Record| record.target.is_some();
        buckets.part(&scenario.targets[target].name, plot::color(color), is, any)
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
        samples(
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
            samples(run, "", plot::color(color), |sample| sample[target].counted).dashed()
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
        buckets.rate("errors", plot::BAD, Record::is_error),
        buckets.sum("retries", plot::color(1), |record| {
            f64::from(record.retries)
        }),
        buckets.rate("left without an answer", plot::GREY, Record::has_left),
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
        let is = |record: &Record| record.is_refused() && usize::from(record.traffic) == place;
        buckets.rate(&traffic.name, plot::color(place), is)
    };
    let mut lines: Vec<_> = scenario.traffic.iter().enumerate().map(refused).collect();
    if !scenario.loaded.rate_limits.is_empty() {
        lines.extend(scenario.traffic.iter().enumerate().map(|(place, traffic)| {
            let is = |record: &Record| !record.is_refused() && usize::from(record.traffic) == place;
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

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND as f64
}

fn marks(scenario: &Scenario) -> Vec<Mark> {
    let faults = scenario.faults.iter().enumerate();
    faults
        .map(|(place, fault)| Mark {
            number: place + 1,
            from: seconds(fault.at),
            until: fault.until.map(seconds),
            label: fault.label.clone(),
        })
        .collect()
}

/// The targets that were asked most, in the order of the configuration.
fn busiest(scenario: &Scenario, run: &Run) -> Vec<usize> {
    let mut asked = vec![0u64; scenario.targets.len()];
    for target in run.records.iter().filter_map(|record| record.target) {
        asked[usize::from(target)] += 1;
    }
    let mut targets: Vec<usize> = (0..asked.len()).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(asked[*target]));
    targets.truncate(MOST_LINES);
    targets.sort_unstable();
    targets
}

/// A line through the means of several samples each: a single one is too restless to be read.
fn samples(run: &Run, name: &str, color: RGBColor, of: impl Fn(&[TargetSample]) -> u32) -> Line {
    let mean = |samples: &[Sample]| {
        let of = |sample: &Sample| (seconds(sample.at), f64::from(of(&sample.targets)));
        let sum = |sum: (f64, f64), of: (f64, f64)| (sum.0 + of.0, sum.1 + of.1);
        let (at, value) = samples.iter().map(of).fold((0.0, 0.0), sum);
        (at / samples.len() as f64, value / samples.len() as f64)
    };
    Line::new(name, color, run.samples.chunks(SAMPLES).map(mean).collect())
}

fn health(scenario: &Scenario, run: &Run, target: usize) -> plot::Lane {
    let states = run.samples.windows(2).map(|pair| {
        let TargetSample { asked, failed, .. } = pair[1].targets[target];
        let state = match (asked, failed) {
            (0, _) => plot::State::Idle,
            (_, 0) => plot::State::Good,
            (_, failed) if failed < asked.div_ceil(2) => plot::State::Failing,
            _ => plot::State::Bad,
        };
        (seconds(pair[0].at), seconds(pair[1].at), state)
    });
    plot::Lane {
        name: scenario.targets[target].name.clone(),
        states: states.collect(),
    }
}

/// The records, by the time at which they began.
struct Buckets<'r> {
    /// Of one bucket, in seconds.
    width: f64,
    buckets: Vec<Vec<&'r Record>>,
}

impl<'r> Buckets<'r> {
    fn of(scenario: &Scenario, run: &'r Run) -> Buckets<'r> {
        let width = scenario.duration.div_ceil(BUCKETS as u64).max(1);
        let mut buckets = vec![Vec::new(); BUCKETS];
        for record in &run.records {
            buckets[((record.start / width) as usize).min(BUCKETS - 1)].push(record);
        }
        Buckets {
            width: seconds(width),
            buckets,
        }
    }

    /// A line with a point in the middle of each bucket, where there is one.
    fn line(&self, name: &str, color: RGBColor, value: impl Fn(&[&Record]) -> Option<f64>) -> Line {
        let points = self.buckets.iter().enumerate();
        let points = points
            .filter_map(|(i, records)| Some(((i as f64 + 0.5) * self.width, value(records)?)));
        Line::new(name, color, points.collect())
    }

    /// How many there are, per second.
    fn rate(&self, name: &str, color: RGBColor, is: impl Fn(&Record) -> bool) -> Line {
        self.sum(name, color, |record| if is(record) { 1.0 } else { 0.0 })
    }

    fn sum(&self, name: &str, color: RGBColor, of: impl Fn(&Record) -> f64) -> Line {
        self.line(name, color, |records| {
            Some(records.iter().map(|record| of(record)).sum::<f64>() / self.width)
        })
    }

    /// How many there are, in percent of others.
    fn part(
        &self,
        name: &str,
        color: RGBColor,
        is: impl Fn(&Record) -> bool,
        of: impl Fn(&Record) -> bool,
    ) -> Line {
        self.line(name, color, |records| {
            let count = |is: &dyn Fn(&Record) -> bool| {
                records.iter().filter(|record| is(record)).count() as f64
            };
            Some(100.0 * count(&is) / count(&of).max(1.0))
        })
    }

    /// In seconds.
    fn latency(&self, name: &str, thousandths: u16, color: RGBColor) -> Line {
        self.line(name, color, |records| {
            let kept = records.iter().filter(|record| !record.is_refused());
            let mut latencies: Vec<u64> = kept.map(|record| record.latency).collect();
            percentile(&mut latencies, thousandths).map(seconds)
        })
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, scenario: &Scenario, run: &Run, judged: &[Verdict]) {
        let name = escaped(&scenario.name);
        let _ = write!(
            self.text,
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
             <title>{name}</title><style>{STYLE}</style><h1>{name}</h1>\
             <p>{} s of virtual time, {} workers, seed {}, {} requests</p><table class=text>",
            seconds(scenario.duration),
            scenario.workers,
            scenario.seed,
            run.records.len() + run.open,
        );
        for judged in judged {
            let (class, mark) = if judged.good {
                ("good", '✓')
            } else {
                ("bad", '✗')
            };
            let (label, found) = (escaped(&judged.label), escaped(&judged.found));
            let _ = write!(self.text, "<tr><td class={class}>{mark} {label}<td>{found}");
        }
        self.text.push_str("</table>");
    }

    fn table(&mut self, title: &str, rows: &[Row]) {
        let Some(first) = rows.first() else { return };
        let _ = write!(self.text, "<table><tr><th>{title}");
        for (name, ..) in &first.values {
            let _ = write!(self.text, "<th>{name}");
        }
        for row in rows {
            let _ = write!(self.text, "<tr><td>{}", escaped(&row.name));
            for (_, measure, value) in &row.values {
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
