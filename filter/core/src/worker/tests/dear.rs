//! What the dearest request costs beside an ordinary one, in steps: see [`crate::http::steps`].

use super::*;
use crate::http::steps::{REQUEST, TIMES};
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The headers of a request at the shipped edge.
const HEADERS: usize = 16 * 1024;

/// A path with its query, and headers.
type Sent = (String, Vec<(&'static str, String)>);

/// What the decision about a request costs.
fn cost(worker: &mut TestWorker, (path, headers): &Sent) -> u64 {
    let mut pairs = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "h.example.com"),
        (":path", path),
    ];
    pairs.retain(|(name, _)| headers.iter().all(|(given, _)| given != name));
    pairs.extend(headers.iter().map(|(name, value)| (*name, &value[..])));
    let map = Headers::from_pairs(&pairs);
    let request = Request::new(&map);
    let config = worker.worker.config().clone();
    worker
        .worker
        .decide(&config, &request, &mut worker.port, worker.now);
    REQUEST + request.steps.taken()
}

fn path(path: impl Into<String>) -> Sent {
    (path.into(), Vec::new())
}

fn header(name: &'static str, value: impl Into<String>) -> Sent {
    ("/".to_owned(), vec![(name, value.into())])
}

/// Text over and over, up to a length.
fn filled(text: &str, length: usize) -> String {
    text.repeat(length / text.len())
}

/// All that a request may bring.
fn full(text: &str) -> String {
    filled(text, HEADERS)
}

/// As much as a condition looks at.
fn longest(text: &str) -> String {
    filled(text, 8 * 1024)
}

/// Cookies whose names have the place of another among so many, in a table whose hash has no key.
fn beside(name: &str) -> String {
    let place = |name: &str| {
        let mut hasher = fnv::FnvHasher::default();
        std::hash::Hasher::write(&mut hasher, name.as_bytes());
        std::hash::Hasher::finish(&hasher) >> 32 & 2047
    };
    let mut cookies = String::new();
    for other in (0..).map(|n: u32| format!("{n:x}")) {
        if cookies.len() > HEADERS - 16 {
            break;
        }
        if place(&other) == place(name) {
            cookies += &format!("{other}=;");
        }
    }
    cookies
}

/// Routes that never match, and one that does.
fn routes(count: usize, condition: impl Fn(usize) -> Value) -> Value {
    let route = |n| json!({ "name": format!("r{n}"), "match": condition(n), "pass": true });
    let last = json!({ "name": "rest", "pass": true });
    json!({ "routes": (0..count).map(route).chain([last]).collect::<Vec<_>>() })
}

fn rewritten(pattern: &str) -> Value {
    let rewrite = json!({ "path_regex": { "pattern": pattern, "substitution": "/" } });
    json!({ "routes": [{ "name": "all", "rewrite": rewrite, "pass": true }] })
}

