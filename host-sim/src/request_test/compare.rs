//! Comparing the result of an exchange with what a test expects.

use crate::exchange::{ExchangeResult, Pairs, shown};
use pointsman_core::http::regex::Regex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is expected of a value.
#[derive(Debug)]
pub enum Matcher {
    /// The value is absent or null.
    Null,
    /// The value is this one: of bytes, its text.
    Scalar(Value),
    /// The value is these bytes.
    Bytes(Vec<u8>),
    /// `{ one_of: […] }`: any of these matches.
    OneOf(Vec<Matcher>),
    /// `{ not: … }`: this does not match.
    Not(Box<Matcher>),
    /// `{ present: true }`: the value is there, or is not.
    Present(bool),
    /// `{ regex: … }`: the whole value matches.
    Regex(Regex),
    /// A count: `{ min, max }`, or `{ about }` with what it may be off by.
    Between {
        /// Never less.
        min: u64,
        /// Never more. None: as many as come.
        max: Option<u64>,
        /// What was expected, with a tolerance.
        about: Option<u64>,
    },
    /// The items of a list match one by one, and there are no others.
    List(Vec<Matcher>),
    /// These keys of an object match; it may have others.
    Object(Vec<(String, Matcher)>),
}

/// The value that is compared with a matcher.
#[derive(Clone, Copy, Debug)]
pub enum Actual<'a> {
    /// A value of explain's object.
    Json(&'a Value),
    /// A header's value, or the body.
    Bytes(&'a [u8]),
    /// There is no such header or key.
    Absent,
}

impl Matcher {
    /// Whether a value is as expected.
    pub fn matches(&self, got: Actual) -> bool {
        let absent = matches!(got, Actual::Absent | Actual::Json(Value::Null));
        match (self, got) {
            (Matcher::Null, _) => absent,
            (Matcher::Present(wanted), _) => *wanted != absent,
            (Matcher::OneOf(matchers), _) => matchers.iter().any(|matcher| matcher.matches(got)),
            (Matcher::Not(matcher), _) => !matcher.matches(got),
            (Matcher::Scalar(value), Actual::Json(json)) => value == json,
            (Matcher::Scalar(value), Actual::Bytes(bytes)) => text_of(value).as_bytes() == bytes,
            (Matcher::Bytes(wanted), Actual::Bytes(bytes)) => wanted == bytes,
            (Matcher::Bytes(wanted), Actual::Json(Value::String(text))) => {
                wanted == text.as_bytes()
            }
            (Matcher::Regex(regex), Actual::Bytes(bytes)) => regex.matches_whole(bytes),
            (Matcher::Regex(regex), Actual::Json(Value::String(text))) => {
                regex.matches_whole(text.as_bytes())
            }
            (Matcher::Between { min, max, .. }, Actual::Json(Value::Number(count))) => {
                let count = count.as_u64();
                count.is_some_and(|it| *min <= it && max.is_none_or(|max| it <= max))
            }
            (Matcher::List(matchers), Actual::Json(Value::Array(items))) => {
                matchers.len() == items.len()
                    && matchers
                        .iter()
                        .zip(items)
                        .all(|(matcher, item)| matcher.matches(Actual::Json(item)))
            }
            (Matcher::Object(matchers), Actual::Json(Value::Object(object))) => {
                matchers.iter().all(|(key, matcher)| {
                    matcher.matches(object.get(key).map_or(Actual::Absent, Actual::Json))
                })
            }
            _ => false,
        }
    }
}

impl Matcher {
    /// About so many of all that were sent: what independent draws give, but for [`MISSED`] at
    /// either side. Of 100 of 1000 that is 45 to 165.
    pub fn about(count: u32, all: u32) -> Matcher {
        let (min, max) = usual(count, all);
        Matcher::Between {
            min: min.into(),
            max: Some(max.into()),
            about: Some(count.into()),
        }
    }
}

/// How likely it is that a count is below, or above, what is taken for `about` its number, though
/// the draws are as they should be: a test that is run a thousand times a day, with ten such
/// counts, is wrong once in a thousand years.
const MISSED: f64 = 1e-10;

/// The least and the most of `all` independent draws, each of which counts with a chance of
/// `count` of `all`: fewer, and more, there are with a chance of at most [`MISSED`] each. It is
/// counted exactly, because few of many are not spread as a normal distribution is.
fn usual(count: u32, all: u32) -> (u32, u32) {
    if count == 0 || count >= all {
        return (count.min(all), count.min(all));
    }
    let (share, of) = (f64::from(count) / f64::from(all), f64::from(all));
    let odds = share / (1.0 - share);
    // The chance of each number relative to that of `count`, outwards from there, until it is too
    // little to matter.
    let side = |next: &dyn Fn(f64) -> f64, steps: u32| {
        let mut chances = vec![1.0];
        for step in 0..steps {
            let chance = chances[chances.len() - 1] * next(f64::from(step));
            if chance < MISSED * 1e-10 {
                break;
            }
            chances.push(chance);
        }
        chances
    };
    let n = f64::from(count);
    let below = side(&|step| (n - step) / ((of - n + step + 1.0) * odds), count);
    let above = side(
        &|step| (of - n - step) * odds / (n + step + 1.0),
        all - count,
    );
    let whole = below.iter().sum::<f64>() + above[1..].iter().sum::<f64>();
    // How far from `count` one has to go until what lies beyond is rare enough.
    let far = |chances: &[f64], steps: u32| {
        let mut beyond = 0.0;
        let rare = chances.iter().rev().take_while(|chance| {
            beyond += **chance;
            beyond <= MISSED * whole
        });
        ((chances.len() - 1 - rare.count()) as u32).min(steps)
    };
    (count - far(&below, count), count + far(&above, all - count))
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Matcher::Null => f.write_str("nothing"),
            Matcher::Scalar(value) => write!(f, "{value}"),
            Matcher::Bytes(bytes) => write!(f, "\"{}\"", shown(bytes)),
            Matcher::OneOf(matchers) => {
                f.write_str("one of ")?;
                separated(f, matchers, ", ")
            }
            Matcher::Not(matcher) => write!(f, "not {matcher}"),
            Matcher::Present(true) => f.write_str("something"),
            Matcher::Present(false) => f.write_str("nothing"),
            Matcher::Regex(regex) => write!(f, "a match of {}", regex.pattern()),
            Matcher::Between {
                min,
                max: Some(max),
                about: Some(about),
            } => write!(f, "about {about}: from {min} to {max}"),
            Matcher::Between { min, max: None, .. } => write!(f, "at least {min}"),
            Matcher::Between {
                min: 0,
                max: Some(max),
                ..
            } => write!(f, "at most {max}"),
            Matcher::Between {
                min,
                max: Some(max),
                ..
            } => write!(f, "from {min} to {max}"),
            Matcher::List(matchers) => {
                f.write_str("[")?;
                separated(f, matchers, ", ")?;
                f.write_str("]")
            }
            Matcher::Object(matchers) => {
                f.write_str("{")?;
                for (at, (key, matcher)) in matchers.iter().enumerate() {
                    write!(f, "{}{key}: {matcher}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn separated(f: &mut fmt::Formatter<'_>, matchers: &[Matcher], by: &str) -> fmt::Result {
    for (at, matcher) in matchers.iter().enumerate() {
        write!(f, "{}{matcher}", if at == 0 { "" } else { by })?;
    }
    Ok(())
}

impl fmt::Display for Actual<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actual::Absent | Actual::Json(Value::Null) => f.write_str("nothing"),
            Actual::Json(value) => write!(f, "{value}"),
            Actual::Bytes(bytes) => write!(f, "\"{}\"", shown(bytes)),
        }
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A difference between what is expected and the result.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// What differs: `cluster`, `request_headers.x-route`.
    pub place: String,
    /// What is expected there.
    pub expected: String,
    /// What the result has there.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, got {}",
            self.place, self.expected, self.got
        )
    }
}

