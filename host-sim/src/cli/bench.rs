//! `host-sim bench`: what Pointsman costs, beside what Envoy has itself.

use super::{Outcome, page};
use anyhow::Result;
use host_sim::bench::{self, BenchPlan};
use std::io::Write;

/// The page that shows the last full run, and the name of its marks there.
pub(crate) const PAGE: (&str, &str) = ("host-sim/README.md", "bench");

/// Measures Pointsman beside a bare Envoy, an empty filter, and what Envoy has itself. Needs `wrk`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One short round with fewer routes: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Only the candidates whose name contains this, beside those that they are compared with.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Also put the tables into host-sim/README.md.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    write: bool,
}

/// Prints the measurements to stdout, and what it is at to stderr.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
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
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => serde_json::to_writer_pretty(&mut out, &report)?,
        false => write!(out, "{report}")?,
    }
    writeln!(out)?;
    if arguments.write {
        let (file, name) = PAGE;
        page::write(file, name, &report.to_string())?;
    }
    Ok(Outcome::Good)
}
