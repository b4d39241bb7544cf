//! `host-sim completions`: a shell completes the commands and their options.

use super::Outcome;
use anyhow::Result;
use clap_complete::Shell;
use std::io::{self, Write};

/// Prints the completions of a shell: `host-sim completions bash > /etc/bash_completion.d/host-sim`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints them to stdout.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<Outcome> {
    // (Printing to a closed pipe itself, the library would panic.)
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "host-sim", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(Outcome::Good)
}
