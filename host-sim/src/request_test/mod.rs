//! Request tests: files of requests with what is expected of each, run on any [`Host`].
//! `host-sim/README.md` shows the format ("test"), and a test reads what it shows. In detail:
//!
//! - Text is UTF-8. Where a header's value or a URL needs other bytes it is `{ bytes: "\xff" }`:
//!   each character of the string, at most U+00FF, is one byte.
//! - Whole numbers and booleans are taken as their text in header values (`7`, and `7.0` too, is
//!   `7`); other numbers must be quoted, since YAML would change them (`1.10`).
//! - `expect` has the keys of [`explain`]'s object, and `body`, the response's. It holds for every
//!   repetition.
//! - A matcher may stand in place of any expected value: `one_of: […]`, `not: …`, `present: true`,
//!   `regex: …` (as in the configuration, on bytes and on the whole value) and `bytes: …`. In
//!   `trace`, lists compare item by item, and of an object only the keys that are given.
//! - `cookies: keep` sends the cookies that earlier steps of the test were given, where a browser
//!   would send them (RFC 6265): by host, path and scheme. The test's client ignores when a cookie
//!   expires, so that it is the filter that judges an old one; only `Max-Age=0` removes it.
//! - `after` is waited for once, before the first of `repeat` requests.
//! - `expect_counts` says how often each value of a key of explain's object occurs in all
//!   repetitions together. A value that is not named must not occur. A count is a number,
//!   `{ min, max }` (either of them is enough), or `{ about: n }`: n of `repeat` independent draws,
//!   give or take what chance exceeds once in 5 × 10^9 tests ([`compare::Matcher::about`]).
//! - `connection: new` drops the connections that the client kept, so that another worker may get
//!   the request, and ends the requests that are held.
//! - `connection: hold` has the response begin and not end: the request stays in flight, on a
//!   connection of its own, until a step with `connection: new` or the end of the test. The body is
//!   not compared.
//!
//! Each test runs on a host of its own, so that no test depends on another. (Real Envoys are shared
//! by the tests of a file, because they take seconds to start.)

mod compare;
mod cookies;
mod coverage;
mod parse;
#[cfg(test)]
mod tests;

pub use compare::Difference;
pub use coverage::{Coverage, Unreached};
pub use parse::{File, MAX_REPEAT, Test, TestStep};

use crate::exchange::{ExchangeRequest, ExchangeResult, Host, shown};
use crate::explain;
use compare::count_differences;
use cookies::CookieJar;
use pointsman_core::config::Config;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// The outcome of one test.
#[derive(Debug)]
pub struct TestOutcome {
    /// The test's name.
    pub name: String,
    /// Why the test failed. None: it passed.
    pub failure: Option<TestFailure>,
    /// What happened beside what is expected: requests that a limit refused, where the test says
    /// nothing of that.
    pub notes: Vec<String>,
    /// How long the test took, in real time.
    pub took: Duration,
}

/// Why a test failed, at the first request whose result differs from what is expected.
#[derive(Debug, PartialEq)]
pub struct TestFailure {
    /// The request: `step 2, request 1 of 2: GET http://h/p`. Empty where none was sent yet.
    pub request: String,
    /// Why the exchange could not be carried out or explained.
    pub error: Option<String>,
    /// Every difference between what is expected and the result.
    pub differences: Vec<Difference>,
    /// Why the expected route did not match.
    pub hint: Option<String>,
}

impl TestFailure {
    fn error(request: String, error: String) -> TestFailure {
        TestFailure {
            request,
            error: Some(error),
            differences: Vec::new(),
            hint: None,
        }
    }
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differences = self
            .differences
            .iter()
            .map(|difference| format!("  {difference}"));
        let request = Some(self.request.clone()).filter(|request| !request.is_empty());
        let lines = request
            .into_iter()
            .chain(self.error.clone())
            .chain(differences);
        let hint = self.hint.iter().map(|hint| format!("  {hint}"));
        f.write_str(&lines.chain(hint).collect::<Vec<_>>().join("\n"))
    }
}

/// The outcomes of all tests of a file.
#[derive(Debug)]
pub struct TestReport {
    /// One outcome for each test, in the order of the file.
    pub outcomes: Vec<TestOutcome>,
    /// The routes and conditions that the tests' requests reached.
    pub coverage: Coverage,
}

/// Runs every test of a file. `host` is called once for each test and returns the host to run it
/// on, which should have no state of earlier tests.
pub fn run<'h>(
    file: &File,
    mut host: impl FnMut() -> Result<Box<dyn Host + 'h>, String>,
) -> TestReport {
    let mut coverage = Coverage::new(&file.loaded);
    let outcome = |test: &Test| {
        let started = Instant::now();
        let mut notes = Vec::new();
        let result = match host() {
            Ok(mut host) => run_test(test, file, &mut *host, &mut coverage, &mut notes),
            Err(error) => Err(TestFailure::error(String::new(), error)),
        };
        TestOutcome {
            name: test.name.clone(),
            failure: result.err(),
            notes,
            took: started.elapsed(),
        }
    };
    let outcomes = file.tests.iter().map(outcome).collect();
    TestReport { outcomes, coverage }
}

