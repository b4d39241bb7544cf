//! `host-sim bench`: what Pointsman costs, beside what Envoy has itself.

use super::{Outcome, page};
use anyhow::Result;
use host_sim::bench::instructions::{self, Bars, ClientHeaders};
use host_sim::bench::{self, BenchPlan};
use host_sim::module;
use std::fs;
use std::io::Write;

/// The page that shows the last full run, and the name of its marks there.
pub(crate) const PAGE: (&str, &str) = ("host-sim/README.md", "bench");

/// The same for instructions.
pub(crate) const INSTRUCTIONS_PAGE: (&str, &str) = ("host-sim/README.md", "instructions");
/// The same for the dearest requests.
pub(crate) const DEAR_PAGE: (&str, &str) = ("host-sim/README.md", "dear");
/// What instructions are held to.
const BARS: &str = "host-sim/bars.yaml";

/// Measures Pointsman beside a bare Envoy, an empty filter, and what Envoy has itself. Needs `wrk`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One short round with fewer routes: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Instructions in place of microseconds, which repeat on any machine. Needs `valgrind` and
    /// `cc` in place of `wrk`.
    #[arg(long, conflicts_with = "quick")]
    instructions: bool,
    /// Exit status 1 if a request takes more instructions than host-sim/bars.yaml allows.
    #[arg(long, requires = "instructions")]
    gate: bool,
    /// The dearest requests, beside Envoy's own routes with the same rules. Exit status 1 if one
    /// takes more than 10 times an ordinary one.
    #[arg(long, requires = "instructions", conflicts_with = "gate")]
    dear: bool,
    /// Clients send no headers but host, user-agent and cookie. A browser sends four more.
    #[arg(long, requires = "instructions", conflicts_with_all = ["gate", "dear", "write"])]
    short: bool,
    /// Only the candidates whose name contains this, beside those that they are compared with.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Also put the tables into host-sim/README.md; with --instructions, also what is reached into
    /// host-sim/bars.yaml.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    write: bool,
}

/// Prints the measurements to stdout, and what it is at to stderr.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    match (arguments.instructions, arguments.dear) {
        (_, true) => count_dear(arguments),
        (true, false) => count(arguments),
        (false, false) => time(arguments),
    }
}

/// Instructions of the dearest requests.
fn count_dear(arguments: &Arguments) -> Result<Outcome> {
    let mut command = "cargo run -p host-sim -- bench --instructions --dear".to_owned();
    let only = arguments.only.as_deref();
    if let Some(only) = only {
        command.push_str(&format!(" --only '{only}'"));
    }
    let report = instructions::measure_dear(only, command, &|what| eprintln!("{what}"))?;
    page::print(&report, arguments.json)?;
    if arguments.write {
        let (file, name) = DEAR_PAGE;
        page::write(file, name, &report.to_string())?;
    }
    Ok(match report.is_kept() {
        true => Outcome::Good,
        false => Outcome::Found,
    })
}

/// Instructions.
fn count(arguments: &Arguments) -> Result<Outcome> {
    let mut command = "cargo run -p host-sim -- bench --instructions".to_owned();
    let only = arguments.only.as_deref();
    if let Some(only) = only {
        command.push_str(&format!(" --only '{only}'"));
    }
    let headers = match arguments.short {
        true => ClientHeaders::Short,
        false => ClientHeaders::Browser,
    };
    if arguments.short {
        command.push_str(" --short");
    }
    let path = module::repository()?.join(BARS);
    let mut bars = Bars::read(&path)?;
    let report = instructions::measure(only, headers, command, &|what| eprintln!("{what}"))?;
    let figures = report.figures();
    let verdicts = bars.verdicts(&figures, report.is_whole);
    if arguments.write {
        bars = bars.reached_by(&figures);
        fs::write(&path, bars.to_string())?;
        let (file, name) = INSTRUCTIONS_PAGE;
        let verdicts = bars.verdicts(&figures, true);
        page::write(file, name, &report.text(&verdicts))?;
    }
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => {
            let all = serde_json::json!({ "report": report, "bars": verdicts });
            serde_json::to_writer_pretty(&mut out, &all)?;
        }
        false => write!(out, "{}", report.text(&verdicts))?,
    }
    writeln!(out)?;
    let exceeded = verdicts.iter().filter(|verdict| !verdict.is_let_through);
    let mut outcome = Outcome::Good;
    for verdict in exceeded.filter(|_| arguments.gate) {
        outcome = Outcome::Found;
        eprintln!(
            "{}: {:.2}, and the gate is {:.2} ({BARS})",
            verdict.what,
            verdict.measured.unwrap_or(f64::NAN),
            verdict.gate
        );
    }
    Ok(outcome)
}

/// Microseconds.
fn time(arguments: &Arguments) -> Result<Outcome> {
    let mut command = "cargo run --release -p host-sim -- bench".to_owned();
    let plan = match arguments.quick {
        true => BenchPlan::QUICK,
        false => BenchPlan::FULL,
    };
    if arguments.quick {
        command.push_str(" --quick");
    }
    let only = arguments.only.as_deref();
    if let Some(only) = only {
        command.push_str(&format!(" --only '{only}'"));
    }
    let report = bench::measure(&plan, only, command, &|what| eprintln!("{what}"))?;
    page::print(&report, arguments.json)?;
    if arguments.write {
        let (file, name) = PAGE;
        page::write(file, name, &report.to_string())?;
    }
    Ok(Outcome::Good)
}
