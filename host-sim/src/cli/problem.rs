//! Problems of files as people read them: with the line and the column.

use anyhow::anyhow;
use host_sim::configuration::{self, LoadError};
use pointsman_core::config::problem::{Problem, Problems};
use pointsman_locate::{Positions, advice};
use std::path::Path;

/// The most errors of a file that are printed for people.
pub(super) const MAX_SHOWN: usize = 100;

/// What is wrong with what stands there, and what would be right: what another product's word is
/// here, if it is known, and else what is expected.
pub(super) fn said(problem: &Problem) -> String {
    let Problem {
        place,
        found,
        expected,
        nearest,
    } = problem;
    if let Some(advice) = advice(place, found, expected) {
        return format!("{found}; {advice}");
    }
    match nearest {
        Some(nearest) => format!("{found}; expected {expected}; did you mean `{nearest}`?"),
        None => format!("{found}; expected {expected}"),
    }
}

/// Prints an error to stderr.
pub(crate) fn tell(error: &anyhow::Error) {
    eprintln!("host-sim: {}", without_numbers(&format!("{error:#}")));
}

/// `No such file or directory (os error 2)` without the number, which says nothing more.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_number = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
        match part.split_once(')') {
            Some((number, rest)) if is_number(number) => told += rest,
            _ => told += &format!(" (os error {part}"),
        }
    }
    told
}

/// Why a file of tests or a scenario was refused, a line for each problem:
/// `shop_test.yaml:3:9: tests[0].name: missing; expected a name`.
pub(super) fn refused(path: &Path, error: LoadError) -> anyhow::Error {
    let problems = match error {
        LoadError::Problems(problems) => problems.0,
        error => return anyhow!(error).context(path.display().to_string()),
    };
    let text = configuration::text_of(path).unwrap_or_default();
    anyhow!(lines(&path.display().to_string(), &text, &problems).join("\n"))
}

/// Why a configuration was refused whose text was read already, a line for each problem.
pub(super) fn refused_text(path: &Path, text: &str, problems: &Problems) -> anyhow::Error {
    let name = match path.as_os_str() == "-" {
        true => "<stdin>".to_owned(),
        false => path.display().to_string(),
    };
    anyhow!(lines(&name, text, &problems.0).join("\n"))
}

/// The same, or why nothing was read.
pub(super) fn unread(path: &Path, text: &str, error: LoadError) -> anyhow::Error {
    match error {
        LoadError::Problems(problems) => refused_text(path, text, &problems),
        error => anyhow!(error).context(format!("reading {}", path.display())),
    }
}

fn lines(name: &str, text: &str, problems: &[Problem]) -> Vec<String> {
    let positions = Positions::read(text);
    let line = |problem: &Problem| {
        let at = match &positions {
            Some(positions) => positions.find(&problem.place),
            None => Positions::written(&problem.place),
        };
        let at = at.map_or(String::new(), |at| format!(":{}:{}", at.line, at.column));
        format!("{name}{at}: {}: {}", problem.place, said(problem))
    };
    let mut lines: Vec<_> = problems.iter().take(MAX_SHOWN).map(line).collect();
    if let Some(more @ 1..) = problems.len().checked_sub(MAX_SHOWN) {
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_sim::request_test::File;
    use host_sim::simulation::scenario::Scenario;

    #[test]
    fn errors_of_the_system_have_no_numbers() {
        for (text, expected) in [
            ("a: No such file (os error 2)", "a: No such file"),
            (
                "Refused (os error 111); is it up (or down)?",
                "Refused; is it up (or down)?",
            ),
            ("(os error x) a (os error x", "(os error x) a (os error x"),
        ] {
            assert_eq!(without_numbers(text), expected);
        }
    }

    fn of_tests(text: &str) -> Vec<String> {
        let shop = "routes: [{ name: a, pool: b }, { name: c, pass: false }]";
        let read = |_: &str| Ok(configuration::parse(shop)?);
        let problems = File::parse(text, read).unwrap_err();
        lines("a_test.yaml", text, &problems.0)
    }

    #[test]
    fn every_problem_of_a_file_of_tests_has_its_line_and_column() {
        let text = "
config:
  routes: [{ name: a, pool: none }]
  rules: 1
tests:
  - name: 1
    request: { url: x, ulr: y }
    repeat: 0
    expect: { rout: a }
  - request: { url: 'http://h/' }
    expect: {}
";
        let lines = of_tests(text);
        let begin: Vec<_> = lines
            .iter()
            .map(|line| line.split("; expected").next().unwrap_or_default())
            .collect();
        assert_eq!(
            begin,
            [
                "a_test.yaml:3:29: config.routes[0].pool: no pool is named \"none\"",
                "a_test.yaml:4:10: config.rules: unknown key",
                "a_test.yaml:6:11: tests[0].name: the number 1",
                "a_test.yaml:7:21: tests[0].request.url: `x` does not start with http:// or https://",
                "a_test.yaml:7:29: tests[0].request.ulr: unknown key",
                "a_test.yaml:8:13: tests[0].repeat: the number 0",
                "a_test.yaml:9:21: tests[0].expect.rout: unknown key",
                "a_test.yaml:10:5: tests[1].name: missing",
            ]
        );
    }

    #[test]
    fn problems_of_another_file_are_told_each() {
        let lines = of_tests("config: shop.yaml\ntests: [{ name: a, request: {}, expect: {} }]");
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, begin) in lines.iter().zip([
            "a_test.yaml:1:9: config: shop.yaml: routes[0].pool: no pool is named \"b\"",
            "a_test.yaml:1:9: config: shop.yaml: routes[1].pass: ",
            "a_test.yaml:2:20: tests[0].request.url: missing",
        ]) {
            assert!(line.starts_with(begin), "{line}");
        }
    }

    #[test]
    fn a_scenario_without_a_configuration_tells_what_else_is_wrong() {
        let text = "
config: { routes: [{ name: r, pool: p }] }
duration: 10
targets: { blue: { concurrency: 0 } }
traffic: [{ name: t, rate: [{ at: 2, per_second: 1 }, { at: 1s }], request: { url: 'http://h/' } }]
faults: [{ at: 1s, target: blue, slow: 0 }, { at: 1s, trap: 9 }, { at: 1s, reload: 7 }]
expect: [{ errors: 3, from: 1 }, { share: { max: 1 }, target: green, traffic: x }]
";
        let problems = Scenario::parse("s", text, Path::new("")).unwrap_err();
        let lines = lines("s.yaml", text, &problems.0);
        let places: Vec<_> = lines
            .iter()
            .map(|line| line.split(": ").nth(1).unwrap_or_default())
            .collect();
        assert_eq!(
            places,
            [
                "config.routes[0].pool",
                "duration",
                "targets.blue.concurrency",
                "traffic[0].rate[0].at",
                "traffic[0].rate[1].per_second",
                "faults[0].slow",
                "faults[1].trap",
                "faults[2].reload",
                "expect[0].errors",
                "expect[0].from",
                "expect[1].traffic",
            ]
        );
        assert!(lines.iter().all(|line| line.starts_with("s.yaml:")));
    }
}
