//! Request tests: files of requests and of what must become of each, run on any [`Host`].
//!
//! The format stands in the interface ("Command line"). What this adds to it, and where it had to
//! choose:
//!
//! - `config` may be the configuration itself in place of a path.
//! - Text is UTF-8. Where a header's value or a URL needs other bytes it is `{ bytes: "\xff" }`:
//!   each character of the string, at most U+00FF, is one byte. The same form is a matcher.
//! - Whole numbers and booleans are taken as their text in header values; other numbers must be
//!   quoted, since YAML would change them (`1.10`).
//! - `{ regex: … }` is a matcher: as in the configuration, on bytes and the whole value.
//! - `expect` has one key more than explain's object, `body`: of the response.
//! - The matchers stand wherever a value stands. In `trace`, lists compare item by item, and of an
//!   object only the keys that are given.
//! - `cookies: keep` on a step sends the cookies that earlier steps of the test were given. The
//!   client of a test never forgets one by itself, so that it is the filter that judges an old one;
//!   `Max-Age=0` takes it away.
//! - `after` is waited for once, before the first of `repeat` requests. `expect` holds for every
//!   one of them.
//! - `expect_counts: { target: { blue: 9, green: 1 } }` beside a `repeat`: how often each value of
//!   a key of explain's object came. A value that is not named must not come.
//! - `connection: new` on a step drops the connections that the client kept, so that another worker
//!   may get the request.
//!
//! Tests do not feel each other where the host can have it so: the simulator starts anew for each.

mod compare;
mod coverage;
mod parse;
#[cfg(test)]
mod tests;

pub use compare::Difference;
pub use coverage::{Coverage, Unreached};
pub use parse::{Errors, File, MAX_REPEAT, Test, TestStep, ask};

use crate::exchange::{ExchangeResult, Host, Pairs};
use crate::explain;
use compare::count_failures;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How one test went.
#[derive(Debug)]
pub struct TestOutcome {
    /// The test's name.
    pub name: String,
    /// None: it passed.
    pub failure: Option<TestFailure>,
    /// How long it took, in real time.
    pub took: Duration,
}

/// Why a test failed, at the first request that did not go as expected.
#[derive(Debug, PartialEq)]
pub struct TestFailure {
    /// `step 2, request 1 of 2: GET http://h/p`; empty where there was no request yet.
    pub request: String,
    /// What kept the request from being judged.
    pub error: Option<String>,
    /// Everything that came out otherwise.
    pub differences: Vec<Difference>,
    /// Why another route was expected in vain.
    pub hint: Option<String>,
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

/// How the tests of a file went.
#[derive(Debug)]
pub struct TestReport {
    /// One for each test, in the order of the file.
    pub outcomes: Vec<TestOutcome>,
    /// What of the configuration they reached.
    pub coverage: Coverage,
}

/// Runs every test of a file; `host` gives the host of one test, which starts with nothing kept
/// from earlier ones where it can.
pub fn run<'h>(
    file: &File,
    mut host: impl FnMut() -> Result<Box<dyn Host + 'h>, String>,
) -> TestReport {
    let mut coverage = Coverage::new(&file.loaded);
    let outcome = |test: &Test| {
        let started = Instant::now();
        let result = match host() {
            Ok(mut host) => run_test(test, file, &mut *host, &mut coverage),
            Err(error) => Err(TestFailure {
                request: String::new(),
                error: Some(error),
                differences: Vec::new(),
                hint: None,
            }),
        };
        TestOutcome {
            name: test.name.clone(),
            failure: result.err(),
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
) -> Result<(), TestFailure> {
    let mut jar = Jar::default();
    for (number, step) in test.steps.iter().enumerate() {
        let place = |time: u32| {
            let ask = &step.ask;
            let url = [&ask.scheme, &b"://"[..], &ask.authority, &ask.target].concat();
            let mut place = format!("{} {}", explain::shown(&ask.method), explain::shown(&url));
            if step.repeat > 1 {
                place = format!("request {} of {}: {place}", time + 1, step.repeat);
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
        for time in 0..step.repeat {
            let mut ask = step.ask.clone();
            if step.keep_cookies {
                jar.send(&mut ask.headers);
            }
            let failed = |error: String| TestFailure {
                request: place(time),
                error: Some(error),
                differences: Vec::new(),
                hint: None,
            };
            let told = host.exchange(&ask).map_err(failed)?;
            jar.take(&told);
            let object = explain::object(&file.loaded, &ask, &told).map_err(failed)?;
            explain::with_request(&file.loaded, &ask, |request, client| {
                coverage.note(&file.loaded, request, client);
            });
            let differences = step.expect.failures(&object, &told);
            if !differences.is_empty() {
                return Err(TestFailure {
                    request: place(time),
                    error: None,
                    hint: why_not(&differences, &object),
                    differences,
                });
            }
            for (key, _) in &step.counts {
                *counts
                    .entry((key.as_str(), compare::count_name(&object[key])))
                    .or_insert(0) += 1;
            }
        }
        let differences = count_failures(&step.counts, &counts);
        if !differences.is_empty() {
            return Err(TestFailure {
                request: place(step.repeat - 1),
                error: None,
                differences,
                hint: None,
            });
        }
    }
    Ok(())
}

/// Why the route that was expected did not match, where one was and it stands before the one that
/// did.
fn why_not(differences: &[Difference], object: &Map<String, Value>) -> Option<String> {
    let expected = differences
        .iter()
        .find(|difference| difference.place == "route")?;
    let mut looked = object["trace"].as_array()?.iter();
    // Differences are written as JSON.
    let wanted: Value = serde_json::from_str(&expected.expected).ok()?;
    let route = looked.find(|looked| looked["name"] == wanted)?;
    let (name, failed) = (route["name"].as_str()?, route["failed"].as_str()?);
    Some(format!("why not `{name}`: {failed}"))
}

/// The cookies that a test's client was given.
#[derive(Default)]
struct Jar(BTreeMap<Vec<u8>, Vec<u8>>);

impl Jar {
    fn take(&mut self, told: &ExchangeResult) {
        for (name, value) in &told.response.headers {
            if name != b"set-cookie" {
                continue;
            }
            let mut parts = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let pair = parts.next().unwrap_or_default();
            let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let name = pair[..equals].to_vec();
            if parts.any(|part| part.eq_ignore_ascii_case(b"max-age=0")) {
                self.0.remove(&name);
            } else {
                self.0.insert(name, pair[equals + 1..].to_vec());
            }
        }
    }

    fn send(&self, headers: &mut Pairs) {
        if self.0.is_empty() {
            return;
        }
        let kept: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| [name.as_slice(), value].join(&b'='))
            .collect();
        let kept = kept.join(&b"; "[..]);
        match headers.iter_mut().find(|(name, _)| name == b"cookie") {
            Some((_, value)) => {
                value.extend_from_slice(b"; ");
                value.extend_from_slice(&kept);
            }
            None => headers.push((b"cookie".to_vec(), kept)),
        }
    }
}