/// What it is, the configuration, an ordinary request, and the dear ones.
fn rows() -> Vec<(&'static str, Value, Sent, Vec<Sent>)> {
    let bots = "(?i).*(bot|crawl|spider|slurp|curl|wget|python|scrapy|headless|phantom|java).*";
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";
    let words = |n: usize| format!(r".*/(en|de|fr|ko)/[a-z0-9-]+/word{n}/[0-9]+\.(html|json)");
    let attacks = [
        r"(?i).*(union\s+select|select\s.+\sfrom).*",
        r"(?i).*<\s*(script|img|svg)[^>]*>.*",
        r"(?i).*(\.\./|\.\.\\).*",
        r"(?i).*(sleep|benchmark|waitfor)\s*\(.*",
        r"(?i).*(/etc/passwd|cmd\.exe|\$\{jndi:).*",
    ];
    let parts = json!([
        "path", "host", "method", "route", { "cookie": "a" }, { "cookie": "b" }, { "query": "a" },
        { "header": "cookie" }
    ]);
    let limit = |n: usize| {
        (
            format!("l{n}"),
            json!({ "requests": 1000, "per": "1s", "key": parts }),
        )
    };
    let keyed = |count: usize| {
        let limits: serde_json::Map<String, Value> = (0..count).map(limit).collect();
        let names: Vec<_> = limits.keys().cloned().collect();
        json!({
            "rate_limits": limits, "routes": [{ "name": "all", "rate_limits": names, "pass": true }]
        })
    };
    let keyed_over_a_fleet = |count: usize| {
        let mut config = keyed(count);
        for limit in config["rate_limits"].as_object_mut().into_iter().flatten() {
            limit.1["global"] = json!({ "cluster": "c", "domain": "d", "mode": "ask" });
        }
        config
    };
    // Sessions of one length that differ in their last bytes.
    let sessions = |count: usize, length: usize| {
        let session = |n: usize| format!("a={}{:02};", "x".repeat(length), n % count);
        (0..HEADERS / (length + 5)).map(session).collect::<String>()
    };
    let sticky = |n: usize| {
        let keys = [("YWFh", "YWE="), ("YmJi", "YmI="), ("Y2Nj", "Y2M=")];
        let keys = keys.map(|(text, end)| text.repeat(10) + end);
        let sticky = json!({ "cookie": { "name": "pm" }, "keys": keys });
        (
            format!("p{n}"),
            json!({ "targets": [{ "cluster": "c" }], "sticky": sticky }),
        )
    };
    let pools: serde_json::Map<String, Value> = (0..20).map(sticky).collect();
    let split: Vec<_> = pools.keys().map(|name| json!({ "pool": name })).collect();
    let split = json!({ "pools": pools, "routes": [{ "name": "all", "split": split }] });
    let cookies: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| json!({ "cookie": name }))
        .into();
    let hashed = json!({
        "pools": { "p": {
            "targets": [{ "cluster": "c" }, { "cluster": "d" }],
            "balance": { "consistent_hash": { "key": cookies } },
        } },
        "routes": [{ "name": "all", "pool": "p" }],
    });
    let many = |pairs: &[(&'static str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        ("/".to_owned(), pairs.collect::<Vec<_>>())
    };
    let headers = |count: usize| {
        let names = ["aa", "ab", "ba", "bb"];
        let pairs = (0..count).map(|n| (names[n % 4], "1".repeat(100)));
        ("/".to_owned(), pairs.collect::<Vec<_>>())
    };
    let named = |kind: &str, name: &str, test: &str, text: String| json!({ kind: [{ "name": name, test: text }] });
    vec![
        (
            "bots by their user-agent",
            routes(1, |_| {
                named("headers", "user-agent", "regex", bots.to_owned())
            }),
            header("user-agent", agent),
            ["bo", "crawcraw", "a", "spide", "\u{ff}"]
                .into_iter()
                .flat_map(|text| [full(text), longest(text)])
                .map(|value| header("user-agent", value))
                .collect(),
        ),
        (
            "ten paths by patterns",
            routes(10, |n| json!({ "path": { "regex": words(n) } })),
            path("/shop/en/shoes/item/42.html"),
            ["/en/a-", "/en/a/word9/1", "/", "a"]
                .into_iter()
                .flat_map(|text| [full(text), longest(text)])
                .map(|text| path(format!("/{}", &text[..text.len() - 1])))
                .collect(),
        ),
        (
            "forty paths by patterns",
            routes(40, |n| json!({ "path": { "regex": words(n) } })),
            path("/shop/en/shoes/item/42.html"),
            vec![path(longest("/en/a-")), path(longest("/en/a/word9/1"))],
        ),
        (
            "a rewrite that looks ahead",
            rewritten("a.*z|a"),
            path("/a/path/of/a/shop"),
            vec![path(full("a")), path(longest("a")), path(full("ab/"))],
        ),
        (
            "a rewrite of slashes",
            rewritten("/+"),
            path("/a//b/c"),
            vec![path(full("/")), path(full("/a")), path(longest("/"))],
        ),
        (
            "a rewrite of many states",
            rewritten("(a|b|ab)*(c|d)+[a-f]{20}z"),
            path("/a/path/of/a/shop"),
            vec![path(full("ab")), path(longest("abcdab")), path(full("cd"))],
        ),
        (
            "twenty routes by a cookie",
            routes(20, |n| named("cookies", "exp", "exact", n.to_string())),
            header("cookie", "session=0123456789abcdef; exp=99; lang=en"),
            [";", "a=b;", "exp=x;", "exp;", "="]
                .map(|text| header("cookie", full(text)))
                .into(),
        ),
        (
            "five hundred routes by a cookie",
            routes(500, |n| named("cookies", "exp", "prefix", n.to_string())),
            header("cookie", "session=0123456789abcdef; exp=; lang=en"),
            ["a=b;", "exp=x;"]
                .map(|text| header("cookie", full(text)))
                .into_iter()
                .chain([header("cookie", beside("exp"))])
                .collect(),
        ),
        (
            "twenty routes by the query",
            routes(20, |n| named("query", "region", "exact", n.to_string())),
            path("/?page=1&region=eu"),
            ["&", "a=b&", "region=x&", "%61=%62&", "a&", "regio%6e&"]
                .map(|text| path(format!("/?{}", full(text))))
                .into(),
        ),
        (
            "attacks in a parameter",
            routes(5, |n| named("query", "q", "regex", attacks[n].to_owned())),
            path("/?q=red+shoes"),
            [
                "a",
                "select ",
                "%3Cscript",
                "../",
                "sleep ",
                "&q=a",
                "&q=select a",
            ]
            .into_iter()
            .flat_map(|text| [full(text), longest(text)])
            .map(|text| path(format!("/?q={}", text.replace(' ', "+"))))
            .collect(),
        ),
        (
            "five limits of eight parts",
            keyed(5),
            header("cookie", "a=1; b=2"),
            vec![
                header("cookie", full("x=y;")),
                header("cookie", format!("a={}", full("1"))),
                path(format!("/{}", full("a"))),
                path(format!("/?a={}", full("%41"))),
            ],
        ),
        (
            "sixteen limits of eight parts",
            keyed(16),
            header("cookie", "a=1; b=2"),
            vec![
                header("cookie", format!("a={}", full("1"))),
                header("cookie", sessions(1, 60)),
                header("cookie", sessions(8, 60)),
                header("cookie", sessions(9, 60)),
                header("cookie", sessions(8, 1000)),
                header("cookie", full("a=1;a=2;a=3;a=4;a=5;a=6;a=7;a=8;")),
                header("cookie", full("a=;a=\"\";")),
                header("cookie", full("a=;b=;")),
                header("cookie", beside("a")),
                path(format!("/{}", full("a"))),
                path(format!("/?a={}", full("%41"))),
            ],
        ),
        // What an engine is asked besides is the proxy's own.
        (
            "sixteen limits over a fleet",
            keyed_over_a_fleet(16),
            header("cookie", "a=1; b=2"),
            vec![
                header("cookie", format!("a={}", full("1"))),
                header("cookie", sessions(8, 1000)),
                header("cookie", sessions(8, 60)),
                header("cookie", full("x=y;")),
                header(":authority", full("a.")),
                path(format!("/{}", full("a"))),
                path(format!("/?a={}", full("%41"))),
            ],
        ),
        (
            "a pool that hashes one of five cookies",
            hashed,
            header("cookie", "lang=en; e=1"),
            vec![
                header("cookie", full("a=;b=;c=;d=;")),
                header("cookie", full("a=;a=\"\";")),
                header("cookie", full("x=;")),
                header("cookie", beside("e")),
            ],
        ),
        (
            "a hundred routes by headers, a hundred headers",
            routes(100, |n| named("headers", "ab", "exact", n.to_string())),
            header("accept", "*/*"),
            vec![headers(100), headers(25)],
        ),
        (
            "hosts of many labels",
            routes(
                100,
                |n| json!({ "hosts": [format!("*{}", ".a".repeat(n + 1))], "methods": ["PUT"] }),
            ),
            path("/"),
            vec![
                header(":authority", full("a.")),
                header(":authority", full("a.a")),
            ],
        ),
        (
            "templates",
            routes(
                300,
                |n| json!({ "path": { "template": format!("/{{a}}/{{b}}/w{n}") } }),
            ),
            path("/a/path/of/a/shop"),
            vec![
                path(format!("/{}", full("a"))),
                path(full("/")),
                path(full("/a")),
            ],
        ),
        (
            "prefixes within prefixes",
            routes(
                200,
                |n| json!({ "path": { "prefix": "/a".repeat(n + 1) }, "methods": ["PUT"] }),
            ),
            path("/a/path/of/a/shop"),
            vec![path(full("/a"))],
        ),
        (
            "texts that a header contains",
            routes(20, |n| {
                named(
                    "headers",
                    "x",
                    "contains",
                    format!("{}b{n}", "a".repeat(200)),
                )
            }),
            header("x", "a header"),
            vec![header("x", longest("a")), header("x", full("a"))],
        ),
        (
            "patterns that no table holds",
            routes(5, |n| {
                named("headers", "x", "regex", format!(".*a.{{{}}}b", 20 + n))
            }),
            header("x", "a header"),
            vec![
                header("x", longest("a")),
                header("x", full("a")),
                header("x", longest("ab")),
            ],
        ),
        (
            "devices and languages",
            routes(60, |n| {
                let tag = format!(
                    "{}{}",
                    char::from(b'a' + (n % 26) as u8),
                    "bcdefgh".repeat(n / 26)
                );
                let tag = &tag[..tag.len().min(8)];
                match n % 3 {
                    0 => json!({ "device": ["tablet"], "methods": ["PUT"] }),
                    1 => json!({ "device": ["bot"], "language": [tag] }),
                    _ => json!({ "language": [tag, format!("{tag}-x-{n}")] }),
                }
            }),
            many(&[("user-agent", agent), ("accept-language", "zz, zy;q=0.5")]),
            vec![
                header("user-agent", full("bo")),
                header("user-agent", full("Tablet PC")),
                header("user-agent", full("\u{ff}Andro")),
                many(&[("user-agent", "Mozilla/5.0 (compatible; Googlebo/2.1)"); 100]),
                header("accept-language", full(",")),
                header("accept-language", full("b-x-1;q=0,")),
                header("accept-language", full("b-aa-bb-cc-dd-ee-ff;q=0.1,")),
                header("accept-language", full("\u{ff}")),
                many(&[("accept-language", &*"b-aa-bb,".repeat(128)); 16]),
                many(&[("accept-language", ",,,"); 1000]),
            ],
        ),
        (
            "forged sessions of a split",
            split,
            header("cookie", "lang=en"),
            vec![header(
                "cookie",
                full("pm=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA;"),
            )],
        ),
    ]
}

