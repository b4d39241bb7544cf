//! The file, read into what can be run, or refused with every error and its place.

use super::compare::{Counts, Expect, Matcher};
use crate::exchange::{ExchangeRequest, Pairs, Response};
use crate::{configuration, explain};
use pointsman_core::config::{self, Config, problem};
use pointsman_core::http::regex::Regex;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// A test file.
#[derive(Debug)]
pub struct File {
    /// The configuration as JSON.
    pub config: Value,
    /// The same, loaded.
    pub loaded: Config,
    /// At least one.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// For people; need not be unique.
    pub name: String,
    /// At least one.
    pub steps: Vec<TestStep>,
}

/// A request, how often it is sent, and what must become of it.
#[derive(Debug)]
pub struct TestStep {
    /// The request.
    pub ask: ExchangeRequest,
    /// 1 to [`MAX_REPEAT`]; default 1.
    pub repeat: u32,
    /// Waited for before the first. Default 0.
    pub after: Duration,
    /// Whether the cookies of earlier steps are sent. Default false.
    pub keep_cookies: bool,
    /// Whether connections that were kept are dropped first. Default false.
    pub new_connection: bool,
    /// Holds for every repetition.
    pub expect: Expect,
    /// Holds for all repetitions together.
    pub counts: Counts,
}

/// The most repetitions of a step: a second or so on the simulator. More is a load test, which is
/// another tool's work.
pub const MAX_REPEAT: u32 = 100_000;

const FILE: &[&str] = &["config", "tests"];
const STEP: &[&str] = &[
    "request",
    "upstream_response",
    "expect",
    "expect_counts",
    "repeat",
    "after",
    "cookies",
    "connection",
];
const REQUEST: &[&str] = &["method", "url", "headers", "client_ip", "roll"];
const UPSTREAM_RESPONSE: &[&str] = &["status", "headers", "body"];
const MATCHERS: &[&str] = &["one_of", "not", "present", "regex", "bytes"];

/// Every error of a file, each with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<String>);

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Errors {}

impl From<String> for Errors {
    fn from(error: String) -> Errors {
        Errors(vec![error])
    }
}

impl File {
    /// Reads a file and the configuration that it names, by itself or inside an Envoy
    /// configuration.
    pub fn read(path: &Path) -> Result<File, Errors> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        File::parse(&text, |config| {
            let config = path.parent().unwrap_or(Path::new("")).join(config);
            configuration::read(&config).map_err(|error| format!("{}: {error}", config.display()))
        })
    }

    /// Reads a file's text; `read` reads the configuration that it names.
    pub fn parse(
        text: &str,
        read: impl Fn(&str) -> Result<config::value::Value, String>,
    ) -> Result<File, Errors> {
        // Words such as `no` and `on` are text, as YAML 1.2 has it.
        let options = serde_saphyr::options! { strict_booleans: true };
        let file: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| error.to_string())?;
        let top = mapping("", &file)?;
        only("", top, FILE)?;
        let config = match required("", top, "config")? {
            Value::String(path) => read(path)?,
            inline @ Value::Object(_) => {
                serde_json::from_value(inline.clone()).map_err(|error| error.to_string())?
            }
            other => {
                return Err(wrong("config", other, "a path, or the configuration itself").into());
            }
        };
        let loaded =
            Config::from_value(&config).map_err(|problems| format!("config: {problems}"))?;
        let config = configuration::to_json(&config);
        let tests = list("tests", required("", top, "tests")?)?;
        if tests.is_empty() {
            return Err("tests: found none, a file has at least one"
                .to_owned()
                .into());
        }
        let mut errors = Vec::new();
        let tests = tests
            .iter()
            .enumerate()
            .filter_map(|(at, value)| {
                test(&format!("tests[{at}]"), value)
                    .map_err(|error| errors.push(error))
                    .ok()
            })
            .collect();
        if errors.is_empty() {
            Ok(File {
                config,
                loaded,
                tests,
            })
        } else {
            Err(Errors(errors))
        }
    }
}

