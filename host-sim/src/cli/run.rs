//! `host-sim run`: plays traffic over virtual time, with faults, and reports.

use super::Outcome;
use super::prebuilt::Prebuilt;
use super::problem::refused;
use anyhow::{Context, Result};
use chrono::DateTime;
use host_sim::simulation::scenario::Scenario;
use host_sim::simulation::{self, Chooser, report, summary};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;
use std::{env, fs};

/// Plays traffic over time on simulated workers, with faults, and reports.
///
/// host-sim/scenarios/every_key.yaml explains every key of a scenario, and `schema --of scenario`
/// is for editors. `$SOURCE_DATE_EPOCH`, in seconds, is the date in the report, if it is set.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The scenario, in YAML.
    scenario: PathBuf,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write the report, one HTML file. Default: the scenario's name with `.html`, in the
    /// current directory; with `--json`, none.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prebuilt: Prebuilt,
}

/// What the report says of this program, and of today: `$SOURCE_DATE_EPOCH`, in seconds, where a
/// report must have the same bytes each time.
fn program() -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().context("$SOURCE_DATE_EPOCH")?,
        Err(_) => now.as_secs() as i64,
    };
    let today = DateTime::from_timestamp(seconds, 0).context("$SOURCE_DATE_EPOCH")?;
    let commit = option_env!("POINTSMAN_COMMIT");
    let commit = commit.map_or(String::new(), |commit| format!(" (commit {commit})"));
    Ok(format!(
        "host-sim {}{commit}, {}",
        env!("CARGO_PKG_VERSION"),
        today.format("%Y-%m-%d")
    ))
}

/// Prints the summary to stdout. [`Outcome::Found`]: an expectation of the scenario does not hold.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let path = &arguments.scenario;
    let mut scenario = Scenario::read(path).map_err(|error| refused(path, error))?;
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    let run = simulation::run_code(&scenario, Chooser::Filter, arguments.prebuilt.code()?)?;
    let verdicts = simulation::judge(&scenario, &run);
    let default = || (!arguments.json).then(|| PathBuf::from(format!("{}.html", scenario.name)));
    let path = arguments.report.clone().or_else(default);
    if let Some(path) = &path {
        fs::write(path, report::html(&scenario, &run, &verdicts, &program()?))
            .with_context(|| path.display().to_string())?;
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{:#}", summary::json(&scenario, &run, &verdicts))?;
    } else {
        summary::write(&mut out, &scenario, &run, &verdicts)?;
        path.iter()
            .try_for_each(|path| writeln!(out, "report: {}", path.display()))?;
    }
    Ok(match verdicts.iter().all(|verdict| verdict.good) {
        true => Outcome::Good,
        false => Outcome::Found,
    })
}
