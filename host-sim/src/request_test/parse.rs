//! Reads a test file into what can be run, or refuses it with every problem and its place. The
//! configuration's own reader walks the tree.

use super::compare::{Counts, Expect, Matcher};
use crate::configuration::{self, LoadError, PATH_OR_CONFIGURATION};
use crate::connection_manager::{self, ConnectionManager};
use crate::environment::{self, Environment};
use crate::exchange::{ClientTls, ExchangeRequest, Pairs, Response};
use crate::explain;
use crate::keys::joined;
use pointsman_core::config::Config;
use pointsman_core::config::problem::Problems;
use pointsman_core::config::reader::{Map, Node, Report};
use pointsman_core::config::value::Value;
use pointsman_core::http::regex::Regex;
use pointsman_core::time::Nanos;
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// A test file.
#[derive(Debug)]
pub struct File {
    /// The configuration as JSON.
    pub config: serde_json::Value,
    /// The same, loaded.
    pub loaded: Config,
    /// The variables that it asks for: those of the file, and else of this process.
    pub environment: Environment,
    /// What the proxy of the configuration's file does to requests first. Where the file is no
    /// proxy's: nothing.
    pub manager: ConnectionManager,
    /// The tests in the order of the file; at least one.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// The name that reports show; need not be unique.
    pub name: String,
    /// The steps in order; at least one.
    pub steps: Vec<TestStep>,
}

/// A request, how often it is sent, and what must become of it.
#[derive(Debug)]
pub struct TestStep {
    /// The request.
    pub request: ExchangeRequest,
    /// How often the request is sent: 1 to [`MAX_REPEAT`], default 1.
    pub repeat: u32,
    /// How long the step waits before its first request. Default 0.
    pub after: Duration,
    /// Whether the cookies of earlier steps are sent. Default false.
    pub keep_cookies: bool,
    /// Whether connections that were kept are dropped first. Default false.
    pub new_connection: bool,
    /// Whether its requests stay in flight. Default false.
    pub holds: bool,
    /// What must become of every repetition.
    pub expect: Expect,
    /// What must become of all repetitions together.
    pub counts: Counts,
}

/// The most repetitions of a step: a second or so on the simulator. More is a load test, which is
/// another tool's work.
pub const MAX_REPEAT: u32 = 100_000;

/// The most entries of a list or a map, so that a mistake in a generated file is reported instead
/// of run.
const MAX_ENTRIES: usize = 100_000;
/// The longest `after`: a year of virtual time.
const MAX_AFTER: Nanos = Nanos::from_secs(366 * 24 * 3600);

const FILE: &[&str] = &["config", "env", "tests"];
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
/// A test's own keys, and those of [`STEP`], which a test of one step has itself.
const TEST: &[&str] = &joined::<{ STEP.len() + 2 }>(&["name", "steps"], STEP);
const REQUEST: &[&str] = &["method", "url", "headers", "client_ip", "tls", "roll"];
const UPSTREAM_RESPONSE: &[&str] = &["status", "headers", "body"];
const MATCHERS: &[&str] = &["one_of", "not", "present", "regex", "bytes"];
const COUNT_MATCHERS: &[&str] = &["min", "max", "about", "one_of", "not"];
/// The keys of `expect`: those of explain's object, and `body`.
const EXPECT: &[&str] = &joined::<{ explain::KEYS.len() + 1 }>(&explain::KEYS, &["body"]);

/// Every key of the format, some of them several times.
#[cfg(test)]
pub(super) fn every_key() -> impl Iterator<Item = &'static &'static str> {
    let lists = [
        FILE,
        STEP,
        TEST,
        REQUEST,
        UPSTREAM_RESPONSE,
        MATCHERS,
        COUNT_MATCHERS,
        EXPECT,
        &explain::TRACE_KEYS,
        &["sni", "peer"],
    ];
    lists.into_iter().flatten()
}

const TESTS: &str = "a list of at least one test";
const STEPS: &str = "a list of at least one step";
const TEXT_OR_BYTES: &str = "text (in quotes), or `{ bytes: … }`";
const PAIR: &str = "a pair of name and value: `[name, value]`";

