use super::report::{Format, MAX_LINES, Report};
use super::*;
use crate::configuration;
use crate::exchange::{ClientTls, Host};
use crate::explain;
use crate::world::World;
use anstyle::Style;
use fastrand::Rng;
use std::net::IpAddr;
use std::path::Path;

struct Loaded {
    tree: Value,
    config: Config,
}

fn load(text: &str) -> Loaded {
    let tree = configuration::parse(text).unwrap();
    let config = Config::from_value(&tree).unwrap_or_else(|it| panic!("{it}: {text}"));
    Loaded { tree, config }
}

fn diff(old: &str, new: &str) -> Diff {
    let (old, new) = (load(old), load(new));
    compare((&old.config, &old.tree), (&new.config, &new.tree))
}

const POOLS: &str = "pools: { web: { targets: [{ cluster: blue, weight: 9 }, { cluster: green }] }, \
                     api: { targets: [{ cluster: api }] } }";

fn table(routes: &str) -> String {
    format!(
        "{POOLS}\nrate_limits: {{ few: {{ requests: 5, per: 1m, key: [] }} }}\nroutes: [{routes}]"
    )
}

fn shown(diff: &Diff) -> Vec<String> {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    let of = |it: &Difference| {
        let keys: Vec<_> = it.changes.iter().map(|change| change.key).collect();
        let url = crate::exchange::shown(&it.example.url());
        format!(
            "{} -> {} {} {url}",
            name(&it.old_route),
            name(&it.new_route),
            keys.join("+")
        )
    };
    diff.differences.iter().map(of).collect()
}

#[test]
fn the_same_table_differs_in_nothing() {
    let text = table(
        "{ name: a, match: { path: { regex: \"/a.*\" } }, pool: web }, { name: b, pool: api }",
    );
    let diff = diff(&text, &text);
    assert!(diff.is_empty(), "{diff:?}");
}

#[test]
fn a_route_that_is_new_takes_the_requests_of_those_behind_it() {
    let old = table(
        "{ name: a, match: { path: { prefix: /a } }, pool: web }, { name: rest, pass: true }",
    );
    let new = table(
        "{ name: b, match: { path: { prefix: /a/b }, headers: [{ name: x, exact: \"1\" }] }, pool: api }, \
         { name: a, match: { path: { prefix: /a } }, pool: web }, { name: rest, pass: true }",
    );
    let diff = diff(&old, &new);
    assert!(diff.not_complete.is_empty(), "{diff:?}");
    assert_eq!(shown(&diff), ["a -> b route+action http://example.com/a/b"]);
    let example = &diff.differences[0].example;
    assert_eq!(example.headers, [(b"x".to_vec(), b"1".to_vec())]);
    let words = &diff.differences[0].changes[1];
    assert_eq!(words.old, "forwarded to web (blue 90 %, green 10 %)");
    assert_eq!(words.new, "forwarded to api (api 100 %)");
}

#[test]
fn a_region_that_earlier_routes_leave_nothing_of_is_none() {
    // `b` and `c` together take all of `a`'s, so its action does not matter.
    let before = "{ name: b, match: { methods: [GET] }, pool: web }, \
                  { name: c, match: { headers: [{ name: \":method\", exact: GET, invert: true }] }, pool: web }";
    let of = |action: &str| {
        table(&format!(
            "{before}, {{ name: a, match: {{ hosts: [a.test] }}, {action} }}"
        ))
    };
    let diff = diff(&of("pool: api"), &of("pass: true"));
    assert!(diff.is_empty(), "{diff:?}");
}

#[test]
fn two_regexes_are_told_apart() {
    let of = |regex: &str| {
        table(&format!(
            "{{ name: a, match: {{ path: {{ regex: \"{regex}\" }} }}, pool: web }}"
        ))
    };
    let diff = diff(&of("/v[0-9]+/.*"), &of("/v[0-9]{1,2}/.*"));
    assert_eq!(
        shown(&diff),
        ["a -> - route+action http://example.com/v000/"]
    );
    assert!(diff.not_complete.is_empty(), "{diff:?}");
}

#[test]
fn what_cannot_be_decided_is_named() {
    let of = |regex: &str| {
        table(&format!(
            "{{ name: a, match: {{ path: {{ regex: \"{regex}\" }} }}, pool: web }}"
        ))
    };
    let diff = diff(&of("(?s)/.*a.{24}"), &of("(?s)/.*b.{24}"));
    assert!(!diff.not_complete.is_empty(), "{diff:?}");
    assert!(
        diff.not_complete[0].contains(".*a.{24}"),
        "{:?}",
        diff.not_complete
    );
}

