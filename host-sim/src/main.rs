//! The command line of Pointsman. Each command is a module of [`cli`].

mod cli;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use host_sim::world::Trap;
use std::io;
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
    Completions(cli::completions::Arguments),
    Demo(cli::demo::Arguments),
    Diff(cli::diff::Arguments),
    Explain(cli::explain::Arguments),
    Faults(cli::faults::Arguments),
    Import(cli::import::Arguments),
    Init(cli::init::Arguments),
    Man(cli::man::Arguments),
    Package(cli::package::Arguments),
    Run(cli::run::Arguments),
    Schema(cli::schema::Arguments),
    Status(cli::status::Arguments),
    Test(cli::test::Arguments),
}

fn main() -> ExitCode {
    tell_of_traps();
    let outcome = match arguments().command {
        Command::Bench(arguments) => cli::bench::run(&arguments),
        Command::Check(arguments) => cli::check::run(&arguments),
        Command::Completions(arguments) => cli::completions::run(&arguments, Arguments::command()),
        Command::Demo(arguments) => cli::demo::run(&arguments),
        Command::Diff(arguments) => cli::diff::run(&arguments),
        Command::Explain(arguments) => cli::explain::run(&arguments),
        Command::Faults(arguments) => cli::faults::run(&arguments),
        Command::Import(arguments) => cli::import::run(&arguments),
        Command::Init(arguments) => cli::init::run(&arguments),
        Command::Man(_) => cli::man::run(Arguments::command()),
        Command::Package(arguments) => cli::package::run(&arguments),
        Command::Run(arguments) => cli::run::run(&arguments),
        Command::Schema(arguments) => cli::schema::run(&arguments),
        Command::Status(arguments) => cli::status::run(&arguments),
        Command::Test(arguments) => cli::test::run(&arguments),
    };
    match outcome {
        Ok(cli::Outcome::Good) => ExitCode::SUCCESS,
        Ok(cli::Outcome::Found) => ExitCode::from(1),
        // Nobody reads any more: as a shell tells of a program that a closed pipe ended.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            cli::problem::tell(&error);
            ExitCode::from(2)
        }
    }
}

/// A module that traps is a finding, whatever the command was about: it says what a proxy would do.
fn tell_of_traps() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let Some(trap) = panic.payload().downcast_ref::<Trap>() else {
            return otherwise(panic);
        };
        eprintln!("host-sim: {trap}");
        std::process::exit(1);
    }));
}

/// What was typed. `--version` reads a module, so its text is made only where it is asked for.
fn arguments() -> Arguments {
    let is_version = |word: &std::ffi::OsString| word == "--version" || word == "-V";
    let mut command = Arguments::command();
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| is_version(&word))
    {
        let text: &'static str = cli::version::text().leak();
        command = command.version(text);
    }
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