fn test(place: &str, value: &Value) -> Result<Test, String> {
    let map = mapping(place, value)?;
    let name = string(&at(place, "name"), required(place, map, "name")?)?;
    let steps = match map.get("steps") {
        Some(steps) => {
            only(place, map, &["name", "steps"])?;
            let place = at(place, "steps");
            let steps = list(&place, steps)?;
            if steps.is_empty() {
                return Err(format!("{place}: found none, a test has at least one"));
            }
            steps
                .iter()
                .enumerate()
                .map(|(at, value)| step(&format!("{place}[{at}]"), mapping(&place, value)?))
                .collect()
        }
        None => {
            let mut step_alone = map.clone();
            step_alone.remove("name");
            step(place, &step_alone).map(|step| vec![step])
        }
    };
    Ok(Test {
        name,
        steps: steps?,
    })
}

fn step(place: &str, map: &Map<String, Value>) -> Result<TestStep, String> {
    only(place, map, STEP)?;
    let upstream = match map.get("upstream_response") {
        Some(value) => upstream_response(&at(place, "upstream_response"), value)?,
        None => Response {
            status: 200,
            headers: Pairs::new(),
            body: Vec::new(),
        },
    };
    let keyword = |key: &str, word: &str| match map.get(key) {
        None => Ok(false),
        Some(value) if value == word => Ok(true),
        Some(value) => Err(wrong(&at(place, key), value, &format!("`{word}`"))),
    };
    Ok(TestStep {
        ask: request(
            &at(place, "request"),
            required(place, map, "request")?,
            upstream,
        )?,
        repeat: match map.get("repeat") {
            None => 1,
            Some(value) => number(&at(place, "repeat"), value, 1..=u64::from(MAX_REPEAT))? as u32,
        },
        after: match map.get("after") {
            None => Duration::ZERO,
            Some(value) => duration(&at(place, "after"), value)?,
        },
        keep_cookies: keyword("cookies", "keep")?,
        new_connection: keyword("connection", "new")?,
        expect: match (map.get("expect"), map.get("expect_counts")) {
            (None, None) => return Err(format!("{place}: `expect` is missing")),
            (None, Some(_)) => Expect::default(),
            (Some(value), _) => expect(&at(place, "expect"), value)?,
        },
        counts: match map.get("expect_counts") {
            None => Counts::new(),
            Some(value) => counts(&at(place, "expect_counts"), value)?,
        },
    })
}

fn request(place: &str, value: &Value, upstream: Response) -> Result<ExchangeRequest, String> {
    let map = mapping(place, value)?;
    only(place, map, REQUEST)?;
    let method = match map.get("method") {
        None => b"GET".to_vec(),
        Some(value) => string(&at(place, "method"), value)?.into_bytes(),
    };
    let url = bytes(&at(place, "url"), required(place, map, "url")?)?;
    let mut ask =
        ask(&method, &url, upstream).map_err(|error| format!("{}: {error}", at(place, "url")))?;
    if let Some(value) = map.get("headers") {
        ask.headers = pairs(&at(place, "headers"), value)?;
    }
    if let Some(value) = map.get("client_ip") {
        let place = at(place, "client_ip");
        let address = string(&place, value)?.parse::<IpAddr>();
        ask.client_ip = Some(address.map_err(|_| wrong(&place, value, "an IP address"))?);
    }
    if let Some(value) = map.get("roll") {
        let roll = value.as_f64().filter(|roll| (0.0..1.0).contains(roll));
        ask.roll = Some(
            roll.ok_or_else(|| wrong(&at(place, "roll"), value, "a number from 0 to below 1"))?,
        );
    }
    Ok(ask)
}