#[test]
fn no_request_costs_more_than_ten_times_an_ordinary_one() {
    for (what, config, ordinary, dear) in rows() {
        let mut worker = TestWorker::of(&config.to_string());
        let ordinary = cost(&mut worker, &ordinary);
        // Ordinary requests are not dear themselves, whatever is configured.
        assert!(ordinary < 3 * REQUEST, "{what}: {ordinary}");
        for (at, sent) in dear.iter().enumerate() {
            let dear = cost(&mut worker, sent);
            let times = dear as f64 / ordinary as f64;
            println!("{what}, {at}: {times:.1} times");
            assert!(dear <= TIMES * ordinary, "{what}, {at}: {times:.1} times");
        }
    }
}

#[test]
fn too_long_a_value_holds_no_condition_and_is_counted() {
    let condition = |text: &str, invert: bool| json!({ "headers": [{ "name": "x", "regex": text, "invert": invert }] });
    for (invert, value, status, counted) in [
        (false, "a".repeat(8192), 200, false),
        (false, "a".repeat(8193), 404, true),
        (true, "b".repeat(8192), 200, false),
        (true, "b".repeat(8193), 404, true),
        (true, "a".repeat(8192), 404, false),
    ] {
        let route = json!({
            "name": "x", "match": condition("a+", invert), "respond": { "status": 200 }
        });
        let mut worker = TestWorker::of(&json!({ "routes": [route] }).to_string());
        let decided = worker.get("/", &[("x", &value)]);
        assert_eq!(decided.status, Some(status), "{} {invert}", value.len());
        let events: Vec<_> = worker.worker.take_events().collect();
        let expected = counted.then_some(Event::TooLong);
        assert_eq!(events, Vec::from_iter(expected));
    }
}
