//! `host-sim package`: the module as it ships.

use super::Outcome;
use anyhow::Result;
use host_sim::package::{self, Package};
use std::io::Write;
use std::path::PathBuf;

/// Builds the module and writes it as it ships: without the exports that it has no use for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to. Default: `target/package`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints to stdout what was written and what was left out.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let directory = match &arguments.out {
        Some(directory) => directory.clone(),
        None => package::default_directory()?,
    };
    let Package {
        directory,
        files,
        removed,
    } = package::write(&directory)?;
    let mut out = std::io::stdout().lock();
    for file in files {
        let path = directory.join(file.name);
        writeln!(out, "{}, {} bytes", path.display(), file.size)?;
        writeln!(out, "  sha256 {}", file.sha256)?;
    }
    writeln!(
        out,
        "without these exports, which the filter has no use for:"
    )?;
    for name in removed {
        writeln!(out, "  {name}")?;
    }
    Ok(Outcome::Good)
}
