//! What was measured, as the tables of `host-sim/README.md`, and against the bars that were set for
//! it.

use super::candidates::{AskedRoutes, CandidateKind};
use super::native::{CallsPerRequest, RETURNING_BYTES, SimulationCost};
use super::processor::Machine;
use super::routes::FeatureSet;
use super::statistics::Spread;
use super::vm::VmCost;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::fmt;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// On what.
    pub machine: Machine,
    /// Envoy's version.
    pub envoy: String,
    /// How to repeat it.
    pub command: String,
    /// How many rounds of how many seconds.
    pub rounds: usize,
    /// Load on each candidate in a round, in seconds.
    pub seconds: u64,
    /// Each candidate, a bare Envoy first.
    pub costs: Vec<Cost>,
    /// The host calls of one request with everything on.
    pub calls: Vec<CallsPerRequest>,
    /// The module, in bytes.
    pub module: u64,
    /// One VM with the largest configuration, if that was measured.
    pub vm: Option<VmCost>,
    /// Natively, by the number of workers from 1: requests in a second of each one's processor
    /// time, all together.
    pub native: Vec<Rates>,
    /// The simulation, if that was measured.
    pub played: Option<SimulationCost>,
    /// The numbers of routes, ascending.
    pub routes: [usize; 3],
}

/// What one candidate costs.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// What it is.
    #[serde(serialize_with = "name")]
    pub kind: CandidateKind,
    /// Which of its routes are asked for.
    pub asked: AskedRoutes,
    /// Processor time for each request, in microseconds.
    pub total: Spread,
    /// The same less that of a bare Envoy in the same round.
    pub added: Spread,
    /// The fastest quarter of its rounds less that of a bare Envoy's: steadier where the machine
    /// does other things too.
    pub fastest: f64,
    /// Requests in a second.
    pub rate: Spread,
}

/// The native rates of a number of workers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rates {
    /// The core alone.
    pub decisions: Spread,
    /// The unmodified filter in the simulated proxy.
    pub simulated: Spread,
}

/// A bar: a number that was set beforehand, and the number that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What is measured.
    pub what: String,
    /// The bar, with its direction.
    pub bar: String,
    /// What was measured.
    pub measured: String,
    /// Whether that is good enough.
    pub reached: bool,
}

fn name<S: serde::Serializer>(kind: &CandidateKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&kind.name())
}

impl BenchReport {
    /// What a candidate adds, in the median.
    fn added(&self, kind: CandidateKind, asked: AskedRoutes) -> f64 {
        let found = self
            .costs
            .iter()
            .find(|cost| (cost.kind, cost.asked) == (kind, asked));
        found.map_or(f64::NAN, |cost| cost.added.median)
    }

    /// What was set out to be reached. What was not measured has not reached its bar.
    pub fn bars(&self) -> Vec<Bar> {
        let [few, _, many] = self.routes;
        let everything = |routes| {
            self.added(
                CandidateKind::Pointsman(FeatureSet::Everything, routes),
                AskedRoutes::All,
            )
        };
        let last = self.added(
            CandidateKind::Pointsman(FeatureSet::Everything, many),
            AskedRoutes::Last,
        );
        let at_most = |what: String, bar: f64, unit: &str, measured: f64, digits: usize| Bar {
            what,
            bar: format!("≤ {bar}{unit}"),
            measured: format!("{measured:.digits$}{unit}"),
            reached: measured <= bar,
        };
        let at_least = |what: String, bar: f64, unit: &str, measured: f64, digits: usize| Bar {
            what,
            bar: format!("≥ {bar}{unit}"),
            measured: format!("{measured:.digits$}{unit}"),
            reached: measured >= bar,
        };
        let empty = self.added(CandidateKind::Empty, AskedRoutes::All);
        let list = self.added(CandidateKind::List(many), AskedRoutes::Last);
        let of_vm = |value: fn(&VmCost) -> f64| self.vm.as_ref().map_or(f64::NAN, value);
        let million = self.played.map_or(f64::NAN, |played| {
            played.seconds * 1e6 / played.requests as f64
        });
        let one_core = self
            .native
            .first()
            .map_or(f64::NAN, |rates| rates.decisions.median);
        vec![
            at_most(
                "everything on ÷ empty SDK filter, added".into(),
                2.0,
                "",
                everything(few) / empty,
                2,
            ),
            at_most(
                format!("{many} routes ÷ {few} routes, added"),
                1.1,
                "",
                everything(many) / everything(few),
                2,
            ),
            at_least(
                format!("Envoy's own list ÷ Pointsman, {many} routes, the last asked for, added"),
                20.0,
                "",
                list / last,
                1,
            ),
            at_most(
                format!("memory of one VM with {many} routes"),
                12.0,
                " MiB",
                of_vm(|vm| vm.memory) / MEBIBYTE,
                1,
            ),
            at_most(
                format!("{many} routes loaded in one VM"),
                150.0,
                " ms",
                of_vm(|vm| vm.load.median),
                0,
            ),
            at_most(
                "a million simulated requests".into(),
                10.0,
                " s",
                million,
                1,
            ),
            at_least(
                "native decisions, everything on, one core".into(),
                1_000_000.0,
                "/s",
                one_core,
                0,
            ),
        ]
    }
}