impl File {
    /// Reads a file and the configuration that it names, by itself or inside an Envoy
    /// configuration.
    pub fn read(path: &Path) -> Result<File, LoadError> {
        let text = configuration::text_of(path)?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let manager = RefCell::default();
        let mut file = File::parse(&text, |config| {
            let path = beside.join(config);
            let text = configuration::text_of(&path)?;
            if let Some(of_file) = connection_manager::of_file(&text, &path) {
                manager.replace(of_file);
            }
            configuration::read(&path)
        })?;
        file.manager = manager.into_inner();
        Ok(file)
    }

    /// Reads a file's text; `read` reads the configuration that it names. An error has every
    /// problem of the file.
    pub fn parse(
        text: &str,
        read: impl Fn(&str) -> Result<Value, LoadError>,
    ) -> Result<File, Problems> {
        let tree = configuration::parse(text)?;
        let mut report = Report::default();
        let parsed = file(&Node::root(&tree), &read, &mut report);
        configuration::finish(report, "the file")?;
        Ok(parsed.expect("a file without problems is whole"))
    }
}

fn file(
    node: &Node<'_>,
    read: &dyn Fn(&str) -> Result<Value, LoadError>,
    report: &mut Report,
) -> Option<File> {
    let map = node.map(report, FILE)?;
    let env = map.get("env");
    let env = env.map(|node| environment::read(&node, report));
    let mut environment = env.unwrap_or_default();
    let config = map.need(report, "config", PATH_OR_CONFIGURATION);
    let config = config
        .and_then(|node| configuration::named_or_inline(&node, read, &mut environment, report));
    let mut tests = Vec::new();
    if let Some(list) = map.need(report, "tests", TESTS) {
        for node in list.filled_list(report, TESTS, MAX_ENTRIES) {
            tests.extend(test(&node, report));
        }
    }
    let (config, loaded) = config?;
    Some(File {
        config,
        loaded,
        environment,
        manager: ConnectionManager::default(),
        tests,
    })
}

fn test(node: &Node<'_>, report: &mut Report) -> Option<Test> {
    let map = node.map(report, TEST)?;
    let name = map
        .need(report, "name", "a name")
        .and_then(|node| node.text(report, "text (in quotes)"));
    let mut steps = Vec::new();
    match map.get("steps") {
        None => steps.extend(step(&map, report)),
        Some(list) => {
            for key in map.iter().filter(|node| STEP.contains(&node.key())) {
                report.note(&key, "stands beside steps", "this key in each of the steps");
            }
            for node in list.filled_list(report, STEPS, MAX_ENTRIES) {
                let map = node.map(report, STEP);
                steps.extend(map.and_then(|map| step(&map, report)));
            }
        }
    }
    Some(Test {
        name: name?.to_owned(),
        steps,
    })
}

/// Reads a step from its own map, or from that of the test that it is alone in.
fn step(map: &Map<'_>, report: &mut Report) -> Option<TestStep> {
    let request = map
        .need(report, "request", "a request: url, and more")
        .and_then(|node| request(&node, report));
    let upstream = map
        .get("upstream_response")
        .and_then(|node| upstream_response(&node, report));
    let repeat = map
        .get("repeat")
        .and_then(|node| node.whole(report, 1, MAX_REPEAT));
    let after = map
        .get("after")
        .and_then(|node| node.duration(report, Nanos::ZERO, MAX_AFTER, "at most a year"));
    let cookies = map.get("cookies");
    let keep_cookies = cookies.is_some_and(|node| node.choice(report, &[("keep", ())]).is_some());
    let connection = map
        .get("connection")
        .and_then(|node| node.choice(report, &[("new", false), ("hold", true)]));
    map.need_any(report, &["expect", "expect_counts"]);
    let expect = map.get("expect").and_then(|node| expect(&node, report));
    let counts = map
        .get("expect_counts")
        .and_then(|node| counts(&node, repeat.unwrap_or(1), report));
    let mut request = request?;
    request.upstream = upstream.unwrap_or(Response::bare(200));
    Some(TestStep {
        request,
        repeat: repeat.unwrap_or(1),
        after: Duration::from_nanos(after.unwrap_or(Nanos::ZERO).get()),
        keep_cookies,
        new_connection: connection == Some(false),
        holds: connection == Some(true),
        expect: expect.unwrap_or_default(),
        counts: counts.unwrap_or_default(),
    })
}