/// A request of this method to this URL, without headers. A fragment is dropped, as every client
/// does.
pub fn ask(method: &[u8], url: &[u8], upstream: Response) -> Result<ExchangeRequest, String> {
    let shown = || explain::shown(url);
    let scheme: &[u8] = match url {
        _ if url.starts_with(b"http://") => b"http",
        _ if url.starts_with(b"https://") => b"https",
        _ => {
            return Err(format!(
                "found `{}`, a URL starts with http:// or https://",
                shown()
            ));
        }
    };
    if let Some(byte) = url.iter().find(|byte| **byte <= b' ' || **byte == 0x7f) {
        return Err(format!(
            "the byte 0x{byte:02x} must be percent-encoded in `{}`",
            shown()
        ));
    }
    let rest = &url[scheme.len() + b"://".len()..];
    let rest = rest.split(|byte| *byte == b'#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(
        rest.iter()
            .position(|byte| b"/?".contains(byte))
            .unwrap_or(rest.len()),
    );
    if authority.is_empty() {
        return Err(format!("found `{}`, a URL names a host", shown()));
    }
    Ok(ExchangeRequest {
        method: method.to_vec(),
        scheme: scheme.to_vec(),
        authority: authority.to_vec(),
        target: if target.starts_with(b"/") {
            target.to_vec()
        } else {
            [b"/", target].concat()
        },
        headers: Pairs::new(),
        client_ip: None,
        roll: None,
        upstream,
    })
}

fn upstream_response(place: &str, value: &Value) -> Result<Response, String> {
    let map = mapping(place, value)?;
    only(place, map, UPSTREAM_RESPONSE)?;
    Ok(Response {
        status: match map.get("status") {
            None => 200,
            Some(value) => number(&at(place, "status"), value, 200..=599)? as u16,
        },
        headers: match map.get("headers") {
            None => Pairs::new(),
            Some(value) => pairs(&at(place, "headers"), value)?,
        },
        body: match map.get("body") {
            None => Vec::new(),
            Some(value) => bytes(&at(place, "body"), value)?,
        },
    })
}

fn pairs(place: &str, value: &Value) -> Result<Pairs, String> {
    list(place, value)?
        .iter()
        .enumerate()
        .map(|(number, pair)| {
            let place = format!("{place}[{number}]");
            match pair.as_array().map(Vec::as_slice) {
                Some([Value::String(name), value]) => Ok((
                    name.to_ascii_lowercase().into_bytes(),
                    header_value(&at(&place, name), value)?,
                )),
                _ => Err(wrong(
                    &place,
                    pair,
                    "a pair of name and value: `[name, value]`",
                )),
            }
        })
        .collect()
}

fn header_value(place: &str, value: &Value) -> Result<Vec<u8>, String> {
    let bytes = match value {
        Value::Bool(_) => value.to_string().into_bytes(),
        Value::Number(number) if !number.is_f64() => value.to_string().into_bytes(),
        _ => bytes(place, value)?,
    };
    match bytes.iter().find(|byte| b"\0\r\n".contains(byte)) {
        Some(byte) => Err(format!("{place}: no header can hold the byte 0x{byte:02x}")),
        None => Ok(bytes),
    }
}

fn expect(place: &str, value: &Value) -> Result<Expect, String> {
    let map = mapping(place, value)?;
    let known: Vec<&str> = explain::KEYS.into_iter().chain(["body"]).collect();
    only(place, map, &known)?;
    let mut expect = Expect::default();
    for (key, value) in map {
        let place = at(place, key);
        match key.as_str() {
            "request_headers" => expect.request_headers = header_matchers(&place, value)?,
            "response_headers" => expect.response_headers = header_matchers(&place, value)?,
            "body" => expect.body = Some(matcher(&place, value)?),
            _ => expect.keys.push((key.clone(), matcher(&place, value)?)),
        }
    }
    Ok(expect)
}

