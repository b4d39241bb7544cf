//! `host-sim test`: runs request tests on the simulator.

use super::prebuilt::Prebuilt;
use super::problem::refused;
use super::{Outcome, style};
use anyhow::{Context, Result};
use host_sim::request_test::{self, Coverage, File, TestFailure, TestReport};
use host_sim::world::{Code, World};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One worker, with which round robin over all requests of a test is exact.
const WORKERS: usize = 1;

/// Runs request tests on the simulator, and says which routes and conditions no test reached.
///
/// A condition is reached when some request met it and another did not.
/// host-sim/examples/every_key_test.yaml explains every key of a file of tests, and `schema --of
/// test` is for editors.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files of tests; each names its configuration.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write the results as JUnit XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fail if less than this part of all routes and conditions was reached, from 0 to 100.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    fail_under: Option<u8>,
    /// Print one JSON object: `files` with their `tests`, `passed`, `failed`, and `coverage`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prebuilt: Prebuilt,
}

/// The results of all files.
struct Results<'f> {
    files: Vec<(&'f Path, TestReport)>,
    /// The coverage of each configuration: several files may test the same.
    coverage: Vec<Coverage>,
}

/// Prints the outcome of each test to stdout. [`Outcome::Found`]: a test failed, or the coverage is
/// too low.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    // All files are read first: one that cannot be read is wrong usage, and no report is printed.
    let files = arguments.files.iter().map(|path| {
        let file = File::read(path).map_err(|error| refused(path, error))?;
        Ok((path.as_path(), file))
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let results = Results::of(&files, &arguments.prebuilt.code()?);
    let mut out = anstream::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{:#}", results.object())?,
        false => results.write(&mut out, arguments.fail_under)?,
    }
    if let Some(path) = &arguments.junit {
        let xml = results.junit().to_string()?;
        fs::write(path, xml).with_context(|| path.display().to_string())?;
    }
    Ok(
        match results.failed() == 0 && !results.is_under(arguments.fail_under) {
            true => Outcome::Good,
            false => Outcome::Found,
        },
    )
}

impl<'f> Results<'f> {
    fn of(files: &[(&'f Path, File)], code: &Code) -> Results<'f> {
        let mut results = Results {
            files: Vec::new(),
            coverage: Vec::new(),
        };
        let mut configs: Vec<&Value> = Vec::new();
        for (path, file) in files {
            let report = request_test::run(file, || {
                let world = World::builder()
                    .workers(WORKERS)
                    .exchanges(&file.config)
                    .environment(file.environment.clone())
                    .code(code.clone());
                Ok(Box::new(world.start()?))
            });
            match configs.iter().position(|config| **config == file.config) {
                Some(same) => results.coverage[same].merge(&report.coverage),
                None => {
                    configs.push(&file.config);
                    results.coverage.push(report.coverage.clone());
                }
            }
            results.files.push((path, report));
        }
        results
    }

    fn tests(&self) -> usize {
        self.files
            .iter()
            .map(|(_, report)| report.outcomes.len())
            .sum()
    }

    fn failed(&self) -> usize {
        let outcomes = self.files.iter().flat_map(|(_, report)| &report.outcomes);
        outcomes.filter(|outcome| outcome.failure.is_some()).count()
    }

    /// How many routes and conditions were reached, and how many there are.
    fn reached(&self) -> (usize, usize) {
        let counts = self.coverage.iter().map(Coverage::count);
        counts.fold((0, 0), |(reached, of), (more, among)| {
            (reached + more, of + among)
        })
    }

    /// The coverage in percent, rounded down, so that 100 is all. It is 100 if there is nothing to
    /// reach.
    fn percent(&self) -> usize {
        let (reached, of) = self.reached();
        (100 * reached).checked_div(of).unwrap_or(100)
    }

    fn is_under(&self, least: Option<u8>) -> bool {
        least.is_some_and(|least| self.percent() < usize::from(least))
    }

    fn write(&self, out: &mut impl Write, fail_under: Option<u8>) -> io::Result<()> {
        let (good, bad, odd, faint) = (style::GOOD, style::BAD, style::ODD, style::FAINT);
        for (path, report) in &self.files {
            writeln!(out, "{}", path.display())?;
            for outcome in &report.outcomes {
                match &outcome.failure {
                    None => {
                        writeln!(out, "  {good}✓{good:#} {}", outcome.name)?;
                        for note in &outcome.notes {
                            writeln!(out, "      {odd}note{odd:#}: {note}")?;
                        }
                    }
                    Some(failed) => {
                        writeln!(out, "  {bad}✗{bad:#} {}", outcome.name)?;
                        write_failed(out, failed)?;
                    }
                }
            }
        }
        for coverage in &self.coverage {
            for route in coverage.unreached_routes() {
                writeln!(out, "{odd}not reached{odd:#}: route {route}")?;
            }
            // The conditions of a route that no request reached need not be listed.
            let unreached: Vec<_> = coverage.unreached_routes().collect();
            for unreached in coverage
                .unreached_conditions()
                .filter(|it| !unreached.contains(&it.route))
            {
                let (route, condition, what) =
                    (unreached.route, unreached.condition, unreached.what);
                writeln!(
                    out,
                    "{odd}not reached{odd:#}: route {route}: {condition} {faint}({what}){faint:#}"
                )?;
            }
        }
        let (tests, failed) = (self.tests(), self.failed());
        let colour = if failed == 0 { good } else { bad };
        writeln!(
            out,
            "{colour}{} passed, {failed} failed{colour:#}",
            tests - failed
        )?;
        let ((reached, of), percent) = (self.reached(), self.percent());
        write!(
            out,
            "{reached} of {of} routes and conditions reached, {percent} %"
        )?;
        match fail_under {
            Some(least) if self.is_under(fail_under) => {
                writeln!(out, ": {bad}less than {least} %{bad:#}")
            }
            _ => writeln!(out),
        }
    }

    fn object(&self) -> Value {
        let test = |outcome: &request_test::TestOutcome| {
            let failure = outcome.failure.as_ref().map(|failed| {
                let differences = failed
                    .differences
                    .iter()
                    .map(|it| json!({ "place": it.place, "expected": it.expected, "got": it.got }));
                json!({
                    "request": failed.request,
                    "error": failed.error,
                    "differences": differences.collect::<Vec<_>>(),
                    "hint": failed.hint,
                })
            });
            json!({
                "name": outcome.name,
                "passed": failure.is_none(),
                "failure": failure,
                "notes": outcome.notes,
            })
        };
        let files = self.files.iter().map(
            |(path, report)| json!({ "file": path, "tests": report.outcomes.iter().map(test).collect::<Vec<_>>() }),
        );
        let coverages = || self.coverage.iter();
        let conditions = coverages().flat_map(Coverage::unreached_conditions);
        let conditions = conditions
            .map(|it| json!({ "route": it.route, "condition": it.condition, "what": it.what }));
        let (reached, of) = self.reached();
        json!({
            "files": files.collect::<Vec<_>>(),
            "passed": self.tests() - self.failed(),
            "failed": self.failed(),
            "coverage": {
                "reached": reached,
                "of": of,
                "percent": self.percent(),
                "unreached_routes": coverages().flat_map(Coverage::unreached_routes).collect::<Vec<_>>(),
                "unreached_conditions": conditions.collect::<Vec<_>>(),
            },
        })
    }

    fn junit(&self) -> quick_junit::Report {
        let mut junit = quick_junit::Report::new("host-sim test");
        for (path, report) in &self.files {
            let mut suite = TestSuite::new(path.display().to_string());
            for outcome in &report.outcomes {
                let status = match &outcome.failure {
                    None => TestCaseStatus::success(),
                    Some(failed) => {
                        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                        status
                            .set_message(failed.request.clone())
                            .set_description(failed.to_string());
                        status
                    }
                };
                let mut case = TestCase::new(outcome.name.clone(), status);
                case.set_classname(path.display().to_string())
                    .set_time(outcome.took);
                suite.add_test_case(case);
            }
            junit.add_test_suite(suite);
        }
        junit
    }
}

fn write_failed(out: &mut impl Write, failed: &TestFailure) -> io::Result<()> {
    let (good, bad, strong, faint) = (style::GOOD, style::BAD, style::STRONG, style::FAINT);
    let indented = |out: &mut dyn Write, text: &str| {
        text.lines()
            .try_for_each(|line| writeln!(out, "      {line}"))
    };
    indented(out, &failed.request)?;
    if let Some(error) = &failed.error {
        indented(out, error)?;
    }
    for difference in &failed.differences {
        writeln!(out, "        {strong}{}{strong:#}", difference.place)?;
        writeln!(
            out,
            "          {good}- expected {}{good:#}",
            difference.expected
        )?;
        writeln!(out, "          {bad}+ got      {}{bad:#}", difference.got)?;
    }
    match &failed.hint {
        Some(hint) => writeln!(out, "        {faint}{hint}{faint:#}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
config: { routes: [
    { name: a, match: { path: { prefix: /a }, headers: [ { name: x, exact: "1" } ] }, respond: { status: 200 } },
    { name: b, match: { methods: [GET], client_ip: [127.0.0.1] }, respond: { status: 201 } },
    { name: c, respond: { status: 202 } } ] }
tests:
  - { name: good, request: { url: "http://h/b" }, expect: { route: b } }
  - { name: "<bad>", request: { url: "http://h/a" }, expect: { route: a, status: 200, body: { present: true } } }
"#;

    fn results(files: &[(&'static Path, File)]) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        Results::of(files, &Code::default())
            .write(&mut out, Some(30))
            .unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    fn file(text: &str) -> (&'static Path, File) {
        (
            Path::new("shop_test.yaml"),
            File::parse(text, |_| unreachable!()).unwrap(),
        )
    }

    #[test]
    fn report_names_what_passed_what_failed_and_what_no_test_reached() {
        assert_eq!(
            results(&[file(FILE)]),
            "shop_test.yaml\n  ✓ good\n  ✗ <bad>\n      GET http://h/a\n        route\n          - expected \"a\"\n          \
             + got      \"b\"\n        status\n          - expected 200\n          + got      201\n        \
             why not `a`: header x: exact 1, got nothing\n\
             not reached: route a\nnot reached: route c\n\
             not reached: route b: method: GET (never false)\nnot reached: route b: client_ip: 127.0.0.1/32 (never false)\n\
             1 passed, 1 failed\n2 of 7 routes and conditions reached, 28 %: less than 30 %\n"
        );
    }

    #[test]
    fn refusals_are_told_where_a_test_says_nothing_of_them() {
        let text = |more: &str| {
            format!(
                "config: {{ rate_limits: {{ few: {{ requests: 2, per: 1m, key: [] }} }}, \
                 routes: [{{ name: a, rate_limits: [few], pass: true }}] }}\n\
                 tests: [{{ name: ten, request: {{ url: \"http://h/\" }}, repeat: 10, {more} }}]"
            )
        };
        let told = results(&[file(&text("expect: { route: a }"))]);
        assert!(
            told.contains("✓ ten\n      note: 8 of 10 answered 429 by limit few\n"),
            "{told}"
        );
        let counted = "expect_counts: { action: { pass: 2, rate_limited: { min: 8, max: 8 } } }";
        let told = results(&[file(&text(counted))]);
        assert!(told.contains("✓ ten\n") && !told.contains("note"), "{told}");
        let told = results(&[file(&text("expect_counts: { route: { a: 9 } }"))]);
        assert!(told.contains("8 of 10 answered 429 by limit few"), "{told}");
    }

    #[test]
    fn files_of_one_configuration_reach_its_routes_together() {
        let more = FILE.split("tests:").next().unwrap().to_owned()
            + r#"tests: [ { name: all, steps: [
                { request: { url: "http://h/a", headers: [[x, 1]] }, expect: { route: a } },
                { request: { method: PUT, url: "http://h/" }, expect: { route: c } },
                { request: { url: "http://h/", client_ip: 10.0.0.1 }, expect: { route: c } } ] } ]"#;
        let files = [file(FILE), file(&more)];
        let results = Results::of(&files, &Code::default());
        assert_eq!((results.reached(), results.percent()), ((7, 7), 100));
        assert!(!results.is_under(Some(100)));
    }

    #[test]
    fn json_and_junit_say_what_the_text_says() {
        let files = [file(FILE)];
        let results = Results::of(&files, &Code::default());
        let object = results.object();
        assert_eq!(
            (&object["passed"], &object["failed"]),
            (&json!(1), &json!(1))
        );
        let failure = &object["files"][0]["tests"][1]["failure"];
        assert_eq!(
            failure["differences"][0],
            json!({ "place": "route", "expected": "\"a\"", "got": "\"b\"" })
        );
        assert_eq!(object["coverage"]["unreached_routes"], json!(["a", "c"]));
        assert_eq!(object["coverage"]["percent"], json!(28));
        let xml = results.junit().to_string().unwrap();
        assert!(
            xml.contains(r#"tests="2" skipped="0" failures="1""#),
            "{xml}"
        );
        assert!(
            xml.contains("&lt;bad>") || xml.contains("&lt;bad&gt;"),
            "{xml}"
        );
        assert!(xml.contains("status: expected 200, got 201"), "{xml}");
    }
}