fn run_test(
    test: &Test,
    file: &File,
    host: &mut dyn Host,
    coverage: &mut Coverage,
    notes: &mut Vec<String>,
) -> Result<(), TestFailure> {
    let mut jar = CookieJar::default();
    for (number, step) in test.steps.iter().enumerate() {
        let place = |repetition: u32| {
            let (method, url) = (&step.request.method, step.request.url());
            let mut place = format!("{} {}", shown(method), shown(&url));
            if step.repeat > 1 {
                place = format!("request {} of {}: {place}", repetition + 1, step.repeat);
            }
            if test.steps.len() > 1 {
                place = format!("step {}, {place}", number + 1);
            }
            place
        };
        if step.new_connection {
            host.reconnect();
        }
        if !step.after.is_zero() {
            host.advance(step.after);
        }
        let mut counts = BTreeMap::new();
        let mut refused = Refused::default();
        for repetition in 0..step.repeat {
            let mut request = step.request.clone();
            if step.keep_cookies {
                jar.add_to(&mut request);
            }
            let failed = |error| TestFailure::error(place(repetition), error);
            let (object, result) = match file.manager.admit(&request) {
                Ok(admitted) => {
                    let result = match step.holds {
                        true => host.hold(&admitted),
                        false => host.exchange(&admitted),
                    };
                    let result = result.map_err(failed)?;
                    let object = explain::object(&file.loaded, &admitted, &result);
                    explain::with_request(&file.loaded, &admitted, |request, client| {
                        coverage.note(&file.loaded, request, client);
                    });
                    (object.map_err(failed)?, result)
                }
                Err(answer) => {
                    let object = explain::answered_by_proxy(&answer);
                    (object, ExchangeResult::of_proxy(answer))
                }
            };
            jar.store(&request, &result);
            refused.note(&object);
            let differences = step.expect.differences(&object, &result);
            if !differences.is_empty() {
                return Err(TestFailure {
                    request: place(repetition),
                    error: None,
                    hint: why_not(&differences, &object, &file.loaded, &request),
                    differences,
                });
            }
            for (key, _) in &step.counts {
                *counts
                    .entry((key.as_str(), compare::count_name(&object[key])))
                    .or_insert(0) += 1;
            }
        }
        let of_step = refused.notes(step);
        let differences = count_differences(&step.counts, &counts);
        if !differences.is_empty() {
            return Err(TestFailure {
                request: place(step.repeat - 1),
                error: None,
                differences,
                hint: (!of_step.is_empty()).then(|| of_step.join("; ")),
            });
        }
        notes.extend(of_step);
    }
    Ok(())
}

/// The requests of a step that limits refused, by status and limit.
#[derive(Default)]
struct Refused(BTreeMap<(String, String), u32>);

impl Refused {
    fn note(&mut self, object: &Map<String, Value>) {
        if object["action"] == "rate_limited" {
            let key = (
                compare::count_name(&object["status"]),
                compare::count_name(&object["limit"]),
            );
            *self.0.entry(key).or_insert(0) += 1;
        }
    }

    /// In words. None where the step says what it expects of that.
    fn notes(&self, step: &TestStep) -> Vec<String> {
        let is_told = |key: &str| ["action", "status", "limit", "reason"].contains(&key);
        let expected = step.expect.keys.iter().map(|(key, _)| key);
        let counted = step.counts.iter().map(|(key, _)| key);
        if expected.chain(counted).any(|key| is_told(key)) {
            return Vec::new();
        }
        let all = self.0.iter();
        all.map(|((status, limit), count)| {
            format!(
                "{count} of {} answered {status} by limit {limit}",
                step.repeat
            )
        })
        .collect()
    }
}

/// Why the expected route did not match, or that it stands behind the one that took the request.
/// None where no route is expected, or there is none of that name.
fn why_not(
    differences: &[Difference],
    object: &Map<String, Value>,
    config: &Config,
    request: &ExchangeRequest,
) -> Option<String> {
    let expected = differences
        .iter()
        .find(|difference| difference.place == "route")?;
    // Differences are written as JSON.
    let wanted: Value = serde_json::from_str(&expected.expected).ok()?;
    let mut trace = object["trace"].as_array()?.iter();
    if let Some(route) = trace.find(|item| item["name"] == wanted) {
        let (name, failed) = (route["name"].as_str()?, route["failed"].as_str()?);
        return Some(format!("why not `{name}`: {failed}"));
    }
    // It was never compared.
    let (wanted, taken) = (wanted.as_str()?, object["route"].as_str()?);
    let route = config.routes.iter().find(|it| &*it.name == wanted)?;
    let matches = explain::with_request(config, request, |request, connection| {
        let mut blocks = route.blocks.iter();
        blocks.any(|block| block.mismatch(request, connection).is_none())
    });
    matches.then(|| format!("`{wanted}` matches too, and `{taken}` stands before it"))
}
