//! `host-sim bench`: the measurements of the README, side by side.

use super::Outcome;
use anyhow::Result;
use host_sim::bench::{self, Plan};
use std::io::Write;

/// Measures Pointsman beside a bare Envoy, an empty filter, and what Envoy has itself. Needs `wrk`.
#[derive(clap::Args)]
pub struct Arguments {
    /// One short round with fewer routes: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints the measurements to stdout, and what it is at to stderr.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let (plan, option) = match arguments.quick {
        true => (Plan::QUICK, " --quick"),
        false => (Plan::FULL, ""),
    };
    let command = format!("cargo run --release -p host-sim -- bench{option}");
    let report = bench::measure(&plan, command, &|what| eprintln!("{what}"))?;
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => serde_json::to_writer_pretty(&mut out, &report)?,
        false => write!(out, "{report}")?,
    }
    writeln!(out)?;
    Ok(Outcome::Good)
}