/// A difference that hangs on a device or a language has an example, or the answer says that it is
/// not complete.
#[test]
fn devices_and_languages_are_told_apart_or_said_not_to_be() {
    let of = |condition: &str| {
        table(&format!(
            "{{ name: a, match: {{ {condition} }}, pool: api }}, {{ name: b, pool: web }}"
        ))
    };
    for (old, new, differ, complete) in [
        ("device: mobile", "device: mobile", &[][..], true),
        (
            "device: mobile",
            "device: tablet",
            &["a -> b", "b -> a"],
            true,
        ),
        (
            "device: mobile",
            "device: [mobile, tablet]",
            &["b -> a"],
            true,
        ),
        (
            "device: mobile",
            "methods: [PUT]",
            &["a -> b", "b -> a"],
            true,
        ),
        (
            "device: [mobile, tablet, desktop, bot]",
            "device: bot",
            &["a -> b"],
            true,
        ),
        ("language: ko", "language: en", &["a -> b", "b -> a"], true),
        // That nobody goes from `a` to `b` hangs on what all routes name, and is not proved.
        ("language: ko", "language: [ko, en]", &["b -> a"], false),
        (
            "language: ko",
            "device: mobile",
            &["a -> b", "b -> a"],
            true,
        ),
        (
            "language: ko, device: bot",
            "language: ko",
            &["b -> a"],
            false,
        ),
    ] {
        let diff = diff(&of(old), &of(new));
        let mut found: Vec<_> = diff
            .differences
            .iter()
            .map(|it| {
                let name = |name: &Option<String>| name.clone().unwrap_or_default();
                format!("{} -> {}", name(&it.old_route), name(&it.new_route))
            })
            .collect();
        found.sort();
        assert_eq!(found, differ, "{old} | {new}: {diff:?}");
        let told = diff.not_complete.is_empty();
        assert_eq!(told, complete, "{old} | {new}: {:?}", diff.not_complete);
    }
}

#[test]
fn a_rewrite_by_prefix_is_another_one_with_another_prefix() {
    let of = |prefix: &str| {
        table(&format!(
            "{{ name: a, match: [{{ path: {{ prefix: /a }}, methods: [GET] }}, {{ path: {{ prefix: {prefix} }} }}], \
             rewrite: {{ path_prefix: / }}, pool: web }}"
        ))
    };
    let diff = diff(&of("/a/b"), &of("/a"));
    let all = shown(&diff);
    assert!(
        all.contains(&"a -> a rewrite http://example.com/a/b".to_owned()),
        "{all:?}"
    );
}

#[test]
fn what_differs_outside_of_routes_is_told_with_what_follows() {
    let of = |weight: u32, key: &str, requests: u32| {
        format!(
            "pools: {{ web: {{ targets: [{{ cluster: blue, weight: 9 }}, {{ cluster: green, weight: {weight} }}], \
             sticky: {{ cookie: {{ name: pm }}, keys: [\"{key}\"] }} }} }}\n\
             rate_limits: {{ few: {{ requests: {requests}, per: 1m, key: [] }} }}\n\
             routes: [{{ name: all, match: {{ path: {{ prefix: /x }} }}, rate_limits: [few], pool: web }}]"
        )
    };
    let one = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISEhISE=";
    let other = "b3RoZXItLW90aGVyLS1vdGhlci0tb3RoZXItLSEhISE=";
    let diff = diff(&of(1, one, 5), &of(3, other, 9));
    assert!(diff.differences.is_empty(), "{diff:?}");
    let all: Vec<_> = diff.settings.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        all,
        [
            "blue: 90 % -> 75 %",
            "green: 10 % -> 25 %",
            "keys: the one that signs now is not among the new ones: every session is lost",
            "requests 5 -> 9",
        ]
    );
    for setting in &diff.settings {
        let example = setting.example.as_ref().unwrap();
        assert_eq!(example.target, b"/x");
        let text = format!("{setting:?}");
        assert!(!text.contains(one) && !text.contains(other), "{text}");
    }
}

#[test]
fn weights_alone_lose_no_session() {
    let of = |weight: u32| {
        format!(
            "pools: {{ web: {{ targets: [{{ cluster: blue, weight: 9 }}, {{ cluster: green, weight: {weight} }}], \
             sticky: {{ cookie: {{ name: pm }} }} }} }}\nroutes: [{{ name: all, pool: web }}]"
        )
    };
    let diff = diff(&of(1), &of(3));
    assert_eq!(diff.settings.len(), 2, "{diff:?}");
    let follows = diff.settings[1].follows.as_deref();
    assert_eq!(follows, Some("sessions stay where they are"));
}

