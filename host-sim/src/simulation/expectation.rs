//! Expectations: what a scenario says of the measures of its run.

use super::measure::{Measure, Scope, milliseconds, percent};
use super::quantity;
use super::record::Run;
use pointsman_core::config::reader::{Names, Node, Report};

/// What a scenario expects of one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The measure.
    pub measure: Measure,
    /// The requests that it is computed from.
    pub scope: Scope,
    /// The least value that is good; of latencies in nanoseconds. None: any.
    pub min: Option<f64>,
    /// The greatest value that is good; of latencies in nanoseconds. None: any.
    pub max: Option<f64>,
    /// The expectation for reports: `p99 of web-green from 10s: at most 300ms`.
    pub label: String,
}

/// Whether an expectation holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The expectation for reports.
    pub label: String,
    /// The measured value for reports.
    pub found: String,
    /// Whether the expectation holds.
    pub good: bool,
}

impl Expectation {
    /// Compares the expectation with a run. It does not hold where there is nothing to measure.
    pub fn judge(&self, run: &Run) -> Verdict {
        let found = self.measure.of(run, &self.scope);
        let good = found.is_some_and(|found| {
            self.min.is_none_or(|min| found >= min) && self.max.is_none_or(|max| found <= max)
        });
        Verdict {
            label: self.label.clone(),
            found: found.map_or("nothing to measure".to_owned(), |found| {
                shown(self.measure, found)
            }),
            good,
        }
    }
}

fn shown(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Latency(_) => milliseconds(value),
        Measure::Share | Measure::ErrorShare | Measure::RefusedShare => percent(value),
        _ => value.to_string(),
    }
}

const MEASURES: usize = Measure::NAMES.len();

/// The keys of which an expectation has exactly one.
const NAMES: [&str; MEASURES] = {
    let mut names = [""; MEASURES];
    let mut at = 0;
    while at < MEASURES {
        names[at] = Measure::NAMES[at].0;
        at += 1;
    }
    names
};

/// All keys of an expectation: the names of measures, and those of its scope.
const KEYS: &[&str] = &{
    let scope = ["from", "until", "traffic", "target"];
    let mut keys = [""; MEASURES + 4];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = match at < MEASURES {
            true => NAMES[at],
            false => scope[at - MEASURES],
        };
        at += 1;
    }
    keys
};

/// Reads `{ p99: { max: 300ms }, target: web-green, from: 10s }`. `targets` and `traffic` are the
/// names that it may refer to. None: the problem is noted.
pub fn read(
    node: &Node<'_>,
    targets: &Names<'_>,
    traffic: &Names<'_>,
    report: &mut Report,
) -> Option<Expectation> {
    let map = node.map(report, KEYS)?;
    let given = map.exactly_one(report, &NAMES)?;
    let named = Measure::NAMES.iter().find(|(name, _)| *name == given.key());
    let (_, measure) = *named?;
    if measure == Measure::Share {
        map.need(report, "target", "the target whose share it is");
    }
    let bounds = given.map(report, &["min", "max"]);
    if let Some(bounds) = &bounds {
        bounds.need_any(report, &["min", "max"]);
    }
    let mut bound = |key| {
        let node = bounds.as_ref()?.get(key)?;
        match measure {
            Measure::Latency(_) => quantity::time(&node, report).map(|time| time.get() as f64),
            _ => quantity::number(&node, report, 0.0, 1e15),
        }
    };
    let (min, max) = (bound("min"), bound("max"));
    let mut time = |key| map.get(key).and_then(|node| quantity::time(&node, report));
    let (from, until) = (time("from"), time("until"));
    let scope = Scope {
        from: from.unwrap_or_default(),
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
        bound.map(|bound| format!("{word} {}", shown(measure, bound)))
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
        scope,
        min,
        max,
        label: label.concat(),
    })
}
