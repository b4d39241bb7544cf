//! What came of a run, in numbers: as text for people, as JSON for machines.

use super::Run;
use super::measure::{Measure, Scope, Verdict, milliseconds};
use super::scenario::{SECOND, Scenario};
use serde_json::{Value, json};
use std::io::{self, Write};

/// The measures of a row, with the width of their columns.
const COLUMNS: [(&str, Measure); 8] = [
    ("requests", Measure::Requests),
    ("errors", Measure::Errors),
    ("refused", Measure::Refused),
    ("left", Measure::Left),
    ("retries", Measure::Retries),
    ("p50", Measure::Latency(500)),
    ("p90", Measure::Latency(900)),
    ("p99", Measure::Latency(990)),
];

/// Numbers of a part of a run.
#[derive(Clone, Debug)]
pub struct Row {
    /// The kind of traffic, or the target.
    pub name: String,
    /// In the order of the columns.
    pub values: Vec<(&'static str, Measure, Option<f64>)>,
}

/// A row for each kind of traffic.
pub fn by_traffic(scenario: &Scenario, run: &Run) -> Vec<Row> {
    let part = |traffic| Scope {
        traffic: Some(traffic),
        ..Scope::default()
    };
    let row = |(place, traffic): (usize, &super::scenario::Traffic)| {
        row(&traffic.name, run, &part(place), &[])
    };
    scenario.traffic.iter().enumerate().map(row).collect()
}

/// A row for each target.
pub fn by_target(scenario: &Scenario, run: &Run) -> Vec<Row> {
    let part = |target| Scope {
        target: Some(target),
        ..Scope::default()
    };
    let share = [("share", Measure::Share)];
    let row = |(place, target): (usize, &super::scenario::Target)| {
        row(&target.name, run, &part(place), &share)
    };
    scenario.targets.iter().enumerate().map(row).collect()
}

fn row(name: &str, run: &Run, part: &Scope, more: &[(&'static str, Measure)]) -> Row {
    let columns = COLUMNS.iter().chain(more);
    Row {
        name: name.to_owned(),
        values: columns
            .map(|(name, measure)| (*name, *measure, measure.of(run, part)))
            .collect(),
    }
}

/// Text for people.
pub fn write(
    out: &mut impl Write,
    scenario: &Scenario,
    run: &Run,
    judged: &[Verdict],
) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} s, {} workers, seed {}: {} requests, {} still open at the end",
        scenario.name,
        scenario.duration as f64 / SECOND as f64,
        scenario.workers,
        scenario.seed,
        run.records.len() + run.open,
        run.open,
    )?;
    for (title, rows) in [
        ("traffic", by_traffic(scenario, run)),
        ("target", by_target(scenario, run)),
    ] {
        table(out, title, &rows)?;
    }
    for fault in &scenario.faults {
        let until = fault
            .until
            .map_or(String::new(), |until| format!(" to {}", clock(until)));
        writeln!(out, "  at {}{until}: {}", clock(fault.at), fault.label)?;
    }
    for line in &run.log {
        writeln!(out, "  the filter logged: {line}")?;
    }
    for judged in judged {
        let mark = if judged.good { '✓' } else { '✗' };
        writeln!(out, "{mark} {} (found {})", judged.label, judged.found)?;
    }
    Ok(())
}

/// A time of a run, in seconds.
pub fn clock(at: u64) -> String {
    format!("{} s", at as f64 / SECOND as f64)
}

fn table(out: &mut impl Write, title: &str, rows: &[Row]) -> io::Result<()> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(title.len());
    write!(out, "  {title:width$}")?;
    first
        .values
        .iter()
        .try_for_each(|(name, ..)| write!(out, " {name:>9}"))?;
    writeln!(out)?;
    for row in rows {
        write!(out, "  {:width$}", row.name)?;
        for (_, measure, value) in &row.values {
            write!(out, " {:>9}", shown(*measure, *value))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A value of a table.
pub fn shown(measure: Measure, value: Option<f64>) -> String {
    match (measure, value) {
        (_, None) => "–".to_owned(),
        (Measure::Latency(_), Some(value)) => milliseconds(value),
        (Measure::Share, Some(value)) => format!("{:.1} %", value * 100.0),
        (_, Some(value)) => value.to_string(),
    }
}

/// One object for machines. Times in milliseconds, shares from 0 to 1.
pub fn json(scenario: &Scenario, run: &Run, judged: &[Verdict]) -> Value {
    let rows = |rows: Vec<Row>| -> Value {
        let object = |row: Row| {
            let values = row.values.into_iter().map(|(name, measure, value)| {
                let value = value.map(|value| match measure {
                    Measure::Latency(_) => value / 1e6,
                    _ => value,
                });
                (name.to_owned(), json!(value))
            });
            (row.name, values.collect::<serde_json::Map<_, _>>().into())
        };
        Value::Object(rows.into_iter().map(object).collect())
    };
    let judged = judged.iter().map(
        |judged| json!({ "expected": judged.label, "found": judged.found, "good": judged.good }),
    );
    json!({
        "scenario": scenario.name,
        "seed": scenario.seed,
        "workers": scenario.workers,
        "seconds": scenario.duration as f64 / SECOND as f64,
        "requests": run.records.len() + run.open,
        "open": run.open,
        "traffic": rows(by_traffic(scenario, run)),
        "targets": rows(by_target(scenario, run)),
        "metrics": run.metrics,
        "log": run.log,
        "expect": judged.collect::<Vec<_>>(),
    })
}
