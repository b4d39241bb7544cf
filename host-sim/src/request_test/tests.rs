use super::*;
use serde_json::json;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// A host that forwards each request to one cluster and records how it was called.
#[derive(Default)]
struct Scripted {
    requests: Vec<ExchangeRequest>,
    waited: Duration,
    reconnected: u32,
}

impl Host for Rc<RefCell<Scripted>> {
    fn exchange(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String> {
        self.borrow_mut().requests.push(request.clone());
        Ok(ExchangeResult {
            decision: json!({ "route": "a", "action": "forward", "cluster": "blue" }),
            response: request.upstream.clone(),
            upstream_headers: Some(request.headers.clone()),
            upstream_cluster: Some("blue".to_owned()),
            upstream_endpoint: None,
        })
    }

    fn advance(&mut self, by: Duration) {
        self.borrow_mut().waited += by;
    }

    fn name(&self) -> String {
        "scripted".to_owned()
    }

    fn hold(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String> {
        self.exchange(request)
    }

    fn reconnect(&mut self) {
        self.borrow_mut().reconnected += 1;
    }
}

const CONFIG: &str = "config: { routes: [ { name: a, pass: true }, { name: b, pass: true } ] }";

/// Runs one test, given in flow style without its name.
fn run_one(test: &str) -> (Scripted, TestReport) {
    let text = format!("{CONFIG}\ntests: [ {{ name: one, {test} }} ]");
    let file =
        File::parse(&text, |_| unreachable!()).unwrap_or_else(|errors| panic!("{text}: {errors}"));
    let host = Rc::new(RefCell::new(Scripted::default()));
    let report = run(&file, || Ok(Box::new(host.clone())));
    (host.take(), report)
}

#[test]
fn every_matcher_accepts_what_it_names_and_nothing_else() {
    for (expect, passes) in [
        ("{}", true),
        ("{ cluster: blue }", true),
        ("{ cluster: green }", false),
        ("{ cluster: null }", false),
        ("{ pool: null }", true),
        ("{ cluster: { present: true } }", true),
        ("{ cluster: { present: false } }", false),
        ("{ pool: { present: true } }", false),
        ("{ pool: { present: false } }", true),
        ("{ cluster: { not: green } }", true),
        ("{ cluster: { not: blue } }", false),
        ("{ cluster: { one_of: [green, blue] } }", true),
        ("{ cluster: { one_of: [green, red] } }", false),
        ("{ cluster: { one_of: [null, { regex: \"b.*\" }] } }", true),
        ("{ cluster: { regex: \"b.\" } }", false),
        ("{ cluster: { bytes: blue } }", true),
        ("{ request_headers: { X-A: \"1,\\xe9\" } }", true),
        ("{ request_headers: { x-a: \"1\" } }", false),
        (
            "{ request_headers: { x-n: 7, x-b: { bytes: \"\\xff\" } } }",
            true,
        ),
        ("{ request_headers: { x-b: { bytes: \"\\xfe\" } } }", false),
        (
            "{ request_headers: { x-b: { regex: \"(?-u:[\\\\x80-\\\\xff])\" } } }",
            true,
        ),
        ("{ request_headers: { x-none: null } }", true),
        ("{ request_headers: { x-none: { present: true } } }", false),
        ("{ request_headers: { x-n: null } }", false),
        ("{ response_headers: { x-r: s } }", true),
        ("{ response_headers: { x-r: t } }", false),
        ("{ body: hello }", true),
        ("{ body: hell }", false),
    ] {
        let (_, report) = run_one(&format!(
            "request: {{ url: \"http://h\", headers: [[x-a, 1], [x-a, é], [x-n, 7], [x-b, {{ bytes: \"\\xff\" }}]] }},
             upstream_response: {{ headers: [[x-r, s]], body: hello }},
             expect: {expect}"
        ));
        assert_eq!(
            report.outcomes[0].failure.is_none(),
            passes,
            "{expect}: {report:?}"
        );
    }
}

#[test]
fn failure_says_where_what_was_expected_and_what_came() {
    let (_, report) = run_one(
        "steps: [ { request: { url: \"http://h/p\" }, expect: {} },
                  { request: { url: \"http://h/p\" }, repeat: 2, expect: { cluster: green, request_headers: { a: { not: null } } } } ]",
    );
    assert_eq!(
        report.outcomes[0]
            .failure
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some(
            "step 2, request 1 of 2: GET http://h/p\n  cluster: expected \"green\", got \"blue\"\n  \
             request_headers.a: expected not nothing, got nothing"
        )
    );
}

#[test]
fn routes_that_no_request_reached_are_named() {
    let (_, report) = run_one("request: { url: \"http://h\" }, expect: {}");
    assert_eq!(
        report.coverage.unreached_routes().collect::<Vec<_>>(),
        ["b"]
    );
}

#[test]
fn kept_cookies_are_those_that_were_given_and_not_taken_away() {
    let step = |given: &str, keep: &str, header: &str| {
        format!(
            "{{ request: {{ url: \"http://h\", headers: [{header}] }}, {keep}
                upstream_response: {{ headers: [{given}] }}, expect: {{}} }}"
        )
    };
    let keep = "cookies: keep,";
    let (host, _) = run_one(&format!(
        "steps: [{}, {}, {}, {}, {}, {}]",
        step(
            "[set-cookie, \"a=1=2; Path=/; Max-Age=5\"], [set-cookie, b=2]",
            keep,
            ""
        ),
        step("", keep, ""),
        step("", "", ""),
        step(
            "[set-cookie, \"a=gone; Max-Age=0\"], [set-cookie, b=3], [set-cookie, nonsense]",
            keep,
            "[cookie, c=4]"
        ),
        step("[set-cookie, \"b=; max-age=0\"]", keep, ""),
        step("", keep, ""),
    ));
    let sent: Vec<_> = host
        .requests
        .iter()
        .map(|request| {
            request
                .headers
                .first()
                .map_or("none".to_owned(), |(_, value)| shown(value))
        })
        .collect();
    assert_eq!(
        sent,
        [
            "none",
            "a=1=2; b=2",
            "none",
            "c=4; a=1=2; b=2",
            "b=3",
            "none"
        ]
    );
}

#[test]
fn step_waits_once_and_repeats() {
    let (host, _) = run_one(
        "steps: [ { request: { url: \"http://h\" }, repeat: 3, after: 2s, connection: new, expect: {} },
                  { request: { url: \"http://h\" }, after: 1m, expect: {} } ]",
    );
    assert_eq!(
        (host.requests.len(), host.waited, host.reconnected),
        (4, Duration::from_secs(62), 1)
    );
}

#[test]
fn counts_are_exact() {
    for (counts, failure) in [
        ("{ cluster: { blue: 3 } }", None),
        (
            "{ cluster: { blue: { one_of: [2, 3] } }, pool: { \"null\": 3 } }",
            None,
        ),
        (
            "{ cluster: { blue: 2 } }",
            Some("  count of cluster blue: expected 2, got 3"),
        ),
        (
            "{ cluster: { blue: 3, green: 1 } }",
            Some("  count of cluster green: expected 1, got 0"),
        ),
        (
            "{ cluster: {} }",
            Some("  count of cluster blue: expected 0, as it is not named, got 3"),
        ),
    ] {
        let (_, report) = run_one(&format!(
            "request: {{ url: \"http://h\" }}, repeat: 3, expect_counts: {counts}"
        ));
        let failure = failure.map(|line| format!("request 3 of 3: GET http://h/\n{line}"));
        let found = report.outcomes[0].failure.as_ref().map(ToString::to_string);
        assert_eq!(found, failure, "{counts}");
    }
}

#[test]
fn host_that_fails_fails_the_test() {
    let file = File::parse(
        &format!(
            "{CONFIG}\ntests: [ {{ name: one, request: {{ url: \"http://h\" }}, expect: {{}} }} ]"
        ),
        |_| unreachable!(),
    );
    let report = run(&file.unwrap(), || Err("no host".to_owned()));
    let found = report.outcomes[0].failure.as_ref().map(ToString::to_string);
    assert_eq!(found.as_deref(), Some("no host"));
}

#[test]
fn condition_is_reached_when_it_was_true_and_false() {
    let config = r#"config: { routes: [
        { name: a, match: [ { hosts: [h], methods: [GET] }, { path: { prefix: / } } ], pass: true },
        { name: b, match: { headers: [ { name: x, exact: "1" }, { name: y, present: true } ] }, pass: true } ] }"#;
    let unreached = |tests: &str| {
        let file =
            File::parse(&format!("{config}\ntests: [ {tests} ]"), |_| unreachable!()).unwrap();
        let host = Rc::new(RefCell::new(Scripted::default()));
        let report = run(&file, || Ok(Box::new(host.clone())));
        let unreached = report.coverage.unreached_conditions();
        let lines: Vec<_> = unreached
            .map(|it| format!("{} {} {}", it.route, it.condition, it.what))
            .collect();
        (lines, report.coverage.count())
    };
    let rest = [
        "b header x: exact 1 never looked at",
        "b header y: present never looked at",
    ];
    // `path: { prefix: / }` is nothing to reach.
    let one = "{ name: one, request: { url: \"http://h/\" }, expect: {} }";
    let expected = ["a host: h never false", "a method: GET never false"];
    assert_eq!(
        unreached(one),
        (
            [&expected[..], &rest]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect(),
            (1, 6)
        )
    );
    let two = "{ name: two, request: { url: \"http://g/\" }, expect: {} }";
    let expected = ["a method: GET never false"];
    assert_eq!(
        unreached(&format!("{one}, {two}")),
        (
            [&expected[..], &rest]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect(),
            (2, 6)
        )
    );
}

#[test]
fn a_count_about_a_number_is_off_by_what_chance_brings_about() {
    use super::compare::{Actual, Matcher};
    let is = |matcher: &Matcher, count: u64| matcher.matches(Actual::Json(&count.into()));
    for (count, all, shown) in [
        (50, 1000, "about 50: from 13 to 99"),
        (900, 1000, "about 900: from 835 to 955"),
        (2500, 10_000, "about 2500: from 2228 to 2779"),
        // Few of many are spread to one side: five standard deviations would end at 5.
        (1, 100, "about 1: from 0 to 12"),
        // So few draws tell nothing.
        (1, 2, "about 1: from 0 to 2"),
    ] {
        assert_eq!(Matcher::about(count, all).to_string(), shown);
    }
    let about = Matcher::about(50, 1000);
    for (count, good) in [
        (12, false),
        (13, true),
        (50, true),
        (99, true),
        (100, false),
    ] {
        assert_eq!(is(&about, count), good, "{count}");
    }
    let all = Matcher::about(10, 10);
    assert!(is(&all, 10) && !is(&all, 9));
    let none = Matcher::about(0, 10);
    assert!(is(&none, 0) && !is(&none, 1));
}

#[test]
fn the_file_of_every_key_has_every_key_and_passes() {
    let text = include_str!("../../examples/every_key_test.yaml");
    let file = File::parse(text, |_| unreachable!()).unwrap();
    let report = run(&file, || {
        let world = crate::world::World::builder()
            .exchanges(&file.config)
            .environment(file.environment.clone())
            .start();
        Ok(Box::new(world.map_err(|error| error.to_string())?) as Box<dyn Host>)
    });
    for outcome in &report.outcomes {
        assert_eq!(outcome.failure, None, "{}", outcome.name);
        assert!(
            outcome.notes.is_empty(),
            "{}: {:?}",
            outcome.name,
            outcome.notes
        );
    }
    let tree = crate::configuration::parse(text).unwrap();
    let tree = crate::configuration::to_json(&tree);
    let mut found = std::collections::BTreeSet::new();
    keys_of(&tree, &mut found);
    for key in super::parse::every_key() {
        assert!(found.contains(*key), "{key} is not in the file");
    }
}

fn keys_of(tree: &Value, found: &mut std::collections::BTreeSet<String>) {
    match tree {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys_of(value, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| keys_of(value, found)),
        _ => {}
    }
}

/// A route that would have matched, if it stood before the one that took the request.
#[test]
fn a_route_that_is_shadowed_is_told_as_that() {
    let failed = |wanted: &str, headers: &str| {
        let text = format!(
            "config: {{ routes: [{{ name: a, match: {{ path: {{ prefix: / }} }}, pass: true }}, \
             {{ name: beta, match: {{ headers: [{{ name: x-beta, exact: '1' }}] }}, pass: true }}] }}\n\
             tests: [{{ name: t, request: {{ url: 'http://h/', headers: [{headers}] }}, \
             expect: {{ route: {wanted} }} }}]"
        );
        let file = File::parse(&text, |_| unreachable!()).unwrap();
        let host = Rc::new(RefCell::new(Scripted::default()));
        let report = run(&file, || Ok(Box::new(host.clone())));
        report.outcomes[0].failure.as_ref().unwrap().hint.clone()
    };
    let told = "`beta` matches too, and `a` stands before it";
    assert_eq!(failed("beta", "[x-beta, '1']").as_deref(), Some(told));
    assert_eq!(failed("beta", ""), None);
    assert_eq!(failed("gamma", "[x-beta, '1']"), None);
}