fn header_matchers(place: &str, value: &Value) -> Result<Vec<(String, Matcher)>, String> {
    let matchers = named_matchers(place, value)?;
    Ok(matchers
        .into_iter()
        .map(|(name, matcher)| (name.to_ascii_lowercase(), matcher))
        .collect())
}

fn named_matchers(place: &str, value: &Value) -> Result<Vec<(String, Matcher)>, String> {
    let map = mapping(place, value)?;
    map.iter()
        .map(|(name, value)| Ok((name.clone(), matcher(&at(place, name), value)?)))
        .collect()
}

fn counts(place: &str, value: &Value) -> Result<Counts, String> {
    let map = mapping(place, value)?;
    only(place, map, &explain::KEYS)?;
    map.iter()
        .map(|(key, value)| Ok((key.clone(), named_matchers(&at(place, key), value)?)))
        .collect()
}

fn matcher(place: &str, value: &Value) -> Result<Matcher, String> {
    let all = |items: &[Value]| {
        items
            .iter()
            .map(|item| matcher(place, item))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match value {
        Value::Null => Matcher::Null,
        Value::Array(items) => Matcher::List(all(items)?),
        Value::Object(map) => match map.iter().next() {
            Some((key, value)) if map.len() == 1 && MATCHERS.contains(&key.as_str()) => {
                let place = &at(place, key);
                match key.as_str() {
                    "one_of" => Matcher::OneOf(all(list(place, value)?)?),
                    "not" => Matcher::Not(Box::new(matcher(place, value)?)),
                    "present" => Matcher::Present(
                        value
                            .as_bool()
                            .ok_or_else(|| wrong(place, value, "true or false"))?,
                    ),
                    "regex" => {
                        let regex = Regex::new(&string(place, value)?, false);
                        Matcher::Regex(regex.map_err(|error| format!("{place}: {error}"))?)
                    }
                    _ => Matcher::Bytes(latin1(place, value)?),
                }
            }
            Some(_)
                if map
                    .keys()
                    .all(|key| explain::TRACE_KEYS.contains(&key.as_str())) =>
            {
                Matcher::Object(named_matchers(place, value)?)
            }
            _ => {
                only(place, map, MATCHERS)?;
                return Err(wrong(
                    place,
                    value,
                    &format!(
                        "a value, or an object of one key of {}",
                        MATCHERS.join(", ")
                    ),
                ));
            }
        },
        scalar => Matcher::Scalar(scalar.clone()),
    })
}

/// Text as UTF-8, or `{ bytes: "\xff" }`.
fn bytes(place: &str, value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Object(map) => {
            only(place, map, &["bytes"])?;
            latin1(&at(place, "bytes"), required(place, map, "bytes")?)
        }
        other => Err(wrong(place, other, "text (in quotes), or `{ bytes: … }`")),
    }
}

fn latin1(place: &str, value: &Value) -> Result<Vec<u8>, String> {
    let byte = |char: char| {
        u8::try_from(u32::from(char)).map_err(|_| format!("{place}: `{char}` is more than a byte"))
    };
    string(place, value)?.chars().map(byte).collect()
}

/// `250ms`, `3s`, `1m`, `1h`
fn duration(place: &str, value: &Value) -> Result<Duration, String> {
    let error = || wrong(place, value, "a duration such as 250ms, 3s, 1m or 1h");
    let text = value.as_str().ok_or_else(error)?;
    let unit = text.trim_start_matches(|char: char| char.is_ascii_digit());
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(error()),
    };
    let count: u32 = text[..text.len() - unit.len()]
        .parse()
        .map_err(|_| error())?;
    Ok(Duration::from_millis(u64::from(count) * millis))
}

fn number(place: &str, value: &Value, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    value
        .as_u64()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            wrong(
                place,
                value,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            )
        })
}

fn string(place: &str, value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| wrong(place, value, "text (in quotes)"))
}

fn list<'v>(place: &str, value: &'v Value) -> Result<&'v [Value], String> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| wrong(place, value, "a list"))
}

