//! `host-sim test`: runs request tests on the simulator.

use super::Outcome;
use anyhow::{Context, Result};
use host_sim::request_test::{self, File, Report};
use host_sim::world::World;
use std::io::{self, Write};
use std::path::PathBuf;

/// With one worker, round robin over all requests of a test is exact.
const WORKERS: usize = 1;

/// Runs request tests on the simulator, and says which routes no test reached.
#[derive(clap::Args)]
pub struct Arguments {
    /// Files of tests; each names its configuration.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Prints what came of each test to stdout.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    // All or nothing: a file that cannot be read is wrong usage, and no half report says otherwise.
    let files = arguments.files.iter().map(|path| {
        let file = File::read(path).with_context(|| path.display().to_string())?;
        Ok((path, file))
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let mut out = io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for (path, file) in &files {
        let report = request_test::run(file, || Ok(Box::new(World::of(&file.config, WORKERS)?)));
        writeln!(out, "{}", path.display())?;
        write_report(&mut out, &report)?;
        let failures = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_some())
            .count();
        failed += failures;
        passed += report.outcomes.len() - failures;
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 { Outcome::Good } else { Outcome::Found })
}

fn write_report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for outcome in &report.outcomes {
        match &outcome.failure {
            None => writeln!(out, "  ✓ {}", outcome.name)?,
            Some(failure) => {
                writeln!(out, "  ✗ {}", outcome.name)?;
                failure.lines().try_for_each(|line| writeln!(out, "      {line}"))?;
            }
        }
    }
    match report.unreached[..] {
        [] => Ok(()),
        _ => writeln!(out, "  no test reached: {}", report.unreached.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_what_passed_what_failed_and_what_no_test_reached() {
        let outcome = |name: &str, failure: Option<&str>| request_test::Outcome {
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
        };
        let report = Report {
            outcomes: vec![
                outcome("good", None),
                outcome("bad", Some("GET http://h/\n  cluster: expected")),
            ],
            unreached: vec!["a".to_owned(), "b".to_owned()],
        };
        let mut out = Vec::new();
        write_report(&mut out, &report).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  ✓ good\n  ✗ bad\n      GET http://h/\n        cluster: expected\n  no test reached: a, b\n"
        );
    }
}
