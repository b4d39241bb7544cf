//! The lines of plots, computed from the records and the samples of a run.

use super::plot::{self, Lane, LaneState, Line};
use crate::simulation::measure::percentile;
use crate::simulation::record::{RequestRecord, Run, Sample, TargetSample};
use crate::simulation::scenario::Scenario;
use plotters::style::RGBColor;
use pointsman_core::time::Nanos;

/// How many points a line has that is computed from records.
const BUCKETS: usize = 120;
/// How many samples a point of a line is the mean of: a single one fluctuates too much to be read.
const SAMPLES_PER_POINT: usize = 3;
/// How many requests a state of a target tells of, about.
const TRIES_PER_STATE: u64 = 5;
/// The most samples that have one state: a twentieth of the run.
const MAX_TOGETHER: usize = 12;

/// The records in buckets, by the time at which they ended: an error that a fault causes is behind
/// the fault's beginning, and nothing is missing from the last bucket.
pub(super) struct Buckets<'r> {
    /// The width of a bucket, in seconds.
    width: f64,
    buckets: Vec<Vec<&'r RequestRecord>>,
}

impl<'r> Buckets<'r> {
    pub(super) fn of(scenario: &Scenario, run: &'r Run) -> Buckets<'r> {
        let width = scenario.duration.get().div_ceil(BUCKETS as u64);
        let width = Nanos::new(width.max(1));
        let mut buckets = vec![Vec::new(); BUCKETS];
        for record in &run.records {
            let end = record.start + record.latency;
            buckets[((end / width) as usize).min(BUCKETS - 1)].push(record);
        }
        Buckets {
            width: width.as_secs_f64(),
            buckets,
        }
    }

    /// The middle of each bucket, in seconds.
    pub(super) fn at(&self) -> Vec<f64> {
        let numbers = 0..self.buckets.len();
        numbers
            .map(|number| (number as f64 + 0.5) * self.width)
            .collect()
    }

    /// A line with a point for each bucket that has a value.
    fn line(
        &self,
        name: &str,
        color: RGBColor,
        value: impl Fn(&[&RequestRecord]) -> Option<f64>,
    ) -> Line {
        let values = self.buckets.iter().map(|records| value(records));
        line(name, color, values.collect())
    }

    /// A line of how many records there are, per second.
    pub(super) fn rate(
        &self,
        name: &str,
        color: RGBColor,
        is: impl Fn(&RequestRecord) -> bool,
    ) -> Line {
        self.sum(name, color, |record| if is(record) { 1.0 } else { 0.0 })
    }

    /// A line of the sum over the records, per second.
    pub(super) fn sum(
        &self,
        name: &str,
        color: RGBColor,
        of: impl Fn(&RequestRecord) -> f64,
    ) -> Line {
        self.line(name, color, |records| {
            let sum = records.iter().fold(0.0, |sum, record| sum + of(record));
            Some(sum / self.width)
        })
    }

    /// A line of how many records there are, in percent of others. None of those: a gap.
    pub(super) fn percent(
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
            let all = count(&of);
            (all > 0.0).then(|| 100.0 * count(&is) / all)
        })
    }

    /// A line of the latency that so many thousandths do not exceed, in seconds.
    pub(super) fn latency(&self, name: &str, thousandths: u16, color: RGBColor) -> Line {
        self.line(name, color, |records| {
            let kept = records.iter().filter(|record| !record.is_refused());
            let mut latencies: Vec<Nanos> = kept.map(|record| record.latency).collect();
            percentile(&mut latencies, thousandths).map(Nanos::as_secs_f64)
        })
    }
}

/// Which targets have a line of their own in plots.
pub(super) struct Shown {
    /// Those that have, in the order of the configuration.
    pub single: Vec<usize>,
    /// Those that share one.
    pub others: Vec<usize>,
}

impl Shown {
    /// All that got requests, if they can be told apart; or else those that faults name, and those
    /// with the most requests.
    pub(super) fn of(scenario: &Scenario, run: &Run) -> Shown {
        let mut requests = vec![0u64; scenario.targets.len()];
        for target in run.records.iter().filter_map(|record| record.target) {
            requests[usize::from(target)] += 1;
        }
        let is_named = |target: usize| {
            let mut faults = scenario.faults.iter();
            faults.any(|fault| fault.kind.target() == Some(target))
        };
        let mut targets: Vec<usize> = (0..requests.len())
            .filter(|target| requests[*target] > 0)
            .collect();
        targets.sort_by_key(|target| (!is_named(*target), std::cmp::Reverse(requests[*target])));
        let mut others = match targets.len() > plot::MAX_LINES {
            true => targets.split_off(plot::MAX_LINES),
            false => Vec::new(),
        };
        targets.sort_unstable();
        others.sort_unstable();
        Shown {
            single: targets,
            others,
        }
    }