/// An empty table in Markdown; numbers to the right.
pub(super) fn table<'h>(header: impl IntoIterator<Item = &'h str>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn range(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$} to {:.digits$}", spread.least, spread.most)
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine {
            processor,
            cores,
            kernel,
        } = &self.machine;
        writeln!(
            f,
            "`{}` on {processor}, {cores} cores, Linux {kernel}, Envoy {}.",
            self.command, self.envoy
        )?;
        writeln!(
            f,
            "{} rounds of {} s each; medians, the least to the most of the rounds,\nand the mean of the fastest quarter.\n",
            self.rounds, self.seconds
        )?;

        let empty = self.added(CandidateKind::Empty, AskedRoutes::All);
        let mut costs = table([
            "",
            "µs a request",
            "added",
            "",
            "fastest quarter",
            "÷ empty filter",
            "requests/s",
        ]);
        for Cost {
            kind,
            asked,
            total,
            added,
            fastest,
            rate,
        } in &self.costs
        {
            let asked = if *asked == AskedRoutes::Last {
                ", the last one asked for"
            } else {
                ""
            };
            let mut row = vec![kind.name() + asked, format!("{:.1}", total.median)];
            row.extend(match kind {
                CandidateKind::Bare => ["", "", "", ""].map(str::to_owned),
                _ => [
                    format!("{:+.1}", added.median),
                    range(added, 1),
                    format!("{fastest:+.1}"),
                    format!("{:.2}", added.median / empty),
                ],
            });
            row.push(format!("{:.0}", rate.median));
            costs.add_row(row);
        }
        writeln!(f, "{costs}\n")?;

        let mut bars = table(["", "bar", "measured", "reached"]);
        for Bar {
            what,
            bar,
            measured,
            reached,
        } in self.bars()
        {
            let reached = if reached { "yes" } else { "no" };
            bars.add_row([what, bar, measured, reached.to_owned()]);
        }
        if self.vm.is_some() {
            writeln!(f, "{bars}\n")?;
        }

        let mut calls = table([
            "host calls of one request, everything on",
            "on its way in",
            "on its way out",
        ]);
        for row in self.calls.iter().filter(|row| row.kind != RETURNING_BYTES) {
            calls.add_row([
                format!("`{}`", row.kind),
                format!("{:.2}", row.request),
                format!("{:.2}", row.response),
            ]);
        }
        for row in self.calls.iter().filter(|row| row.kind == RETURNING_BYTES) {
            calls.add_row([
                row.kind.to_owned(),
                format!("{:.2}", row.request),
                format!("{:.2}", row.response),
            ]);
        }
        if !self.calls.is_empty() {
            writeln!(f, "{calls}\n")?;
        }

        let mut others = table(["", "", ""]);
        let [.., many] = self.routes;
        let mut other = |what: String, value: String, note: String| {
            others.add_row([what, value, note]);
        };
        other(
            "module".into(),
            format!("{} bytes", self.module),
            String::new(),
        );
        if let Some(vm) = &self.vm {
            other(
                format!("memory of one VM with {many} routes"),
                format!("{:.1} MiB", vm.memory / MEBIBYTE),
                String::new(),
            );
            other(
                format!("loading {many} routes in one VM"),
                format!("{:.0} ms", vm.load.median),
                range(&vm.load, 0),
            );
        }
        for (workers, rates) in (1..).zip(&self.native) {
            other(
                format!("native decisions, workers: {workers}"),
                format!("{:.0}/s", rates.decisions.median),
                range(&rates.decisions, 0),
            );
        }
        for (workers, rates) in (1..).zip(&self.native) {
            other(
                format!("the filter in the simulated proxy, workers: {workers}"),
                format!("{:.0}/s", rates.simulated.median),
                range(&rates.simulated, 0),
            );
        }
        if let Some(SimulationCost { requests, seconds }) = self.played {
            other(
                format!(
                    "`run` with sessions, limits, health and `least_connections`: {requests} requests"
                ),
                format!("{seconds:.1} s"),
                String::new(),
            );
        }
        write!(f, "{others}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(value: f64) -> Spread {
        Spread {
            median: value,
            fastest: value - 0.25,
            least: value - 0.5,
            most: value + 0.5,
        }
    }

    fn cost(kind: CandidateKind, asked: AskedRoutes, added: f64) -> Cost {
        Cost {
            kind,
            asked,
            total: always(40.0 + added),
            added: always(added),
            fastest: added - 1.5,
            rate: always(20_000.0),
        }
    }

    fn report() -> BenchReport {
        let pointsman = |routes| CandidateKind::Pointsman(FeatureSet::Everything, routes);
        BenchReport {
            machine: Machine {
                processor: "a processor".into(),
                cores: 2,
                kernel: "6.1".into(),
            },
            envoy: "1.40.0".into(),
            command: "host-sim bench".into(),
            rounds: 3,
            seconds: 2,
            costs: vec![
                cost(CandidateKind::Bare, AskedRoutes::All, 0.0),
                cost(CandidateKind::Empty, AskedRoutes::All, 5.0),
                cost(pointsman(10), AskedRoutes::All, 10.0),
                cost(pointsman(10_000), AskedRoutes::All, 11.5),
                cost(pointsman(10_000), AskedRoutes::Last, 10.5),
                cost(CandidateKind::List(10_000), AskedRoutes::Last, 210.0),
            ],
            calls: vec![
                CallsPerRequest {
                    kind: "get_header_map",
                    request: 1.0,
                    response: 0.0,
                },
                CallsPerRequest {
                    kind: RETURNING_BYTES,
                    request: 2.0,
                    response: 1.0,
                },
            ],
            module: 555_000,
            vm: Some(VmCost {
                memory: 12.0 * MEBIBYTE,
                load: always(150.5),
            }),
            native: vec![Rates {
                decisions: always(1e6),
                simulated: always(1e5),
            }],
            played: Some(SimulationCost {
                requests: 2_000_000,
                seconds: 18.0,
            }),
            routes: [10, 1_000, 10_000],
        }
    }

    #[test]
    fn a_bar_is_reached_by_its_own_number_and_by_nothing_beyond() {
        let bars = report().bars();
        let reached: Vec<_> = bars
            .iter()
            .map(|bar| (&bar.measured[..], bar.reached))
            .collect();
        let expected = [
            ("2.00", true),
            ("1.15", false),
            ("20.0", true),
            ("12.0 MiB", true),
            ("150 ms", false),
            ("9.0 s", true),
            ("1000000/s", true),
        ];
        assert_eq!(reached, expected);
    }

    #[test]
    fn what_was_not_measured_has_reached_no_bar() {
        let mut report = report();
        report.costs.truncate(2);
        report.native.clear();
        report.vm = None;
        report.played = None;
        assert!(report.bars().iter().all(|bar| !bar.reached));
    }

    #[test]
    fn every_number_stands_in_a_markdown_table() {
        let text = report().to_string();
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        let holds = |parts: &[&str]| {
            rows.iter()
                .any(|row| parts.iter().all(|part| row.contains(part)))
        };
        assert!(
            holds(&[
                "Pointsman, 10 routes, everything on",
                "50.0",
                "+10.0",
                "9.5 to 10.5",
                "+8.5",
                "2.00",
                "20000"
            ]),
            "{text}"
        );
        assert!(
            holds(&[
                "Envoy's own list of 10000 routes, the last one asked for",
                "+210.0"
            ]),
            "{text}"
        );
        assert!(holds(&["`get_header_map`", "1.00", "0.00"]), "{text}");
        assert!(
            text.starts_with(
                "`host-sim bench` on a processor, 2 cores, Linux 6.1, Envoy 1.40.0.\n"
            ),
            "{text}"
        );
    }
}
