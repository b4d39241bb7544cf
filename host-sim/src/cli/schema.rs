//! `host-sim schema`: the JSON Schemas of the files that people write.

use super::Outcome;
use anyhow::Result;
use clap::ValueEnum;
use host_sim::schema::{self, Of};
use std::io::Write;

/// Prints the JSON Schema of Pointsman's configuration, of a file of tests or of a scenario, for
/// completion in editors.
///
/// They are shipped as envoy-config/pointsman.schema.json, pointsman-test.schema.json and
/// pointsman-scenario.schema.json. In editors with a YAML language server the
/// first line of a configuration can name it: `# yaml-language-server:
/// $schema=pointsman.schema.json`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the schema is of.
    #[arg(long, value_enum, default_value_t = Kind::Configuration)]
    of: Kind,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Configuration,
    Test,
    Scenario,
}

/// Prints the schema to stdout.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let of = match arguments.of {
        Kind::Configuration => Of::Configuration,
        Kind::Test => Of::Test,
        Kind::Scenario => Of::Scenario,
    };
    writeln!(
        std::io::stdout().lock(),
        "{:#}",
        schema::schema(of).as_value()
    )?;
    Ok(Outcome::Good)
}
