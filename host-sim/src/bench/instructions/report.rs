//! What a run measured, as tables.

use super::bars::{BarVerdict, Figure};
use super::rows::{BenchRow, FEW, Features, MANY, ModuleForm, Targets};
use super::{Instructions, REQUESTS};
use crate::bench::native::{CallsPerRequest, RETURNING_BYTES};
use crate::bench::processor::Machine;
use crate::bench::report::table;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct InstructionReport {
    /// On what. The counts do not depend on it.
    pub machine: Machine,
    /// Envoy's version.
    pub envoy: String,
    /// How to repeat it.
    pub command: String,
    /// Whether it has all rows.
    pub is_whole: bool,
    /// Each row, those first that others are compared with.
    pub rows: Vec<RowCost>,
    /// The host calls of a request, by what is on.
    pub calls: Vec<FeatureCalls>,
}

/// What a row costs, in instructions of the worker a request.
#[derive(Clone, Debug, Serialize)]
pub struct RowCost {
    /// Its name.
    pub name: String,
    /// Of Envoy and the filter.
    pub total: f64,
    /// Less those of a bare Envoy.
    pub added: f64,
    /// That as a multiple of what the empty filter adds.
    pub ratio: f64,
}

/// The host calls of a request of a client in a session, with endpoints, on two simulated workers.
#[derive(Clone, Debug, Serialize)]
pub struct FeatureCalls {
    /// What is on.
    pub name: &'static str,
    /// The calls.
    pub calls: Vec<CallsPerRequest>,
}

const TENFOLD: &str = "everything on, 10000 routes ÷ 10 routes";
const LISTED: &str = "Envoy's own list of 10000 routes ÷ everything on with as many";

fn everything(routes: usize) -> BenchRow {
    BenchRow::Pointsman(
        Features::Everything,
        Targets::Clusters,
        routes,
        ModuleForm::Built,
    )
}

impl InstructionReport {
    pub(super) fn of(
        rows: &[BenchRow],
        measured: &BTreeMap<String, Instructions>,
        machine: Machine,
        envoy: String,
        command: String,
        calls: Vec<FeatureCalls>,
    ) -> Result<InstructionReport> {
        let of = |row: &BenchRow| {
            let found = measured.get(&row.name()).copied();
            found.with_context(|| format!("{} was not measured", row.name()))
        };
        let empty = of(&BenchRow::Empty)?.added;
        let costs = rows.iter().map(|row| {
            let Instructions { total, added } = of(row)?;
            Ok(RowCost {
                name: row.name(),
                total,
                added,
                ratio: added / empty,
            })
        });
        Ok(InstructionReport {
            machine,
            envoy,
            command,
            is_whole: rows.len() == super::rows::all().len(),
            rows: costs.collect::<Result<_>>()?,
            calls,
        })
    }

    /// What bars are set for: the ratio of each row, and two of rows to each other.
    pub fn figures(&self) -> Vec<Figure> {
        let added = |row: BenchRow| {
            let name = row.name();
            let found = self.rows.iter().find(|cost| cost.name == name);
            found.map(|cost| cost.added)
        };
        let mut figures: Vec<_> = self
            .rows
            .iter()
            .map(|cost| (cost.name.clone(), cost.ratio))
            .collect();
        let mut figure = |name: &str, of: Option<f64>, by: Option<f64>| {
            if let (Some(of), Some(by)) = (of, by) {
                figures.push((name.to_owned(), of / by));
            }
        };
        let many = added(everything(MANY));
        figure(TENFOLD, many, added(everything(FEW)));
        figure(LISTED, added(BenchRow::List), many);
        figures
    }

