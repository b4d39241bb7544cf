//! The command line of Pointsman. Each command is a module of [`cli`].

mod cli;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Pointsman's command line: try it, check it, ask it.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 good, 1 it found something, 2 wrong usage or it could not be done."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(cli::bench::Arguments),
    Check(cli::check::Arguments),
    Demo(cli::demo::Arguments),
    Explain(cli::explain::Arguments),
    Faults(cli::faults::Arguments),
    Import(cli::import::Arguments),
    Package(cli::package::Arguments),
    Run(cli::run::Arguments),
    Schema(cli::schema::Arguments),
    Test(cli::test::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Bench(arguments) => cli::bench::run(&arguments),
        Command::Check(arguments) => cli::check::run(&arguments),
        Command::Demo(arguments) => cli::demo::run(&arguments),
        Command::Explain(arguments) => cli::explain::run(&arguments),
        Command::Faults(arguments) => cli::faults::run(&arguments),
        Command::Import(arguments) => cli::import::run(&arguments),
        Command::Package(arguments) => cli::package::run(&arguments),
        Command::Run(arguments) => cli::run::run(&arguments),
        Command::Schema(arguments) => cli::schema::run(&arguments),
        Command::Test(arguments) => cli::test::run(&arguments),
    };
    match outcome {
        Ok(cli::Outcome::Good) => ExitCode::SUCCESS,
        Ok(cli::Outcome::Found) => ExitCode::from(1),
        Err(error) => {
            eprintln!("host-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