#[test]
fn large_tables_with_few_differences_are_compared_at_once() {
    let of = |odd: &str| {
        let route = |at: usize| {
            let action = if at == 1_700 { odd } else { "pool: web" };
            format!(
                "{{ name: r{at}, match: {{ hosts: [\"h{}.test\"], path: {{ prefix: /p{at} }}, \
                 headers: [{{ name: x-{}, exact: one }}] }}, {action} }}",
                at % 7,
                at % 3
            )
        };
        let all: Vec<_> = (0..2_000).map(route).collect();
        table(&all.join(", "))
    };
    let diff = diff(&of("pool: web"), &of("pass: true"));
    let url = "http://h6.test/p1700";
    assert_eq!(shown(&diff), [format!("r1700 -> r1700 action {url}")]);
    assert!(diff.not_complete.is_empty(), "{:?}", diff.not_complete);
}

/// However much differs, a person reads it in a pull request.
#[test]
fn a_summary_for_a_pull_request_is_short() {
    let routes = |name: &str| -> String {
        let route = |n| {
            let path = format!("path: {{ exact: /{n} }}");
            format!("  - {{ name: {name}{n}, match: {{ {path} }}, pool: p{n} }}\n")
        };
        (0..200).map(route).collect()
    };
    let pools = |weight: u32| -> String {
        let targets = format!("[{{ cluster: a, weight: {weight} }}, {{ cluster: b }}]");
        let pool = |n| format!("  p{n}: {{ targets: {targets} }}\n");
        (0..200).map(pool).collect()
    };
    let old = format!("pools:\n{}routes:\n{}", pools(1), routes("old"));
    let new = format!("pools:\n{}routes:\n{}", pools(2), routes("new"));
    let diff = diff(&old, &new);
    assert!(diff.differences.len() >= 200 && diff.settings.len() >= 200);
    let report = Report {
        diff: &diff,
        counts: None,
        files: [Path::new("old.yaml"), Path::new("new.yaml")],
        strong: Style::new(),
        faint: Style::new(),
    };
    let text = report.text(Format::Markdown);
    assert!(text.lines().count() <= MAX_LINES, "{text}");
    assert!(
        text.contains("more differences.\n") && text.contains("\n- … and "),
        "{text}"
    );
    // Nothing is left out elsewhere.
    assert!(report.text(Format::Text).lines().count() > 400);
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// A legal route of any of the conditions.
fn random_route(number: usize, composed: bool, rng: &mut Rng) -> String {
    const PATHS: [&str; 12] = [
        "{ prefix: / }",
        "{ prefix: /a }",
        "{ prefix: /a/b }",
        "{ exact: /a }",
        "{ exact: /A/b }",
        "{ template: \"/{x}/b\" }",
        "{ template: \"/a/{x=**}\" }",
        "{ regex: \"/(a|b)/x[0-9]+\" }",
        "{ regex: \".*b.*\" }",
        "{ regex: \"/a?b*\" }",
        "{ prefix: /b }",
        "{ exact: / }",
    ];
    const TEXTS: [&str; 9] = [
        "exact: one",
        "exact: two",
        "prefix: o",
        "suffix: e",
        "contains: n",
        "regex: \"(one|t.*)\"",
        "present: true",
        "present: false",
        "exact: \"\"",
    ];
    const ACTIONS: [&str; 7] = [
        "pool: web",
        "pool: api",
        "pass: true",
        "respond: { status: 403 }",
        "redirect: { path: /z }",
        "split: [{ pool: web, weight: 1 }, { pool: api, weight: 1 }]",
        "rate_limits: [few], pool: web",
    ];
    let block = |rng: &mut Rng| {
        let mut all = Vec::new();
        if rng.u8(..4) == 0 {
            let hosts = [pick(
                rng,
                &["a.test", "*.a.test", "b.a.test", "*", "B.test"],
            )];
            all.push(format!("hosts: [\"{}\"]", hosts[0]));
        }
        if rng.bool() {
            all.push(format!("path: {}", pick(rng, &PATHS)));
            if rng.u8(..4) == 0 {
                all.push("ignore_case: true".to_owned());
            }
        }
        if rng.u8(..4) == 0 {
            all.push(format!(
                "methods: [{}]",
                pick(rng, &["GET", "POST", "PUT, GET"])
            ));
        }
        if rng.u8(..8) == 0 {
            all.push(format!("scheme: {}", pick(rng, &["http", "https"])));
        }
        for (key, names) in [
            ("headers", &["x-a", "x-b", ":method"][..]),
            ("cookies", &["c"][..]),
            ("query", &["q"][..]),
        ] {
            if rng.u8(..3) > 0 {
                continue;
            }
            let conditions = (0..1 + rng.usize(..2)).map(|_| {
                let invert = if rng.u8(..4) == 0 {
                    ", invert: true"
                } else {
                    ""
                };
                format!(
                    "{{ name: \"{}\", {}{invert} }}",
                    pick(rng, names),
                    pick(rng, &TEXTS)
                )
            });
            let conditions: Vec<_> = conditions.collect();
            all.push(format!("{key}: [{}]", conditions.join(", ")));
        }
        if rng.u8(..5) == 0 {
            let networks = [
                "10.0.0.0/8",
                "10.1.0.0/16",
                "10.1.2.3",
                "2001:db8::/32",
                "0.0.0.0/0",
            ];
            all.push(format!("client_ip: [\"{}\"]", pick(rng, &networks)));
        }
        if composed && rng.u8(..8) == 0 {
            let devices = ["mobile", "[mobile, tablet]", "desktop", "[bot, desktop]"];
            all.push(format!("device: {}", pick(rng, &devices)));
        }
        if composed && rng.u8(..8) == 0 {
            let languages = ["ko", "[ko, en]", "en", "de-at"];
            all.push(format!("language: {}", pick(rng, &languages)));
        }
        if rng.u8(..8) == 0 {
            all.push(format!(
                "tls: {{ sni: [\"{}\"] }}",
                pick(rng, &["a.test", "*.a.test", "*"])
            ));
        }
        format!("{{ {} }}", all.join(", "))
    };
    let blocks = match rng.u8(..4) {
        0 => format!("[{}, {}]", block(rng), block(rng)),
        _ => block(rng),
    };
    let action = pick(rng, &ACTIONS);
    format!("{{ name: r{number}, match: {blocks}, {action} }}")
}

fn random_request(rng: &mut Rng) -> ExchangeRequest {
    let segments = (0..rng.usize(..4)).map(|_| pick(rng, &["a", "b", "A", "x12", "ab", ""]));
    let path = segments.fold(String::new(), |path, segment| format!("{path}/{segment}"));
    let path = if path.is_empty() { "/" } else { &path };
    let host = pick(rng, &["a.test", "b.a.test", "c.a.test", "b.test", "c.test"]);
    let scheme = pick(rng, &["http", "https"]);
    let value = |rng: &mut Rng| pick(rng, &["one", "two", "o", "e", "", "none"]).to_owned();
    let query = match rng.bool() {
        true => format!("?q={}", value(rng)),
        false => String::new(),
    };
    let url = format!("{scheme}://{host}{path}{query}");
    let method = pick(rng, &["GET", "POST", "PUT", "DELETE"]);
    let mut request = ExchangeRequest::new(method.as_bytes(), url.as_bytes()).unwrap();
    for _ in 0..rng.usize(..3) {
        let name = pick(rng, &["x-a", "x-b"]).as_bytes().to_vec();
        request.headers.push((name, value(rng).into_bytes()));
    }
    if rng.bool() {
        let cookie = format!("c={}", value(rng));
        request
            .headers
            .push((b"cookie".to_vec(), cookie.into_bytes()));
    }
    let agent = pick(
        rng,
        &[
            "",
            "Mobile",
            "Tablet",
            "Googlebot/2.1",
            "Mozilla/5.0 (X11; Linux x86_64)",
        ],
    );
    let language = pick(rng, &["", "ko", "en, ko;q=0.5", "de"]);
    for (name, value) in [("user-agent", agent), ("accept-language", language)] {
        if !value.is_empty() {
            request.headers.push((name.into(), value.into()));
        }
    }
    let address = pick(
        rng,
        &[
            "10.1.2.3",
            "10.1.9.9",
            "10.9.9.9",
            "192.0.2.7",
            "2001:db8::1",
        ],
    );
    request.client_ip = Some(address.parse::<IpAddr>().unwrap());
    let sni = pick(rng, &["", "a.test", "b.a.test", "c.test"]);
    request.tls = ClientTls {
        sni: (!sni.is_empty()).then(|| sni.to_owned()),
        peer: None,
    };
    request
}

/// A table, and one that somebody made of it.
fn random_tables(composed: bool, rng: &mut Rng) -> [String; 2] {
    let mut routes: Vec<_> = (0..1 + rng.usize(..6))
        .map(|number| random_route(number, composed, rng))
        .collect();
    let old = table(&routes.join(", "));
    for _ in 0..1 + rng.usize(..2) {
        let at = rng.usize(..routes.len());
        let other = rng.usize(..routes.len());
        match rng.u8(..4) {
            0 => routes.swap(at, other),
            1 => routes[at] = random_route(1_000 + rng.usize(..1_000_000), composed, rng),
            2 if routes.len() > 1 => drop(routes.remove(at)),
            _ if routes.len() < 100 => {
                let number = 2_000_000 + rng.usize(..1_000_000);
                routes.insert(at, random_route(number, composed, rng));
            }
            _ => {}
        }
    }
    [old, table(&routes.join(", "))]
}

/// What a world does with a request, without what is drawn.
fn answer(world: &mut World, loaded: &Loaded, request: &ExchangeRequest) -> String {
    let result = world.exchange(request).unwrap();
    let object = explain::object(&loaded.config, request, &result).unwrap();
    let keys = ["route", "action", "pool", "status"];
    keys.map(|key| object[key].to_string()).join(" ")
}

/// The oracle is the filter: a request that the two tables answer differently falls into a
/// difference that was reported with an example, or the answer says that it is not complete.
#[test]
fn a_request_that_is_answered_differently_falls_into_a_difference() {
    const TABLES: usize = 400;
    let complete = complete_of(TABLES, false);
    assert!(
        complete > TABLES * 9 / 10,
        "{complete} of {TABLES} are complete"
    );
}

/// The same where routes ask for devices and languages.
#[test]
fn a_request_of_any_client_that_is_answered_differently_falls_into_a_difference() {
    const TABLES: usize = 200;
    let complete = complete_of(TABLES, true);
    assert!(complete > TABLES / 2, "{complete} of {TABLES} are complete");
}

/// Holds so many random tables to the law, and returns how many answers are complete.
fn complete_of(tables: usize, composed: bool) -> usize {
    let seed: u64 = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    let mut rng = Rng::with_seed(seed);
    let (mut answered, mut complete) = (0, 0);
    for number in 0..10 * tables {
        // How many requests are answered differently is chance: so many are asked as it takes.
        if number >= tables && answered > tables * 5 / 2 {
            break;
        }
        let is_counted = number < tables;
        let [old, new] = random_tables(composed, &mut rng);
        let what = format!("SEED={seed}\n{old}\n{new}\n");
        let (old, new) = (load(&old), load(&new));
        let pair = ((&old.config, &old.tree), (&new.config, &new.tree));
        let tables = Tables::new(pair.0, pair.1);
        let (diff, keys) = tables.compare(settings(pair.0, pair.1));
        complete += usize::from(is_counted && diff.not_complete.is_empty());
        let world = |loaded: &Loaded| {
            World::builder()
                .exchanges(&configuration::to_json(&loaded.tree))
                .start()
                .unwrap()
        };
        let mut worlds = [world(&old), world(&new)];
        // Each example shows what it is an example of.
        for (at, difference) in diff.differences.iter().enumerate() {
            let falls = tables.falls(&difference.example, &diff, &keys);
            assert_eq!(falls.difference, Some(Some(at)), "{what}{difference:?}");
        }
        for _ in 0..60 {
            let mut request = random_request(&mut rng);
            request.roll = Some(0.25);
            let answers = [
                answer(&mut worlds[0], &old, &request),
                answer(&mut worlds[1], &new, &request),
            ];
            let falls = tables.falls(&request, &diff, &keys);
            if answers[0] == answers[1] {
                continue;
            }
            answered += 1;
            match falls.difference {
                Some(Some(_)) => {}
                Some(None) => assert!(
                    !diff.not_complete.is_empty(),
                    "{what}{request:?}\n{answers:?}\n{:?}",
                    shown(&diff)
                ),
                // A limit that the one table had charged before.
                None if answers.iter().any(|it| it.contains("rate_limited")) => {}
                None => panic!("{what}{request:?}\n{answers:?}"),
            }
        }
    }
    println!("seed {seed}: {complete} of {tables} are complete, {answered} answered differently");
    assert!(answered > tables * 5 / 2, "{answered}");
    complete
}
