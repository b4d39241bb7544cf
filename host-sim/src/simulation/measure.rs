//! Measures: what is computed from the records and samples of a run.

use super::record::{RequestRecord, Run, Sample};
use crate::share;
use pointsman_core::time::Nanos;

/// A number that is computed from a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `requests`: how many requests ended.
    Requests,
    /// `errors`: how many requests got no answer or a 5xx. Those whose client gave up are not
    /// counted.
    Errors,
    /// `error_share`: errors as a share of all requests.
    ErrorShare,
    /// `refused`: how many requests a rate limit refused.
    Refused,
    /// `refused_share`: refusals as a share of all requests.
    RefusedShare,
    /// `left`: how many clients gave up.
    Left,
    /// `retries`: how many tries there were beyond the first.
    Retries,
    /// `share`: of the requests that any target answered, the share that the scope's target
    /// answered.
    Share,
    /// `miscounted`: the greatest difference, over the run's samples, between the filter's count of
    /// requests in flight and the real one, summed over all targets.
    Miscounted,
    /// `p50`, `p90`, `p99`, `p999`: the latency, in nanoseconds, that this many thousandths of the
    /// requests did not exceed. Requests that a rate limit refused are not counted.
    Latency(u16),
}

/// The requests that a measure is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those that began at this time or later.
    pub from: Nanos,
    /// Those that began before this time. None: to the end.
    pub until: Option<Nanos>,
    /// Those of this kind of traffic, a position in the scenario. None: of any.
    pub traffic: Option<usize>,
    /// Those that this target answered, or was the last to be tried; a position in the scenario.
    /// None: of any.
    pub target: Option<usize>,
}

impl Scope {
    /// Whether a request belongs to the scope, whichever target answered it.
    fn has_of_any_target(&self, record: &RequestRecord) -> bool {
        let of_traffic = |traffic| usize::from(record.traffic) == traffic;
        record.start >= self.from
            && self.until.is_none_or(|until| record.start < until)
            && self.traffic.is_none_or(of_traffic)
    }

    /// Whether a request's target is the scope's.
    fn has_target_of(&self, record: &RequestRecord) -> bool {
        let of_target = |target| record.target.map(usize::from) == Some(target);
        self.target.is_none_or(of_target)
    }
}

impl Measure {
    /// Every measure by its name in scenario files.
    pub const NAMES: [(&'static str, Measure); 13] = [
        ("requests", Measure::Requests),
        ("errors", Measure::Errors),
        ("error_share", Measure::ErrorShare),
        ("refused", Measure::Refused),
        ("refused_share", Measure::RefusedShare),
        ("left", Measure::Left),
        ("retries", Measure::Retries),
        ("share", Measure::Share),
        ("miscounted", Measure::Miscounted),
        ("p50", Measure::Latency(500)),
        ("p90", Measure::Latency(900)),
        ("p99", Measure::Latency(990)),
        ("p999", Measure::Latency(999)),
    ];

    /// The measure's name in scenario files; of a percentile that they cannot name, `latency`.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, measure)| *measure == self);
        named.map_or("latency", |(name, _)| name)
    }

    /// What the measure is, where its name does not say it.
    pub fn explained(self) -> &'static str {
        match self {
            Measure::Errors => "no answer, or a 5xx",
            Measure::Refused => "by a rate limit",
            Measure::Left => "the client gave up before it got an answer",
            Measure::Retries => "tries beyond the first",
            Measure::Share => "of the requests that any target answered",
            Measure::Latency(_) => "latency; refusals are not counted",
            _ => "",
        }
    }

    /// Computes the measure. None: there is nothing to compute it from.
    pub fn of(self, run: &Run, scope: &Scope) -> Option<f64> {
        // A share is one of the requests to all targets.
        let of_any_target = self == Measure::Share;
        let records = || {
            run.records.iter().filter(|record| {
                scope.has_of_any_target(record) && (of_any_target || scope.has_target_of(record))
            })
        };
        let count =
            |is: fn(&RequestRecord) -> bool| records().filter(|record| is(record)).count() as f64;
        let all = records().count() as f64;
        let share = |of: f64, all: f64| (all > 0.0).then(|| of / all);
        match self {
            Measure::Requests => Some(all),
            Measure::Errors => Some(count(RequestRecord::is_error)),
            Measure::ErrorShare => share(count(RequestRecord::is_error), all),
            Measure::Refused => Some(count(RequestRecord::is_refused)),
            Measure::RefusedShare => share(count(RequestRecord::is_refused), all),
            Measure::Left => Some(count(RequestRecord::is_abandoned)),
            Measure::Retries => {
                let retries = records().map(|record| u64::from(record.retries));
                Some(retries.sum::<u64>() as f64)
            }
            Measure::Share => {
                let answered = count(|record| record.target.is_some());
                let by_target = records()
                    .filter(|record| record.target.map(usize::from) == scope.target)
                    .count();
                share(by_target as f64, answered)
            }
            Measure::Miscounted => {
                let in_time = |at| at >= scope.from && scope.until.is_none_or(|until| at < until);
                let samples = run.samples.iter().filter(|sample| in_time(sample.at));
                let difference = |sample: &Sample| {
                    let targets = sample.targets.iter().enumerate();
                    let targets = targets
                        .filter(|(place, _)| scope.target.is_none_or(|target| target == *place));
                    targets
                        .map(|(_, target)| target.counted.abs_diff(target.in_flight))
                        .sum::<u32>()
                };
                samples.map(difference).max().map(f64::from)
            }
            Measure::Latency(thousandths) => {
                let mut latencies: Vec<Nanos> = records()
                    .filter(|record| !record.is_refused())
                    .map(|record| record.latency)
                    .collect();
                percentile(&mut latencies, thousandths).map(|latency| latency.get() as f64)
            }
        }
    }
}

