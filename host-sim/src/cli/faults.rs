//! `host-sim faults`: what goes wrong around a load balancer, on a real Envoy under load.

use super::Outcome;
use anyhow::Result;
use host_sim::faults::{self, Fault, Plan};
use std::io::Write;

/// Makes things go wrong on a real Envoy under load, and counts the requests that failed.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which faults. Default: all.
    faults: Vec<Fault>,
    /// As little of each as shows it.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints a table to stdout, and what it is at to stderr. [`Outcome::Found`]: a promise was broken.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let (plan, option) = match arguments.quick {
        true => (Plan::SMALL, " --quick"),
        false => (Plan::FULL, ""),
    };
    let command = format!("cargo run --release -p host-sim -- faults{option}");
    let faults = match arguments.faults.is_empty() {
        true => Fault::all(),
        false => &arguments.faults,
    };
    let report = faults::play(faults, &plan, command, &|what| eprintln!("{what}"))?;
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => serde_json::to_writer_pretty(&mut out, &report)?,
        false => write!(out, "{report}")?,
    }
    writeln!(out)?;
    Ok(match report.is_kept() {
        true => Outcome::Good,
        false => Outcome::Found,
    })
}
