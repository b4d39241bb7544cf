//! `host-sim check`: what is wrong with a configuration, all of it at once.

use super::Outcome;
use anyhow::{Context, Result};
use host_sim::configuration::{self, Failure};
use pointsman_core::config::problem::Problem;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Says what is wrong with a configuration: where, what was found, what would be right.
#[derive(clap::Args)]
pub struct Arguments {
    /// Pointsman's configuration in YAML or JSON, or an Envoy configuration with one Wasm filter.
    config: PathBuf,
    /// Print one JSON object: `errors`, each with `place`, `found`, `expected` and `nearest`.
    #[arg(long)]
    json: bool,
}

/// Prints the errors to stdout.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = arguments.config.display();
    let errors = match configuration::load(&arguments.config) {
        Ok(_) => Vec::new(),
        Err(Failure::Problems(problems)) => problems.0,
        Err(Failure::Unreadable(error)) => return Err(error).with_context(|| format!("reading {file}")),
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(
            out,
            "{:#}",
            json!({ "errors": errors.iter().map(object).collect::<Vec<_>>() })
        )?;
    } else {
        errors.iter().try_for_each(|error| writeln!(out, "error: {error}"))?;
        match errors.len() {
            0 => writeln!(out, "{file}: good")?,
            1 => writeln!(out, "{file}: 1 error")?,
            count => writeln!(out, "{file}: {count} errors")?,
        }
    }
    Ok(if errors.is_empty() {
        Outcome::Good
    } else {
        Outcome::Found
    })
}

fn object(problem: &Problem) -> Value {
    json!({
        "place": problem.place,
        "found": problem.found,
        "expected": problem.expected,
        "nearest": problem.nearest,
    })
}
