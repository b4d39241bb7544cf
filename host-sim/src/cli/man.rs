//! `host-sim man`: a page of the manual.

use super::Outcome;
use anyhow::Result;
use clap_mangen::Man;
use std::io::{self, Write};

/// Prints the page of the manual, with every command: `host-sim man | man -l -`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Prints the page to stdout: that of the program, and behind it each command with its options.
pub(crate) fn run(mut command: clap::Command) -> Result<Outcome> {
    command.build();
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text)?;
    for command in command
        .get_subcommands()
        .filter(|it| it.get_name() != "help")
    {
        let man = Man::new(command.clone());
        writeln!(
            text,
            ".SH \"HOST-SIM {}\"",
            command.get_name().to_uppercase()
        )?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
    }
    io::stdout().lock().write_all(&text)?;
    Ok(Outcome::Good)
}
