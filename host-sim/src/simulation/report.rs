//! The report of a run: an HTML page with the verdict, tables, and plots that share one time axis.
//! The page refers to no other file, so that it can be mailed.

mod mark;
mod page;
mod plot;
mod series;

use super::expectation::Verdict;
use super::record::{RequestRecord, Run};
use super::scenario::{Scenario, Traffic};
use super::summary;
use mark::Marks;
use page::{Page, Values};
use plot::{Drawing, Frame, LaneState, Line, Scale};
use series::{Buckets, Shown};

/// The most lanes of the plot of health.
const MAX_LANES: usize = 24;
/// What the targets are called that share a line: it is their mean.
const OTHERS: &str = "others, each";

/// The page as HTML. `program` is what played the scenario, and when; beside it the page is a
/// function of the run.
pub fn html(scenario: &Scenario, run: &Run, verdicts: &[Verdict], program: &str) -> String {
    let marks = Marks::of(scenario);
    let report = Report {
        scenario,
        run,
        frame: Frame {
            seconds: scenario.duration.as_secs_f64(),
            marks: &marks,
        },
        buckets: Buckets::of(scenario, run),
        shown: Shown::of(scenario, run),
    };
    let mut page = Page::new(&scenario.name, verdicts);
    page.text(&scenario.story);
    page.verdicts(verdicts);
    page.list(&report.origin(program));
    page.measures("traffic", &summary::by_traffic(scenario, run));
    page.marks(&marks);
    page.open_plots();
    report.outcomes(&mut page);
    report.shares(&mut page);
    report.latencies(&mut page);
    report.in_flight(&mut page);
    report.errors(&mut page);
    report.limits(&mut page);
    report.health(&mut page);
    page.close_plots();
    page.measures("target", &summary::by_target(scenario, run));
    for line in &run.log {
        page.text(&format!("The filter logged: {line}"));
    }
    page.finish()
}

struct Report<'r> {
    scenario: &'r Scenario,
    run: &'r Run,
    frame: Frame<'r>,
    buckets: Buckets<'r>,
    shown: Shown,
}