/// What a step expects of each of its results: the test file's `expect`.
#[derive(Debug, Default)]
pub struct Expect {
    /// The keys of explain's object other than the headers.
    pub keys: Vec<(String, Matcher)>,
    /// The request headers that the backend got; names in lower case.
    pub request_headers: Vec<(String, Matcher)>,
    /// The response headers that the client got; names in lower case.
    pub response_headers: Vec<(String, Matcher)>,
    /// The response's body.
    pub body: Option<Matcher>,
}

impl Expect {
    /// Every difference from what is expected. `object` is explain's object of the result.
    pub fn differences(
        &self,
        object: &Map<String, Value>,
        result: &ExchangeResult,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut check = |place: String, matcher: &Matcher, got: Actual| {
            if !matcher.matches(got) {
                differences.push(Difference {
                    place,
                    expected: matcher.to_string(),
                    got: got.to_string(),
                });
            }
        };
        for (key, matcher) in &self.keys {
            check(
                key.clone(),
                matcher,
                object.get(key).map_or(Actual::Absent, Actual::Json),
            );
        }
        let none = Pairs::new();
        let upstream = result.upstream_headers.as_ref().unwrap_or(&none);
        for (kind, matchers, pairs) in [
            ("request_headers", &self.request_headers, upstream),
            (
                "response_headers",
                &self.response_headers,
                &result.response.headers,
            ),
        ] {
            for (name, matcher) in matchers {
                let value = joined(pairs, name.as_bytes());
                check(
                    format!("{kind}.{name}"),
                    matcher,
                    value.as_deref().map_or(Actual::Absent, Actual::Bytes),
                );
            }
        }
        if let Some(matcher) = &self.body {
            check(
                "body".to_owned(),
                matcher,
                Actual::Bytes(&result.response.body),
            );
        }
        differences
    }
}