    /// A line for each of the single ones, and one for the others. `each` says of how many of the
    /// others a point is the mean, where it is not their sum.
    pub(super) fn lines(
        &self,
        scenario: &Scenario,
        others: &str,
        line: impl Fn(&str, RGBColor, &[usize]) -> Line,
    ) -> Vec<Line> {
        let single = self.single.iter().enumerate().map(|(number, target)| {
            let name = &scenario.targets[*target].name;
            line(name, plot::color(number), &[*target])
        });
        let mut lines: Vec<_> = single.collect();
        if !self.others.is_empty() {
            let name = format!("{} {others}", self.others.len());
            lines.push(line(&name, plot::GREY, &self.others));
        }
        lines
    }
}

/// The samples of each point. The first one of a run is before all requests; the last point is one
/// of as many samples as the others, so that it does not fluctuate more.
fn whole_points(run: &Run) -> impl Iterator<Item = &[Sample]> {
    let samples = run.samples.get(1..).unwrap_or_default();
    samples.chunks_exact(SAMPLES_PER_POINT)
}

/// The times of the points of [`sampled`], in seconds.
pub(super) fn sample_times(run: &Run) -> Vec<f64> {
    let mean = |samples: &[Sample]| {
        let sum: f64 = samples.iter().map(|sample| sample.at.as_secs_f64()).sum();
        sum / samples.len() as f64
    };
    whole_points(run).map(mean).collect()
}

/// A line through the means of several samples each, and of these targets.
pub(super) fn sampled(
    run: &Run,
    name: &str,
    color: RGBColor,
    targets: &[usize],
    of: impl Fn(&TargetSample) -> u32,
) -> Line {
    let mean = |samples: &[Sample]| {
        let all = samples
            .iter()
            .flat_map(|sample| targets.iter().map(|target| &sample.targets[*target]));
        let sum: u32 = all.map(&of).sum();
        Some(f64::from(sum) / (samples.len() * targets.len()) as f64)
    };
    let values = whole_points(run).map(mean);
    line(name, color, values.collect())
}

fn line(name: &str, color: RGBColor, values: Vec<Option<f64>>) -> Line {
    Line {
        name: name.to_owned(),
        color,
        dashed: false,
        values,
    }
}

/// The states of so many targets at most, those with failures first, and how many of those that
/// were asked are left out.
pub(super) fn lanes(scenario: &Scenario, run: &Run, most: usize) -> (Vec<Lane>, usize) {
    let total = |target: usize| {
        let samples = run.samples.iter().map(|sample| sample.targets[target]);
        samples.fold((0u64, 0u64), |(tries, failed), sample| {
            (
                tries + u64::from(sample.tries),
                failed + u64::from(sample.failed),
            )
        })
    };
    let totals: Vec<_> = (0..scenario.targets.len()).map(total).collect();
    let mut targets: Vec<usize> = (0..totals.len())
        .filter(|target| totals[*target].0 > 0)
        .collect();
    targets.sort_by_key(|target| {
        let (tries, failed) = totals[*target];
        std::cmp::Reverse((failed, tries))
    });
    let left_out = targets.len().saturating_sub(most);
    targets.truncate(most);
    targets.sort_unstable();
    let lanes = targets.into_iter().map(|target| Lane {
        name: scenario.targets[target].name.clone(),
        states: states(run, target, totals[target].0),
    });
    (lanes.collect(), left_out)
}

/// The state of a target between each two samples. Where it is asked seldom, several have one:
/// that no request came for a moment says nothing.
fn states(run: &Run, target: usize, tries: u64) -> Vec<(f64, f64, LaneState)> {
    let spans: Vec<_> = run.samples.windows(2).collect();
    let together = (spans.len() as u64 * TRIES_PER_STATE).div_ceil(tries.max(1));
    let together = (together as usize).clamp(1, MAX_TOGETHER);
    let states = spans.chunks(together).flat_map(|spans| {
        let of = |pair: &&[Sample]| {
            let TargetSample { tries, failed, .. } = pair[1].targets[target];
            (tries, failed)
        };
        let sum = |sum: (u32, u32), of: (u32, u32)| (sum.0 + of.0, sum.1 + of.1);
        let state = match spans.iter().map(of).fold((0, 0), sum) {
            (0, _) => LaneState::Idle,
            (_, 0) => LaneState::Good,
            (tries, failed) if failed < tries.div_ceil(2) => LaneState::Failing,
            _ => LaneState::Bad,
        };
        let span =
            move |pair: &&[Sample]| (pair[0].at.as_secs_f64(), pair[1].at.as_secs_f64(), state);
        spans.iter().map(span).collect::<Vec<_>>()
    });
    states.collect()
}