fn request(node: &Node<'_>, report: &mut Report) -> Option<ExchangeRequest> {
    let map = node.map(report, REQUEST)?;
    let method = map
        .get("method")
        .and_then(|node| node.text(report, "a method"));
    let headers = map.get("headers").map(|node| pairs(&node, report));
    let client_ip = map.get("client_ip").and_then(|node| {
        let address = node.as_text().and_then(|text| text.parse::<IpAddr>().ok());
        if address.is_none() {
            node.wrong(report, "an IP address");
        }
        address
    });
    let tls = map.get("tls").and_then(|node| client_tls(&node, report));
    let roll = map.get("roll").and_then(|node| {
        let roll = node.number().filter(|roll| (0.0..1.0).contains(roll));
        if roll.is_none() {
            node.wrong(report, "a number from 0 to below 1");
        }
        roll
    });
    let url_node = map.need(report, "url", "a URL")?;
    let url = bytes(&url_node, report)?;
    let request = ExchangeRequest::new(method.unwrap_or("GET").as_bytes(), &url)
        .map_err(|found| report.note(&url_node, &found, "a URL"));
    Some(ExchangeRequest {
        client_ip,
        tls: tls.unwrap_or_default(),
        roll,
        ..request.ok()?.with_headers(headers.unwrap_or_default())
    })
}

fn client_tls(node: &Node<'_>, report: &mut Report) -> Option<ClientTls> {
    let map = node.map(report, &["sni", "peer"])?;
    let mut text = |key: &str, expected| {
        let text = map.get(key).and_then(|node| node.text(report, expected));
        text.map(str::to_owned)
    };
    Some(ClientTls {
        // As a proxy has it, whatever the client wrote.
        sni: text("sni", "a host's name").map(|name| name.to_ascii_lowercase()),
        peer: text("peer", "the URI of a certificate"),
    })
}

fn upstream_response(node: &Node<'_>, report: &mut Report) -> Option<Response> {
    let map = node.map(report, UPSTREAM_RESPONSE)?;
    let status = map
        .get("status")
        .and_then(|node| node.whole(report, 200, 599));
    let headers = map.get("headers").map(|node| pairs(&node, report));
    let body = map.get("body").and_then(|node| bytes(&node, report));
    Some(Response {
        status: status.unwrap_or(200) as u16,
        headers: headers.unwrap_or_default(),
        body: body.unwrap_or_default(),
    })
}

fn pairs(node: &Node<'_>, report: &mut Report) -> Pairs {
    let mut pairs = Pairs::new();
    for node in node.list(report, "a list of pairs", MAX_ENTRIES) {
        match node.value() {
            Value::List(items) => match &items[..] {
                [Value::Text(name), value] => {
                    let name = name.to_ascii_lowercase().into_bytes();
                    let value = header_value(&node.item(value, 1), report);
                    pairs.extend(value.map(|value| (name, value)));
                }
                _ => node.wrong(report, PAIR),
            },
            _ => node.wrong(report, PAIR),
        }
    }
    pairs
}

fn header_value(node: &Node<'_>, report: &mut Report) -> Option<Vec<u8>> {
    let value = match node.value() {
        Value::Bool(_) => configuration::to_json(node.value()).to_string().into(),
        // Every whole number up to 2^53 is exact in a double.
        Value::Number(number) if number.fract() == 0.0 && number.abs() <= 2f64.powi(53) => {
            (*number as i64).to_string().into()
        }
        _ => bytes(node, report)?,
    };
    if let Some(byte) = value.iter().find(|byte| b"\0\r\n".contains(byte)) {
        report.note(node, &format!("the byte 0x{byte:02x}"), "a header's value");
        return None;
    }
    Some(value)
}

