//! `host-sim schema`: the JSON Schema of the configuration.

use super::Outcome;
use anyhow::Result;
use host_sim::schema;
use std::io::Write;

/// Prints the JSON Schema of Pointsman's configuration, for completion in editors.
///
/// It is shipped as envoy-config/pointsman.schema.json. In editors with a YAML language server the
/// first line of a configuration can name it: `# yaml-language-server:
/// $schema=pointsman.schema.json`
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Prints the schema to stdout.
pub(crate) fn run(_: &Arguments) -> Result<Outcome> {
    writeln!(
        std::io::stdout().lock(),
        "{:#}",
        schema::schema().as_value()
    )?;
    Ok(Outcome::Good)
}
