//! The summary of a run: as text for people, as JSON for machines.

use super::expectation::Verdict;
use super::measure::{Measure, Scope, milliseconds, percent};
use super::record::Run;
use super::scenario::Scenario;
use comfy_table::{CellAlignment, Table, presets};
use pointsman_core::time::Nanos;
use serde_json::{Value, json};
use std::io::{self, Write};

/// The measures of a row.
const COLUMNS: [Measure; 8] = [
    Measure::Requests,
    Measure::Errors,
    Measure::Refused,
    Measure::Left,
    Measure::Retries,
    Measure::Latency(500),
    Measure::Latency(900),
    Measure::Latency(990),
];

/// The measures of one kind of traffic, or of one target.
#[derive(Clone, Debug)]
pub struct Row {
    /// The name of the kind of traffic, or of the target.
    pub name: String,
    /// The measures in the order of the columns. None: there is nothing to compute it from.
    pub values: Vec<(Measure, Option<f64>)>,
}

impl Row {
    /// Whether there was no request.
    pub fn is_idle(&self) -> bool {
        let mut values = self.values.iter();
        values.any(|(measure, value)| *measure == Measure::Requests && *value == Some(0.0))
    }
}

/// What became of all expectations: `passed 3 of 3`.
pub fn outcome(verdicts: &[Verdict]) -> String {
    let good = verdicts.iter().filter(|verdict| verdict.good).count();
    match verdicts.len() {
        0 => "played; it expects nothing".to_owned(),
        all if good == all => format!("passed {all} of {all}"),
        all => format!("failed {} of {all}", all - good),
    }
}

/// The names of rows without requests: `2 targets got no request: a, b`. None: there are none.
pub fn idle(title: &str, rows: &[&Row]) -> Option<String> {
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    let names = names.join(", ");
    match (title, rows.len()) {
        (_, 0) => None,
        ("traffic", _) => Some(format!("no request was sent as {names}")),
        (_, 1) => Some(format!("1 {title} got no request: {names}")),
        (_, count) => Some(format!("{count} {title}s got no request: {names}")),
    }
}

/// A row for each kind of traffic.
pub fn by_traffic(scenario: &Scenario, run: &Run) -> Vec<Row> {
    let traffic = scenario.traffic.iter().enumerate();
    let rows = traffic.map(|(place, traffic)| {
        let scope = Scope {
            traffic: Some(place),
            ..Scope::default()
        };
        row(&traffic.name, run, &scope, &COLUMNS)
    });
    rows.collect()
}

/// A row for each target, which has its share too.
pub fn by_target(scenario: &Scenario, run: &Run) -> Vec<Row> {
    let columns: Vec<_> = COLUMNS.into_iter().chain([Measure::Share]).collect();
    let targets = scenario.targets.iter().enumerate();
    let rows = targets.map(|(place, target)| {
        let scope = Scope {
            target: Some(place),
            ..Scope::default()
        };
        row(&target.name, run, &scope, &columns)
    });
    rows.collect()
}

fn row(name: &str, run: &Run, scope: &Scope, columns: &[Measure]) -> Row {
    let values = columns.iter();
    Row {
        name: name.to_owned(),
        values: values
            .map(|measure| (*measure, measure.of(run, scope)))
            .collect(),
    }
}

/// Writes the summary as text.
pub fn write(
    out: &mut impl Write,
    scenario: &Scenario,
    run: &Run,
    verdicts: &[Verdict],
) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} s, {} workers, seed {}: {} requests, {} still open at the end",
        scenario.name,
        scenario.duration.as_secs_f64(),
        scenario.workers,
        scenario.seed,
        run.records.len() + run.open,
        run.open,
    )?;
    for (title, rows) in [
        ("traffic", by_traffic(scenario, run)),
        ("target", by_target(scenario, run)),
    ] {
        write_table(out, title, &rows)?;
    }
    for fault in &scenario.faults {
        let until = fault
            .until
            .map_or(String::new(), |until| format!(" to {}", in_seconds(until)));
        writeln!(out, "  at {}{until}: {}", in_seconds(fault.at), fault.label)?;
    }
    for line in &run.log {
        writeln!(out, "  the filter logged: {line}")?;
    }
    for verdict in verdicts {
        let mark = if verdict.good { '✓' } else { '✗' };
        writeln!(out, "{mark} {} (found {})", verdict.label, verdict.found)?;
    }
    writeln!(out, "{}", outcome(verdicts))
}

fn in_seconds(time: Nanos) -> String {
    format!("{} s", time.as_secs_f64())
}

fn write_table(out: &mut impl Write, title: &str, rows: &[Row]) -> io::Result<()> {
    let (busy, idle_rows): (Vec<_>, Vec<_>) = rows.iter().partition(|row| !row.is_idle());
    if let Some(first) = busy.first() {
        write_rows(out, title, first, &busy)?;
    }
    let idle = idle(title, &idle_rows);
    idle.map_or(Ok(()), |idle| writeln!(out, "  {idle}"))
}

fn write_rows(out: &mut impl Write, title: &str, first: &Row, rows: &[&Row]) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let names = first.values.iter().map(|(measure, _)| measure.name());
    table.set_header([title].into_iter().chain(names));
    for row in rows {
        let values = row.values.iter();
        let values = values.map(|(measure, value)| shown(*measure, *value));
        table.add_row([row.name.clone()].into_iter().chain(values));
    }
    let columns = table.column_iter_mut().skip(1);
    columns.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
        .lines()
        .try_for_each(|line| writeln!(out, " {}", line.trim_end()))
}

/// A value of a table.
pub fn shown(measure: Measure, value: Option<f64>) -> String {
    match (measure, value) {
        (_, None) => "–".to_owned(),
        (Measure::Latency(_), Some(value)) => milliseconds(value),
        (Measure::Share, Some(value)) => percent(value),
        (_, Some(value)) => value.to_string(),
    }
}

/// The summary as one JSON object. Times are in milliseconds, shares from 0 to 1.
pub fn json(scenario: &Scenario, run: &Run, verdicts: &[Verdict]) -> Value {
    let rows = |rows: Vec<Row>| -> Value {
        let object = |row: Row| {
            let values = row.values.into_iter().map(|(measure, value)| {
                let value = value.map(|value| match measure {
                    Measure::Latency(_) => value / 1e6,
                    _ => value,
                });
                (measure.name().to_owned(), json!(value))
            });
            (row.name, values.collect::<serde_json::Map<_, _>>().into())
        };
        Value::Object(rows.into_iter().map(object).collect())
    };
    let verdicts = verdicts.iter().map(|verdict| {
        json!({ "expected": verdict.label, "found": verdict.found, "good": verdict.good })
    });
    json!({
        "scenario": scenario.name,
        "configuration": scenario.loaded.hash.to_string(),
        "version": scenario.loaded.version.as_deref(),
        "seed": scenario.seed,
        "workers": scenario.workers,
        "seconds": scenario.duration.as_secs_f64(),
        "requests": run.records.len() + run.open,
        "open": run.open,
        "traffic": rows(by_traffic(scenario, run)),
        "targets": rows(by_target(scenario, run)),
        "metrics": run.metrics,
        "log": run.log,
        "expect": verdicts.collect::<Vec<_>>(),
    })
}
