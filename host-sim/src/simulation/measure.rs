//! What is measured of a run, and what a scenario expects of it.

use super::Run;
use super::record::{Record, Sample};
use super::scenario;
use pointsman_core::config::reader::{Names, Node, Report};

/// Something that a run can be measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `requests`: how many there were.
    Requests,
    /// `errors`: how many had no answer or a 5xx. A client that leaves is not counted.
    Errors,
    /// `error_share`: that by all requests.
    ErrorShare,
    /// `refused`: how many a limit refused.
    Refused,
    /// `refused_share`: that by all requests.
    RefusedShare,
    /// `left`: how many clients lost patience.
    Left,
    /// `retries`: how many tries there were beyond the first.
    Retries,
    /// `share`: of the requests that any target answered, the part that `target` answered.
    Share,
    /// `miscounted`: the most by which the filter's count of requests in flight was off, over all
    /// targets together, at any of the run's samples.
    Miscounted,
    /// `p50`, `p90`, `p99`, `p999`: the latency, in nanoseconds, that this part of the requests (in
    /// thousandths) did not exceed. Requests that a limit refused are not counted.
    Latency(u16),
}

const NAMES: &[&str] = &[
    "requests",
    "errors",
    "error_share",
    "refused",
    "refused_share",
    "left",
    "retries",
    "share",
    "miscounted",
    "p50",
    "p90",
    "p99",
    "p999",
];

/// Which requests are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those that began at this time or later, in nanoseconds.
    pub from: u64,
    /// Those that began before. None: to the end.
    pub until: Option<u64>,
    /// Those of this kind of traffic.
    pub traffic: Option<usize>,
    /// Those that this target answered, or was the last to be tried.
    pub target: Option<usize>,
}

/// What a scenario expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What is measured.
    pub measure: Measure,
    /// Of which requests.
    pub part: Scope,
    /// At least. Latencies in nanoseconds.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
    /// For people: `p99 of web-green from 10s: at most 300ms`.
    pub label: String,
}

/// What came of an expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The expectation, for people.
    pub label: String,
    /// What was measured, for people.
    pub found: String,
    /// Whether it holds.
    pub good: bool,
}

impl Scope {
    /// Whether a request belongs to it. `whichever`: of any target.
    fn has(&self, record: &Record, whichever: bool) -> bool {
        record.start >= self.from
            && self.until.is_none_or(|until| record.start < until)
            && self
                .traffic
                .is_none_or(|traffic| record.traffic as usize == traffic)
            && (whichever
                || self
                    .target
                    .is_none_or(|target| record.target == Some(target as u16)))
    }
}

impl Measure {
    /// Measures a part of a run. None: nothing was there to be measured.
    pub fn of(self, run: &Run, part: &Scope) -> Option<f64> {
        let whichever = self == Measure::Share;
        let records = || {
            run.records
                .iter()
                .filter(|record| part.has(record, whichever))
        };
        let count =
            |good: fn(&Record) -> bool| records().filter(|record| good(record)).count() as f64;
        let all = records().count() as f64;
        let some = |of: f64, all: f64| (all > 0.0).then(|| of / all);
        match self {
            Measure::Requests => Some(all),
            Measure::Errors => Some(count(Record::is_error)),
            Measure::ErrorShare => some(count(Record::is_error), all),
            Measure::Refused => Some(count(Record::is_refused)),
            Measure::RefusedShare => some(count(Record::is_refused), all),
            Measure::Left => Some(count(Record::has_left)),
            Measure::Retries => Some(records().map(|record| f64::from(record.retries)).sum()),
            Measure::Share => {
                let of = records()
                    .filter(|record| record.target.map(usize::from) == part.target)
                    .count();
                some(of as f64, count(|record| record.target.is_some()))
            }
            Measure::Miscounted => {
                let is_part = |at| at >= part.from && part.until.is_none_or(|until| at < until);
                let samples = run.samples.iter().filter(|sample| is_part(sample.at));
                let off = |sample: &Sample| {
                    let targets = sample.targets.iter().enumerate();
                    let targets = targets
                        .filter(|(place, _)| part.target.is_none_or(|target| target == *place));
                    targets
                        .map(|(_, target)| target.counted.abs_diff(target.in_flight))
                        .sum::<u32>()
                };
                samples.map(off).max().map(f64::from)
            }
            Measure::Latency(thousandths) => {
                let mut latencies: Vec<u64> = records()
                    .filter(|record| !record.is_refused())
                    .map(|record| record.latency)
                    .collect();
                percentile(&mut latencies, thousandths).map(|latency| latency as f64)
            }
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Measure::Latency(_) => milliseconds(value),
            Measure::Share | Measure::ErrorShare | Measure::RefusedShare => format!("{:.4}", value),
            _ => value.to_string(),
        }
    }
}