fn mapping<'v>(place: &str, value: &'v Value) -> Result<&'v Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| wrong(place, value, "a mapping"))
}

fn required<'v>(place: &str, map: &'v Map<String, Value>, key: &str) -> Result<&'v Value, String> {
    map.get(key).ok_or_else(|| match place {
        "" => format!("`{key}` is missing"),
        _ => format!("{place}: `{key}` is missing"),
    })
}

fn only(place: &str, map: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!(
            "{}: unknown key{}",
            at(place, key),
            nearest(key, known)
        )),
    }
}

/// The nearest known name, or all of them where none is near.
fn nearest(key: &str, known: &[&str]) -> String {
    match problem::nearest(key, &mut known.iter().copied()) {
        Some(name) => format!(", did you mean `{name}`?"),
        None => format!(", known are {}", known.join(", ")),
    }
}

fn wrong(place: &str, found: &Value, right: &str) -> String {
    let place = if place.is_empty() { "the file" } else { place };
    format!("{place}: found {found}, should be {right}")
}

fn at(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(text: &str) -> Vec<String> {
        File::parse(text, |path| Err(format!("no {path}")))
            .expect_err(text)
            .0
    }

    #[test]
    fn file_says_what_is_sent() {
        let file = File::parse(
            r#"
config: { routes: [ { name: a, pass: true }, { name: b, pass: true } ] }
tests:
  - name: everything
    request: { method: PUT, url: "https://h:1?q=1#f", headers: [[X-A, 1], [x-b, { bytes: "\xff\x01" }]], client_ip: "::1", roll: 0.37 }
    upstream_response: { status: 503, headers: [[Cache-Control, é]], body: no }
    expect: { route: a }
  - name: nothing
    steps:
      - { request: { url: { bytes: "http://h/\xe9" } }, expect: {} }
      - { request: { url: "http://h" }, expect: {}, repeat: 3, after: 250ms, cookies: keep, connection: new }
"#,
            |_| unreachable!(),
        )
        .unwrap();
        assert_eq!(file.config["routes"][1]["name"], "b");
        let [everything, nothing] = &file.tests[..] else {
            panic!()
        };
        assert_eq!(
            everything.steps[0].ask,
            ExchangeRequest {
                method: b"PUT".to_vec(),
                scheme: b"https".to_vec(),
                authority: b"h:1".to_vec(),
                target: b"/?q=1".to_vec(),
                headers: vec![
                    (b"x-a".to_vec(), b"1".to_vec()),
                    (b"x-b".to_vec(), b"\xff\x01".to_vec())
                ],
                client_ip: Some("::1".parse().unwrap()),
                roll: Some(0.37),
                upstream: Response {
                    status: 503,
                    headers: vec![(b"cache-control".to_vec(), b"\xc3\xa9".to_vec())],
                    body: b"no".to_vec()
                }
            }
        );
        let [first, second] = &nothing.steps[..] else {
            panic!()
        };
        assert_eq!(first.ask.target, b"/\xe9");
        assert_eq!(
            (first.repeat, first.keep_cookies, first.new_connection),
            (1, false, false)
        );
        assert_eq!(
            (second.repeat, second.after),
            (3, Duration::from_millis(250))
        );
        assert_eq!((second.keep_cookies, second.new_connection), (true, true));
    }

    #[test]
    fn configuration_is_read_from_the_path_that_the_file_names() {
        let text =
            "{ config: shop.yaml, tests: [ { name: a, request: { url: http://h }, expect: {} } ] }";
        let config = |path: &str| serde_json::json!({ "routes": [{ "name": path, "pass": true }] });
        let file = File::parse(text, |path| {
            Ok(serde_json::from_value(config(path)).unwrap())
        })
        .unwrap();
        assert_eq!(&*file.loaded.routes[0].name, "shop.yaml");
        assert_eq!(errors_of(text), ["no shop.yaml"]);
    }

    #[test]
    fn every_wrong_test_is_named_with_its_place() {
        let errors = errors_of(
            r#"
config: {}
tests:
  - { name: a, request: { url: "http://h" }, expcet: {} }
  - { name: b, request: { url: "http://h", metod: GET }, expect: {} }
  - { name: c, request: { url: "ftp://h" }, expect: {} }
  - { name: d, steps: [ { request: { url: "http://h" }, expect: { clusta: x } } ] }
  - { name: e, request: { url: "http://h" }, expect: { request_headers: { a: { one_off: [1] } } } }
  - { name: f, request: { url: "http://h", roll: 1 }, expect: {} }
  - { name: g, request: { url: "http://h", headers: [[a, 1.10]] }, expect: {} }
  - { name: h, request: { url: "http://h", headers: { a: b } }, expect: {} }
  - { name: i, request: { url: "http://h" }, expect: {}, after: 5 }
  - { name: j, request: { url: "http://h" }, expect: {}, cookies: drop }
  - { name: k, request: { url: "http://h", client_ip: 1.2.3 }, expect: {} }
  - { name: l, request: { url: "http://h/a b" }, expect: {} }
  - { name: m, request: { url: "http://h" } }
  - { name: n, steps: [] }
  - { request: { url: "http://h" }, expect: {} }
  - { name: o, request: { url: "http://h", headers: [[a, "b\r\nc: d"]] }, expect: {} }
  - { name: p, request: { url: "http://h" }, expect: {}, repeat: 0 }
  - { name: q, request: { url: "http://h", headers: [[a, { bytes: "\u0100" }]] }, expect: {} }
  - { name: r, request: { url: "http://h" }, expect: { cluster: { regex: "(" } } }
"#,
        );
        for (error, part) in errors.iter().zip([
            "tests[0].expcet: unknown key, did you mean `expect`?",
            "tests[1].request.metod: unknown key, did you mean `method`?",
            "tests[2].request.url: found `ftp://h`",
            "tests[3].steps[0].expect.clusta: unknown key, did you mean `cluster`?",
            "tests[4].expect.request_headers.a.one_off: unknown key, did you mean `one_of`?",
            "tests[5].request.roll: found 1, should be a number from 0 to below 1",
            "tests[6].request.headers[0].a: found 1.1, should be text (in quotes)",
            "tests[7].request.headers: found {\"a\":\"b\"}, should be a list",
            "tests[8].after: found 5, should be a duration",
            "tests[9].cookies: found \"drop\", should be `keep`",
            "tests[10].request.client_ip: found \"1.2.3\", should be an IP address",
            "tests[11].request.url: the byte 0x20 must be percent-encoded",
            "tests[12]: `expect` is missing",
            "tests[13].steps: found none",
            "tests[14]: `name` is missing",
            "tests[15].request.headers[0].a: no header can hold the byte 0x0d",
            "tests[16].repeat: found 0, should be a whole number from 1 to 100000",
            "tests[17].request.headers[0].a.bytes: `Ā` is more than a byte",
            "tests[18].expect.cluster.regex: ",
        ]) {
            assert!(error.starts_with(part), "{error:?} is not {part:?}");
        }
        assert_eq!(errors.len(), 19, "{errors:#?}");
        for (text, part) in [
            ("config: {}\nconfig: {}\ntests: []", "config"),
            ("config: {}", "`tests` is missing"),
            ("config: {}\ntests: []", "tests: found none"),
            ("config: 1\ntests: []", "config: found 1"),
            (
                "confg: {}\ntests: []",
                "confg: unknown key, did you mean `config`?",
            ),
            ("[]", "the file: found [], should be a mapping"),
        ] {
            assert!(
                errors_of(text)[0].contains(part),
                "{text}: {:?}",
                errors_of(text)
            );
        }
    }
}