    /// The tables, with what the bars make of it.
    pub fn text(&self, verdicts: &[BarVerdict]) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(verdicts, &mut text);
        text
    }

    fn write(&self, verdicts: &[BarVerdict], out: &mut String) -> fmt::Result {
        let Machine {
            processor, kernel, ..
        } = &self.machine;
        writeln!(
            out,
            "`{}` on {processor},\nLinux {kernel}, Envoy {}; {REQUESTS} requests of each row.\n",
            self.command, self.envoy
        )?;
        let mut rows = table(["", "instructions", "added", "÷ empty filter"]);
        for RowCost {
            name,
            total,
            added,
            ratio,
        } in &self.rows
        {
            let mut row = vec![name.clone(), format!("{total:.0}")];
            if *added != 0.0 {
                row.extend([format!("{added:+.0}"), format!("{ratio:.2}")]);
            }
            rows.add_row(row);
        }
        writeln!(out, "{rows}\n")?;

        let mut bars = table(["", "bar", "measured", "reached", "gate", "holds"]);
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        for verdict in verdicts {
            let measured = verdict.measured.map(|value| format!("{value:.2}"));
            bars.add_row([
                verdict.what.clone(),
                verdict.bar.clone(),
                measured.unwrap_or_default(),
                yes(verdict.is_reached),
                format!("{:.2}", verdict.gate),
                yes(verdict.is_let_through),
            ]);
        }
        if !verdicts.is_empty() {
            writeln!(out, "{bars}\n")?;
        }

        let of = |calls: &FeatureCalls, kind: &str| {
            let row = calls.calls.iter().find(|row| row.kind == kind);
            row.map_or(0.0, |row| row.request + row.response)
        };
        let kinds: BTreeSet<&str> = self
            .calls
            .iter()
            .flat_map(|calls| calls.calls.iter().map(|row| row.kind))
            .filter(|kind| *kind != RETURNING_BYTES)
            .collect();
        let names = self.calls.iter().map(|calls| calls.name);
        let header = ["host calls of one request, endpoints"]
            .into_iter()
            .chain(names);
        let mut calls = table(header);
        for kind in kinds.into_iter().chain([RETURNING_BYTES]) {
            let name = match kind {
                RETURNING_BYTES => kind.to_owned(),
                kind => format!("`{kind}`"),
            };
            let counts = self
                .calls
                .iter()
                .map(|calls| format!("{:.2}", of(calls, kind)));
            calls.add_row([name].into_iter().chain(counts));
        }
        write!(out, "{calls}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::bars::Bars;
    use super::*;
    use crate::module;

    /// Everything on is at 3.0, and the list at 12 times that with as many routes.
    fn report() -> InstructionReport {
        let added = [
            (BenchRow::Bare(Targets::Clusters), 0.0),
            (BenchRow::Empty, 20_000.0),
            (everything(FEW), 60_000.0),
            (everything(MANY), 62_000.0),
            (BenchRow::List, 744_000.0),
        ];
        let measured = added.map(|(row, added)| {
            let total = 170_000.0 + added;
            (row.name(), Instructions { total, added })
        });
        let machine = Machine {
            processor: "a processor".into(),
            cores: 2,
            kernel: "6.1".into(),
        };
        let calls = FeatureCalls {
            name: "everything on",
            calls: vec![CallsPerRequest {
                kind: "get_header_map",
                request: 1.0,
                response: 0.25,
            }],
        };
        let rows = added.map(|(row, _)| row);
        let (envoy, command) = ("1.40.0".into(), "a command".into());
        let mut report = InstructionReport::of(
            &rows,
            &measured.into(),
            machine,
            envoy,
            command,
            vec![calls],
        )
        .unwrap();
        report.is_whole = true;
        report
    }

    #[test]
    fn every_number_stands_in_a_markdown_table() {
        let bars = serde_saphyr::from_str::<Bars>(
            "bars: [{ what: \"everything on, clusters\", at_most: 2.4, reached: 3.0 }]",
        );
        let report = report();
        let text = report.text(&bars.unwrap().verdicts(&report.figures(), true));
        let holds = |parts: &[&str]| {
            let mut rows = text.lines().filter(|line| line.starts_with('|'));
            rows.any(|row| parts.iter().all(|part| row.contains(part)))
        };
        assert!(
            holds(&["everything on, clusters", "230000", "+60000", "3.00"]),
            "{text}"
        );
        assert!(holds(&["≤ 2.4", "3.00", "no", "3.09", "yes"]), "{text}");
        assert!(holds(&["`get_header_map`", "1.25"]), "{text}");
        assert!(holds(&["bare Envoy, clusters", "170000"]), "{text}");
    }

    #[test]
    fn what_was_not_measured_gives_no_figure() {
        let mut report = report();
        report
            .rows
            .retain(|cost| cost.name != BenchRow::List.name());
        let figures = report.figures();
        assert!(figures.iter().all(|(name, _)| name != LISTED));
        assert!(figures.iter().any(|(name, _)| name == TENFOLD));
    }

    #[test]
    fn every_bar_is_set_for_a_figure_of_a_whole_run() {
        let path = module::repository().unwrap().join("host-sim/bars.yaml");
        let mut names: Vec<_> = super::super::rows::all()
            .iter()
            .map(|row| row.name())
            .collect();
        names.extend([TENFOLD, LISTED].map(str::to_owned));
        for verdict in Bars::read(&path).unwrap().verdicts(&[], true) {
            assert!(
                names.contains(&verdict.what),
                "no run has {:?}",
                verdict.what
            );
        }
    }
}