fn expect(node: &Node<'_>, report: &mut Report) -> Option<Expect> {
    let map = node.map(report, EXPECT)?;
    let mut expect = Expect::default();
    for node in map.iter().filter(|node| EXPECT.contains(&node.key())) {
        match node.key() {
            "request_headers" => expect.request_headers = header_matchers(&node, report),
            "response_headers" => expect.response_headers = header_matchers(&node, report),
            "body" => expect.body = matcher(&node, report),
            key => {
                let matcher = matcher(&node, report);
                expect
                    .keys
                    .extend(matcher.map(|matcher| (key.to_owned(), matcher)));
            }
        }
    }
    Some(expect)
}

fn header_matchers(node: &Node<'_>, report: &mut Report) -> Vec<(String, Matcher)> {
    let mut matchers = named_matchers(node, report);
    for (name, _) in &mut matchers {
        name.make_ascii_lowercase();
    }
    matchers
}

fn named_matchers(node: &Node<'_>, report: &mut Report) -> Vec<(String, Matcher)> {
    let map = node.names(report, "a map of names with values", MAX_ENTRIES);
    let mut matchers = Vec::new();
    for node in map.iter().flat_map(Map::iter) {
        let matcher = matcher(&node, report);
        matchers.extend(matcher.map(|matcher| (node.key().to_owned(), matcher)));
    }
    matchers
}

fn counts(node: &Node<'_>, repeat: u32, report: &mut Report) -> Option<Counts> {
    let map = node.map(report, &explain::KEYS)?;
    let mut counts = Counts::new();
    for node in map.iter() {
        let names = node.names(report, "a map of values with counts", MAX_ENTRIES);
        let mut matchers = Vec::new();
        for name in names.iter().flat_map(Map::iter) {
            let matcher = count_matcher(&name, repeat, report);
            matchers.extend(matcher.map(|matcher| (name.key().to_owned(), matcher)));
        }
        counts.push((node.key().to_owned(), matchers));
    }
    Some(counts)
}

fn count_matcher(node: &Node<'_>, repeat: u32, report: &mut Report) -> Option<Matcher> {
    let Value::Map(entries) = node.value() else {
        return matcher(node, report);
    };
    let has = |key: &str| entries.iter().any(|(other, _)| other == key);
    if has("one_of") || has("not") {
        return matcher(node, report);
    }
    let map = node.map(report, COUNT_MATCHERS)?;
    let mut whole = |key: &str| {
        let node = map.get(key)?;
        node.whole(report, 0, MAX_REPEAT)
    };
    let (min, max, about) = (whole("min"), whole("max"), whole("about"));
    let found = match (min, max, about) {
        (None, None, Some(about)) if about <= repeat => return Some(Matcher::about(about, repeat)),
        (None, None, Some(about)) => format!("about {about} of {repeat}"),
        (_, _, Some(_)) => "about stands beside min or max".to_owned(),
        (Some(min), Some(max), None) if min > max => format!("min {min}, max {max}"),
        (None, None, None) => "none of min, max, about".to_owned(),
        (min, max, None) => {
            return Some(Matcher::Between {
                min: min.unwrap_or(0).into(),
                max: max.map(u64::from),
                about: None,
            });
        }
    };
    // Keys that are unknown, and values that are no numbers, are told already.
    if entries.is_empty() || (min, max, about) != (None, None, None) {
        report.note(
            node,
            &found,
            "`{ min, max }`, either of them, or `{ about }`",
        );
    }
    None
}

fn matcher(node: &Node<'_>, report: &mut Report) -> Option<Matcher> {
    Some(match node.value() {
        Value::Null => Matcher::Null,
        Value::List(_) => Matcher::List(matchers(node, report)),
        Value::Map(entries) if is_trace_item(entries) => {
            Matcher::Object(named_matchers(node, report))
        }
        Value::Map(_) => {
            let map = node.map(report, MATCHERS)?;
            let node = map.exactly_one(report, MATCHERS)?;
            match node.key() {
                "one_of" => Matcher::OneOf(matchers(&node, report)),
                "not" => Matcher::Not(Box::new(matcher(&node, report)?)),
                "present" => Matcher::Present(node.yes(report)?),
                "regex" => {
                    let regex = Regex::new(node.text(report, "a regular expression")?, false);
                    let regex = regex.map_err(|found| report.note(&node, &found, "a valid one"));
                    Matcher::Regex(regex.ok()?)
                }
                _ => Matcher::Bytes(latin1(&node, report)?),
            }
        }
        scalar => Matcher::Scalar(configuration::to_json(scalar)),
    })
}