/// The values of a header joined by `,`. None: the header is not there.
fn joined(pairs: &Pairs, name: &[u8]) -> Option<Vec<u8>> {
    let values: Vec<_> = pairs
        .iter()
        .filter(|(n, _)| n == name)
        .map(|(_, value)| value.as_slice())
        .collect();
    (!values.is_empty()).then(|| values.join(&b','))
}

/// The test file's `expect_counts`: keys of explain's object, and how often each of their values
/// must occur.
pub(super) type Counts = Vec<(String, Vec<(String, Matcher)>)>;

/// The name of a value in `expect_counts`.
pub(super) fn count_name(value: &Value) -> String {
    text_of(value)
}

/// Every count that differs from what is expected.
pub(super) fn count_differences(
    expected: &Counts,
    got: &BTreeMap<(&str, String), u64>,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (key, matchers) in expected {
        let occurred = got
            .keys()
            .filter(|(k, _)| k == key)
            .map(|(_, name)| name.as_str());
        let named = matchers.iter().map(|(name, _)| name.as_str());
        for name in occurred.chain(named).collect::<BTreeSet<_>>() {
            let count = Value::from(
                got.get(&(key.as_str(), name.to_owned()))
                    .copied()
                    .unwrap_or(0),
            );
            let none = Matcher::Scalar(Value::from(0));
            let named = matchers.iter().find(|(n, _)| n == name);
            let matcher = named.map_or(&none, |(_, matcher)| matcher);
            if !matcher.matches(Actual::Json(&count)) {
                let expected = match named {
                    Some(_) => matcher.to_string(),
                    None => "0, as it is not named".to_owned(),
                };
                differences.push(Difference {
                    place: format!("count of {key} {name}"),
                    expected,
                    got: count.to_string(),
                });
            }
        }
    }
    differences
}