/// The value that this many thousandths of the values do not exceed. None: there are no values.
/// Reorders them.
pub fn percentile<T: Ord + Copy>(values: &mut [T], thousandths: u16) -> Option<T> {
    let rank = (values.len() * usize::from(thousandths)).div_ceil(1000);
    let at = rank.checked_sub(1)?;
    Some(*values.select_nth_unstable(at).1)
}

/// Formats a share, from 0 to 1, in percent.
pub fn percent(share: f64) -> String {
    share::percent(share, 2)
}

/// Formats nanoseconds as milliseconds or seconds, with the unit.
pub fn milliseconds(nanoseconds: f64) -> String {
    let milliseconds = nanoseconds / 1e6;
    match milliseconds {
        _ if milliseconds >= 10_000.0 => format!("{:.1} s", milliseconds / 1000.0),
        _ if milliseconds >= 100.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{milliseconds:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::record::{ABANDONED, TargetSample};
    use std::collections::BTreeMap;

    const SECOND: Nanos = Nanos::SECOND;

    fn record(second: u64, target: Option<u16>, status: u16, latency: u64) -> RequestRecord {
        RequestRecord {
            start: second * SECOND,
            latency: Nanos::new(latency),
            traffic: 0,
            target,
            status,
            retries: u8::from(status == 504),
            by_filter: target.is_none(),
        }
    }

    fn run() -> Run {
        let sample = |at, counted| Sample {
            at: Nanos::new(at),
            targets: vec![
                TargetSample {
                    in_flight: 3,
                    counted,
                    ..TargetSample::default()
                };
                2
            ],
        };
        Run {
            records: vec![
                record(0, Some(0), 200, 10),
                record(1, Some(1), 200, 20),
                record(2, Some(1), 504, 30),
                record(3, None, 429, 1),
                record(4, Some(0), ABANDONED, 40),
            ],
            samples: vec![sample(0, 3), sample(5, 1)],
            metrics: BTreeMap::new(),
            log: Vec::new(),
            open: 0,
        }
    }

    #[test]
    fn a_part_of_a_run_is_measured_and_nothing_else() {
        let all = Scope::default();
        let of = |measure: Measure, part: Scope| measure.of(&run(), &part);
        let late = Scope {
            from: 2 * SECOND,
            ..all
        };
        let early = Scope {
            until: Some(2 * SECOND),
            ..all
        };
        let second = Scope {
            target: Some(1),
            ..all
        };
        for (measure, part, expected) in [
            (Measure::Requests, all, 5.0),
            (Measure::Requests, late, 3.0),
            (Measure::Requests, early, 2.0),
            (Measure::Requests, second, 2.0),
            (Measure::Errors, all, 1.0),
            (Measure::Errors, early, 0.0),
            (Measure::ErrorShare, second, 0.5),
            (Measure::Refused, all, 1.0),
            (Measure::RefusedShare, all, 0.2),
            (Measure::Left, all, 1.0),
            (Measure::Retries, all, 1.0),
            (Measure::Share, second, 0.5),
            (
                Measure::Share,
                Scope {
                    target: Some(1),
                    ..early
                },
                0.5,
            ),
            (Measure::Latency(500), all, 20.0),
            (Measure::Latency(990), all, 40.0),
            (Measure::Miscounted, all, 4.0),
            (Measure::Miscounted, second, 2.0),
            (
                Measure::Miscounted,
                Scope {
                    until: Some(Nanos::new(5)),
                    ..all
                },
                0.0,
            ),
        ] {
            assert_eq!(of(measure, part), Some(expected), "{measure:?} {part:?}");
        }
        let nobody = Scope {
            traffic: Some(7),
            ..all
        };
        assert_eq!(of(Measure::ErrorShare, nobody), None);
        assert_eq!(of(Measure::Latency(500), nobody), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_there() {
        let mut values: Vec<u64> = (1..=1000).rev().collect();
        for (thousandths, expected) in [(1, 1), (500, 500), (990, 990), (1000, 1000)] {
            assert_eq!(percentile(&mut values, thousandths), Some(expected));
        }
        assert_eq!(percentile(&mut [7], 1), Some(7));
        assert_eq!(percentile(&mut [0; 0], 500), None);
    }
}