/// Whether a map is compared with an item of explain's `trace` key by key, and is no matcher.
fn is_trace_item(entries: &[(String, Value)]) -> bool {
    let is_key = |(key, _): &(String, Value)| explain::TRACE_KEYS.contains(&key.as_str());
    !entries.is_empty() && entries.iter().all(is_key)
}

fn matchers(node: &Node<'_>, report: &mut Report) -> Vec<Matcher> {
    let items = node.list(report, "a list", MAX_ENTRIES);
    items.filter_map(|node| matcher(&node, report)).collect()
}

/// Text as UTF-8, or `{ bytes: "\xff" }`.
fn bytes(node: &Node<'_>, report: &mut Report) -> Option<Vec<u8>> {
    match node.value() {
        Value::Text(text) => Some(text.clone().into_bytes()),
        Value::Map(_) => {
            let map = node.map(report, &["bytes"])?;
            latin1(&map.need(report, "bytes", TEXT_OR_BYTES)?, report)
        }
        _ => {
            node.wrong(report, TEXT_OR_BYTES);
            None
        }
    }
}

/// Text each of whose characters stands for one byte.
fn latin1(node: &Node<'_>, report: &mut Report) -> Option<Vec<u8>> {
    const EXPECTED: &str = "text (in quotes), each character at most U+00FF";
    let text = node.text(report, EXPECTED)?;
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    if bytes.is_err() {
        node.wrong(report, EXPECTED);
    }
    bytes.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn errors_of(text: &str) -> Vec<String> {
        let read = |path: &str| Err(io::Error::other(format!("no {path}")));
        let problems = File::parse(text, |path| read(path).map_err(LoadError::Unreadable));
        let problems = problems.expect_err(text).0;
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn file_says_what_is_sent() {
        let file = File::parse(
            r#"
config: { routes: [ { name: a, pass: true }, { name: b, pass: true } ] }
tests:
  - name: everything
    request: { method: PUT, url: "https://h:1?q=1#f", headers: [[X-A, 1], [x-b, { bytes: "\xff\x01" }]], client_ip: "::1", tls: { sni: A.example, peer: "spiffe://m/a" }, roll: 0.37 }
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
            everything.steps[0].request,
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
                tls: ClientTls {
                    sni: Some("a.example".to_owned()),
                    peer: Some("spiffe://m/a".to_owned()),
                },
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
        assert_eq!(first.request.target, b"/\xe9");
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
        assert_eq!(
            errors_of(text),
            ["config: shop.yaml: no shop.yaml; expected a configuration that loads"]
        );
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
            "tests[0].expcet: unknown key; …; did you mean `expect`?",
            "tests[1].request.metod: unknown key; …; did you mean `method`?",
            "tests[2].request.url: `ftp://h` does not start with http:// or https://",
            "tests[3].steps[0].expect.clusta: unknown key; …; did you mean `cluster`?",
            "tests[4].expect.request_headers.a.one_off: unknown key; …; did you mean `one_of`?",
            "tests[5].request.roll: the number 1; expected a number from 0 to below 1",
            "tests[6].request.headers[0][1]: the number 1.1; expected text (in quotes)",
            "tests[7].request.headers: a map; expected a list",
            "tests[8].after: the number 5; expected a duration",
            "tests[9].cookies: the string \"drop\"; expected one of keep",
            "tests[10].request.client_ip: the string \"1.2.3\"; expected an IP address",
            "tests[11].request.url: the byte 0x20 in `http://h/a b`, which must be percent-encoded",
            "tests[12]: neither expect nor expect_counts; expected at least one of them",
            "tests[13].steps: an empty list; expected a list of at least one step",
            "tests[14].name: missing",
            "tests[15].request.headers[0][1]: the byte 0x0d",
            "tests[16].repeat: the number 0; expected a whole number from 1 to 100000",
            "tests[17].request.headers[0][1].bytes: the string \"Ā\"; expected text (in quotes), each",
            "tests[18].expect.cluster.regex: ",
        ]) {
            let (start, end) = part.split_once('…').unwrap_or((part, ""));
            assert!(
                error.starts_with(start) && error.ends_with(end),
                "{error:?} is not {part:?}"
            );
        }
        assert_eq!(errors.len(), 19, "{errors:#?}");
        for (text, part) in [
            ("config: {}\nconfig: {}\ntests: []", "config: given twice"),
            ("config: {}", "tests: missing"),
            ("config: {}\ntests: []", "tests: an empty list"),
            ("config: 1\ntests: []", "config: the number 1"),
            ("confg: {}\ntests: []", "did you mean `config`?"),
            (
                "[]",
                "the file: a list; expected a map of config, env, tests",
            ),
            ("config: {\n", "line "),
        ] {
            assert!(
                errors_of(text)[0].contains(part),
                "{text}: {:?}",
                errors_of(text)
            );
        }
    }

    #[test]
    fn counts_that_no_run_can_have_are_refused() {
        let of = |count: &str| {
            errors_of(&format!(
                "config: {{}}\ntests: [{{ name: a, request: {{ url: \"http://h\" }}, repeat: 9, \
                 expect_counts: {{ pool: {{ p: {count} }} }} }}]"
            ))
        };
        for (count, found) in [
            ("{ about: 10 }", "about 10 of 9"),
            ("{ min: 3, max: 2 }", "min 3, max 2"),
            ("{ about: 3, max: 4 }", "about stands beside min or max"),
            ("{}", "none of min, max, about"),
            ("{ min: x }", "a whole number from 0 to 100000"),
            ("{ least: 1 }", "unknown key"),
        ] {
            let errors = of(count);
            assert!(errors[0].contains(found), "{count}: {errors:?}");
        }
    }

    #[test]
    fn every_error_of_one_test_is_told_at_once() {
        const WRONG: &str = r#"
tests:
  - name: 7
    request: { url: "ftp://h", method: 1, roll: 2, headers: [[a, 1.5], [b], [c, { bytes: 1 }]] }
    upstream_response: { status: 99, body: [] }
    expect: { clusta: x, cluster: { one_of: [{ regex: "(" }, { not: { present: 1 } }] } }
    expect_counts: { pool: { p: { one_of: 1 } } }
    repeat: 0
    connection: old
"#;
        // The places of the errors.
        let places = |text: &str| {
            let errors = errors_of(text).into_iter();
            errors
                .map(|error| error.split(": ").next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let next = "  - { name: b, request: { url: \"http://h\" }, expect: { body: {} } }";
        assert_eq!(
            places(&format!(
                "config: {{ rotes: [] }}{WRONG}    steps: []\n{next}\n"
            )),
            [
                "config.rotes",
                "tests[0].name",
                "tests[0].request",
                "tests[0].upstream_response",
                "tests[0].expect",
                "tests[0].expect_counts",
                "tests[0].repeat",
                "tests[0].connection",
                "tests[0].steps",
                "tests[1].expect.body",
            ]
        );
        assert_eq!(
            places(&format!("config: {{}}{WRONG}")),
            [
                "tests[0].name",
                "tests[0].request.url",
                "tests[0].request.method",
                "tests[0].request.roll",
                "tests[0].request.headers[0][1]",
                "tests[0].request.headers[1]",
                "tests[0].request.headers[2][1].bytes",
                "tests[0].upstream_response.status",
                "tests[0].upstream_response.body",
                "tests[0].expect.clusta",
                "tests[0].expect.cluster.one_of[0].regex",
                "tests[0].expect.cluster.one_of[1].not.present",
                "tests[0].expect_counts.pool.p.one_of",
                "tests[0].repeat",
                "tests[0].connection",
            ]
        );
    }
}
