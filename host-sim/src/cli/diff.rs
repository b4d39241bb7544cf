//! `host-sim diff`: what a change of the configuration does to requests.

use super::{Outcome, problem, style};
use anyhow::{Context, Result};
use host_sim::diff::log::{self, LogCounts};
use host_sim::diff::report::{self, Format};
use host_sim::diff::{self, Tables};
use host_sim::{configuration, environment};
use std::io::Write;
use std::path::PathBuf;

/// Says which requests a new configuration treats differently, with an example of each difference,
/// and what else differs. Exit status 1: something does.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration as it is: YAML or JSON, or an Envoy configuration with one Wasm filter.
    old: PathBuf,
    /// The configuration as it is to be.
    new: PathBuf,
    /// An access log: how many of its requests each difference concerns. Envoy's JSON or text,
    /// common or combined, one line for each request; or a HAR file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The host of requests whose log does not tell it.
    #[arg(long, value_name = "HOST", requires = "log")]
    log_host: Option<String>,
    /// How to print it. Markdown is a summary for a pull request, of at most 60 lines.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
}

/// Prints the differences to stdout. [`Outcome::Found`]: there are some.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let read = |path: &PathBuf| {
        let unread = |text: &str, error| problem::unread(path, text, error);
        let text = configuration::text_of(path).map_err(|error| unread("", error))?;
        let tree = configuration::tree_of(&text, path).map_err(|error| unread(&text, error))?;
        let config = environment::load_anywhere(&tree);
        let config = config.map_err(|problems| problem::refused_text(path, &text, &problems))?;
        anyhow::Ok((tree, config))
    };
    let (old, new) = (read(&arguments.old)?, read(&arguments.new)?);
    let (old_pair, new_pair) = ((&old.1, &old.0), (&new.1, &new.0));
    let tables = Tables::new(old_pair, new_pair);
    let (diff, keys) = tables.compare(diff::settings(old_pair, new_pair));
    let counts: Option<LogCounts> = match &arguments.log {
        None => None,
        Some(path) => {
            let host = arguments.log_host.as_deref();
            let counts = log::count(path, host, [&old.0, &new.0], &diff, &keys);
            Some(counts.with_context(|| format!("reading {}", path.display()))?)
        }
    };
    let mut out = anstream::stdout().lock();
    let report = report::Report {
        diff: &diff,
        counts: counts.as_ref(),
        files: [&arguments.old, &arguments.new],
        strong: style::STRONG,
        faint: style::FAINT,
    };
    let format = if arguments.json {
        Format::Json
    } else {
        arguments.format
    };
    write!(out, "{}", report.text(format))?;
    Ok(if diff.is_empty() {
        Outcome::Good
    } else {
        Outcome::Found
    })
}