impl Report<'_> {
    /// What was played, and by what.
    fn origin(&self, program: &str) -> Vec<(&'static str, String)> {
        let Report { scenario, run, .. } = self;
        let file = scenario.file.as_deref().unwrap_or(&scenario.name);
        let config = scenario.config_file.as_deref();
        let version = scenario.loaded.version.as_deref();
        let version = version.map_or(String::new(), |version| format!(", version {version}"));
        vec![
            ("scenario", file.to_owned()),
            (
                "configuration",
                format!(
                    "{}, {}{version}",
                    config.unwrap_or("in the scenario"),
                    scenario.loaded.hash
                ),
            ),
            (
                "played",
                format!(
                    "{} s of virtual time, {} workers, seed {}: {} requests, {} still open at the end",
                    scenario.duration.as_secs_f64(),
                    scenario.workers,
                    scenario.seed,
                    run.records.len() + run.open,
                    run.open,
                ),
            ),
            ("by", program.to_owned()),
        ]
    }

    fn outcomes(&self, page: &mut Page) {
        let outcomes = [
            (
                "answered",
                plot::GOOD,
                RequestRecord::is_answered as fn(&RequestRecord) -> bool,
            ),
            ("refused by a limit", plot::BLUE, RequestRecord::is_refused),
            ("errors", plot::BAD, RequestRecord::is_error),
            (
                "left without an answer",
                plot::GREY,
                RequestRecord::is_abandoned,
            ),
        ];
        let lines = outcomes.map(|(name, color, is)| self.buckets.rate(name, color, is));
        let text = ("Requests", "by outcome, at the time of the answer");
        self.stack(page, text, &lines, Scale::PerSecond);
    }

    fn shares(&self, page: &mut Page) {
        let any = |record: &RequestRecord| record.target.is_some();
        let share = |name: &str, color, targets: &[usize]| {
            let is = |record: &RequestRecord| {
                let target = record.target.map(usize::from);
                target.is_some_and(|target| targets.binary_search(&target).is_ok())
            };
            self.buckets
                .percent(name, color, is, any)
                .divided_by(targets.len())
        };
        let lines = self.shown.lines(self.scenario, OTHERS, share);
        let text = (
            "Share",
            "of the requests, by the target that was asked last",
        );
        match self.shown.others.is_empty() {
            true => self.stack(page, text, &lines, Scale::Percent),
            // A stack of so many would be one colour.
            false => self.lines(page, text, &self.buckets.at(), &lines, Scale::PercentOfAll),
        }
    }

    fn latencies(&self, page: &mut Page) {
        let lines = [
            ("median", 500, plot::color(0)),
            ("p90", 900, plot::color(1)),
            ("p99", 990, plot::BAD),
        ];
        let lines = lines.map(|(name, part, color)| self.buckets.latency(name, part, color));
        let text = ("Latency", "as clients see it, refusals left out");
        let at = self.buckets.at();
        self.lines(page, text, &at, &lines, Scale::Time);
    }

    fn in_flight(&self, page: &mut Page) {
        let samples = self.run.samples.iter();
        let mut targets = samples.flat_map(|sample| &sample.targets);
        let counts = targets.any(|target| target.counted > 0);
        let mut lines = self
            .shown
            .lines(self.scenario, OTHERS, |name, color, targets| {
                series::sampled(self.run, name, color, targets, |sample| sample.in_flight)
            });
        if counts {
            let counted = |name: &str, color, targets: &[usize]| {
                let name = format!("{name}, as the filter counts");
                series::sampled(self.run, &name, color, targets, |sample| sample.counted).dashed()
            };
            lines.extend(self.shown.lines(self.scenario, OTHERS, counted));
        }
        let caption = match counts {
            true => "requests under way to each target; dashed: as the filter counts them",
            false => "requests under way to each target",
        };
        let at = series::sample_times(self.run);
        self.lines(page, ("In flight", caption), &at, &lines, Scale::Count);
    }

    fn errors(&self, page: &mut Page) {
        let mut lines = vec![
            self.buckets
                .rate("errors", plot::BAD, RequestRecord::is_error),
            self.buckets.sum("retries", plot::color(1), |record| {
                f64::from(record.retries)
            }),
            self.buckets.rate(
                "left without an answer",
                plot::GREY,
                RequestRecord::is_abandoned,
            ),
        ];
        lines.retain(|line| !line.is_flat());
        if lines.is_empty() {
            page.no_plot("Errors", "none, and nobody tried again or left");
            return;
        }
        let text = (
            "Errors",
            "and what was done about them, at the time of the answer",
        );
        let at = self.buckets.at();
        self.lines(page, text, &at, &lines, Scale::PerSecond);
    }

    fn limits(&self, page: &mut Page) {
        if self.scenario.loaded.rate_limits.is_empty() {
            return;
        }
        let kinds = || {
            self.scenario
                .traffic
                .iter()
                .enumerate()
                .take(plot::MAX_LINES)
        };
        let rate = |place: usize, name: &str, refused: bool| {
            let is = |record: &RequestRecord| {
                record.is_refused() == refused && usize::from(record.traffic) == place
            };
            self.buckets.rate(name, plot::color(place), is)
        };
        let refused = |(place, traffic): (usize, &Traffic)| rate(place, &traffic.name, true);
        let admitted = |(place, traffic): (usize, &Traffic)| {
            rate(place, &format!("{}, admitted", traffic.name), false).dashed()
        };
        let lines: Vec<_> = kinds().map(refused).chain(kinds().map(admitted)).collect();
        let text = ("Limits", "refused, by traffic; dashed: admitted");
        let at = self.buckets.at();
        self.lines(page, text, &at, &lines, Scale::PerSecond);
    }

    fn health(&self, page: &mut Page) {
        let (lanes, left_out) = series::lanes(self.scenario, self.run, MAX_LANES);
        let Some(first) = lanes.first() else { return };
        let mut caption = "of each target that was asked, as the proxy meets it".to_owned();
        if left_out > 0 {
            caption = format!(
                "of {} targets, those that failed first; {left_out} more were asked",
                lanes.len()
            );
        }
        let keys = LaneState::ALL.map(|state| (state.name(), state.color()));
        let failed = lanes.iter().filter(|lane| {
            let mut states = lane.states.iter();
            states.any(|(_, _, state)| [LaneState::Bad, LaneState::Failing].contains(state))
        });
        let most = format!("{} of them failed at times.", failed.count());
        let values = Values {
            at: first
                .states
                .iter()
                .map(|(from, until, _)| (from + until) / 2.0)
                .collect(),
            lines: lanes
                .iter()
                .map(|lane| {
                    let words = lane
                        .states
                        .iter()
                        .map(|(_, _, state)| state.name().to_owned());
                    (lane.name.clone(), None, words.collect())
                })
                .collect(),
        };
        let drawing = self.frame.lanes(&lanes);
        let text = ("Health", &*caption);
        page.plot(text, &keys, &drawing, self.frame.seconds, &values, &most);
    }

    fn stack(&self, page: &mut Page, text: (&str, &str), lines: &[Line], scale: Scale) {
        let at = self.buckets.at();
        let drawing = self.frame.stack(&at, lines, scale);
        self.plot(page, text, &at, lines, scale, &drawing);
    }

    fn lines(&self, page: &mut Page, text: (&str, &str), at: &[f64], lines: &[Line], scale: Scale) {
        let drawing = self.frame.lines(at, lines, scale);
        self.plot(page, text, at, lines, scale, &drawing);
    }

    fn plot(
        &self,
        page: &mut Page,
        text: (&str, &str),
        at: &[f64],
        lines: &[Line],
        scale: Scale,
        drawing: &Drawing,
    ) {
        let legend = || lines.iter().filter(|line| !line.dashed);
        let keys: Vec<_> = legend().map(|line| (&*line.name, line.color)).collect();
        let most: Vec<_> = legend()
            .map(|line| format!("{}: at most {}", line.name, scale.shown(line.most())))
            .collect();
        let values = Values {
            at: at.to_vec(),
            lines: lines
                .iter()
                .map(|line| {
                    let shown = |value: &Option<f64>| {
                        value.map_or("–".to_owned(), |value| scale.shown(value))
                    };
                    let values = line.values.iter().map(shown).collect();
                    (line.name.clone(), Some(line.color), values)
                })
                .collect(),
        };
        let most = most.join("; ");
        page.plot(text, &keys, drawing, self.frame.seconds, &values, &most);
    }
}