impl Expectation {
    /// Holds it against a run.
    pub fn judge(&self, run: &Run) -> Verdict {
        let found = self.measure.of(run, &self.part);
        let good = found.is_some_and(|found| {
            self.min.is_none_or(|min| found >= min) && self.max.is_none_or(|max| found <= max)
        });
        Verdict {
            label: self.label.clone(),
            found: found.map_or("nothing to measure".to_owned(), |found| {
                self.measure.show(found)
            }),
            good,
        }
    }
}

/// The value that this many thousandths of them do not exceed. They are left in another order.
pub fn percentile(values: &mut [u64], thousandths: u16) -> Option<u64> {
    let rank = (values.len() * usize::from(thousandths)).div_ceil(1000);
    let at = rank.checked_sub(1)?;
    Some(*values.select_nth_unstable(at).1)
}

/// Nanoseconds as milliseconds with a unit.
pub fn milliseconds(nanoseconds: f64) -> String {
    let milliseconds = nanoseconds / 1e6;
    match milliseconds {
        _ if milliseconds >= 10_000.0 => format!("{:.1} s", milliseconds / 1000.0),
        _ if milliseconds >= 100.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{milliseconds:.1} ms"),
    }
}

/// Reads `{ p99: { max: 300ms }, target: web-green, from: 10s }`.
pub fn read(
    node: &Node<'_>,
    targets: &Names<'_>,
    traffic: &Names<'_>,
    report: &mut Report,
) -> Option<Expectation> {
    const KEYS: &[&str] = &[
        "requests",
        "errors",
        "error_share",
        "refused",
        "refused_share",
        "left",
        "retries",
        "share",
        "miscounted",
        "p50",
        "p90",
        "p99",
        "p999",
        "from",
        "until",
        "traffic",
        "target",
    ];
    let map = node.map(report, KEYS)?;
    let given = map.exactly_one(report, NAMES)?;
    let measure = match given.key() {
        "requests" => Measure::Requests,
        "errors" => Measure::Errors,
        "error_share" => Measure::ErrorShare,
        "refused" => Measure::Refused,
        "refused_share" => Measure::RefusedShare,
        "left" => Measure::Left,
        "retries" => Measure::Retries,
        "share" => Measure::Share,
        "miscounted" => Measure::Miscounted,
        "p50" => Measure::Latency(500),
        "p90" => Measure::Latency(900),
        "p99" => Measure::Latency(990),
        _ => Measure::Latency(999),
    };
    if measure == Measure::Share {
        map.need(report, "target", "the target whose share it is");
    }
    let bounds = given.map(report, &["min", "max"])?;
    bounds.need_any(report, &["min", "max"]);
    let mut bound = |key| {
        let node = bounds.get(key)?;
        match measure {
            Measure::Latency(_) => scenario::time(&node, report).map(|time| time as f64),
            _ => scenario::number(&node, report, 0.0, 1e15),
        }
    };
    let (min, max) = (bound("min"), bound("max"));
    let mut time = |key| map.get(key).and_then(|node| scenario::time(&node, report));
    let (from, until) = (time("from"), time("until"));
    let part = Scope {
        from: from.unwrap_or(0),
        until,
        traffic: map
            .get("traffic")
            .and_then(|node| node.reference(report, traffic, "kind of traffic")),
        target: map
            .get("target")
            .and_then(|node| node.reference(report, targets, "target")),
    };
    let word = |key: &str, before: &str| match map.get(key).and_then(|node| node.as_text()) {
        Some(text) => format!(" {before} {text}"),
        None => String::new(),
    };
    let limit = |bound: Option<f64>, word: &str| {
        bound.map(|bound| format!("{word} {}", measure.show(bound)))
    };
    let limits: Vec<_> = [limit(min, "at least"), limit(max, "at most")]
        .into_iter()
        .flatten()
        .collect();
    let label = [
        given.key(),
        &word("traffic", "of"),
        &word("target", "of"),
        &word("from", "from"),
        &word("until", "until"),
        ": ",
        &limits.join(", "),
    ];
    Some(Expectation {
        measure,
        part,
        min,
        max,
        label: label.concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::record::{LEFT, TargetSample};
    use std::collections::BTreeMap;

    fn record(second: u64, target: Option<u16>, status: u16, latency: u64) -> Record {
        Record {
            start: second * scenario::SECOND,
            latency,
            traffic: 0,
            target,
            status,
            retries: u8::from(status == 504),
            own: target.is_none(),
        }
    }

    fn run() -> Run {
        let sample = |at, counted| Sample {
            at,
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
                record(4, Some(0), LEFT, 40),
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
            from: 2 * scenario::SECOND,
            ..all
        };
        let early = Scope {
            until: Some(2 * scenario::SECOND),
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
                    until: Some(5),
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
        assert_eq!(percentile(&mut [], 500), None);
    }
}
