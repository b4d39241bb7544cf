use super::*;
use crate::config::Config;
use crate::http::headers::Headers;
use crate::http::request::Request;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn config(protect: serde_json::Value) -> Config {
    let config = json!({
        "protect": { "edge": protect },
        "routes": [{ "name": "all", "protect": ["edge"], "pass": true }]
    });
    Config::load(config.to_string().as_bytes()).unwrap()
}

/// What is found: `class: place`.
fn found_by(config: &Config, path: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let mut pairs = vec![(":method", "GET"), (":authority", "h"), (":path", path)];
    pairs.extend(headers);
    let headers = Headers::from_pairs(&pairs);
    let request = Request::new(&headers);
    let protects = config.protect.iter().map(|protect| &**protect);
    inspect(protects, &request, 8192)
        .iter()
        .map(|hit| format!("{}: {}", hit.word(), hit.place))
        .collect()
}

fn all() -> serde_json::Value {
    json!({ "detect": ["sql_injection", "cross_site_scripting", "path_traversal", "scanner"] })
}

#[test]
fn each_place_is_looked_at_decoded_once_and_twice() {
    let config = config(all());
    let sql = "1' or '1'='1";
    for (path, headers, expected) in [
        ("/", &[][..], &[][..]),
        (
            "/a?q=1%27+or+%271%27%3D%271",
            &[],
            &["sql_injection: query parameter q"],
        ),
        (
            "/a?q=1%2527%2bor%2b%25271%2527%253D%25271",
            &[],
            &["sql_injection: query parameter q"],
        ),
        ("/a/1'%20or%20'1'='1/b", &[], &["sql_injection: path"]),
        (
            "/a?1'+union+select+a+from+b--=1",
            &[],
            &["sql_injection: name of a query parameter"],
        ),
        (
            "/a",
            &[("cookie", "a=b; c=1' or '1'='1")],
            &["sql_injection: cookie c"],
        ),
        (
            "/a",
            &[("referer", "http://h/?q=1'+or+'1'='1")],
            &["sql_injection: header referer"],
        ),
        ("/a", &[("x-a", sql)], &[]),
        (
            "/a?q=%3Cscript%3Ealert(1)%3C/script%3E",
            &[],
            &["cross_site_scripting: query parameter q"],
        ),
        (
            "/<script>alert(1)</script>",
            &[],
            &["cross_site_scripting: path"],
        ),
        (
            "/a?f=..%2f..%2fetc",
            &[],
            &["path_traversal: query parameter f"],
        ),
        (
            "/a?f=..%255c..%255cetc",
            &[],
            &["path_traversal: query parameter f"],
        ),
        ("/a/%2e%2e/b", &[], &["path_traversal: path"]),
        ("/a/%252e%252e/b", &[], &["path_traversal: path"]),
        ("/a/%c0%ae%c0%ae%c0%afb", &[], &["path_traversal: path"]),
        ("/a/..;/b", &[], &["path_traversal: path"]),
        ("/a?f=x%00.png", &[], &["path_traversal: query parameter f"]),
        (
            "/a?f=/etc/passwd",
            &[],
            &["path_traversal: query parameter f"],
        ),
        (
            "/a?f=C:%5CWindows%5Cwin.ini",
            &[],
            &["path_traversal: query parameter f"],
        ),
        ("/a?f=a..b&g=..&h=1../2&i=...", &[], &[]),
        ("/.git/config", &[], &["scanner: path"]),
        ("/a/.env", &[], &["scanner: path"]),
        ("/a/.environment/x.git", &[], &[]),
        (
            "/a",
            &[("user-agent", "sqlmap/1.7 (https://sqlmap.org)")],
            &["scanner: header user-agent"],
        ),
        (
            "/a",
            &[("user-agent", "Mozilla/5.0 (Nikto/2.5)")],
            &["scanner: header user-agent"],
        ),
        ("/a", &[("user-agent", "xnikto")], &[]),
    ] {
        let found = found_by(&config, path, headers);
        assert_eq!(found, expected, "{path} {headers:?}");
    }
}

/// The headers of a request at the shipped edge, in bytes.
const HEADERS_AT_THE_EDGE: usize = 16 * 1024;

/// No request costs more than so many times an ordinary one.
const TIMES: u64 = 10;

/// What a request costs that has no more than a path and these headers, in steps.
fn cost(config: &Config, path: &str, headers: &[(&str, &str)]) -> (u64, Vec<String>) {
    let mut pairs = vec![(":method", "GET"), (":authority", "h"), (":path", path)];
    pairs.extend(headers);
    let headers = Headers::from_pairs(&pairs);
    let request = Request::new(&headers);
    let protects = config.protect.iter().map(|protect| &**protect);
    let hits = inspect(protects, &request, config.max_value);
    let hits = hits.iter().map(|hit| hit.word().to_owned()).collect();
    (crate::http::steps::REQUEST + request.steps.taken(), hits)
}

#[test]
fn the_dearest_request_costs_ten_ordinary_ones_at_most() {
    let config = config(all());
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36";
    let usual = [
        ("user-agent", agent),
        ("referer", "https://shop.example.com/cart?from=mail"),
        ("cookie", "session=c2Vzc2lvbi1vZi1zb21lYm9keQ; theme=dark"),
    ];
    let (ordinary, hits) = cost(&config, "/products/42?q=red+shoes&sort=price-asc", &usual);
    assert_eq!(hits, [""; 0]);
    let mut dearest = 0;
    for text in [
        "a",
        "%",
        "%25",
        "+",
        "&",
        "=",
        "&=",
        "a=b&",
        "/",
        "\\",
        "../",
        ".",
        "'",
        "\"",
        "<",
        ">",
        "<a ",
        "<a/a/a/",
        "a=b&#\"'\n",
        "'\"#\n(",
        "a,\n",
        "x.x.",
        "<ab\n#'\"",
        "onzzz=",
        "--a\n'",
        "%3C",
        "%2527",
        "%3Ca%20",
        ";",
        "a;",
        "a=';",
        "n-",
        "sqlma ",
        "etc/passw",
        "/etc/passw",
        "\u{c0}",
        "&#x6",
        "<a href=&#0;",
        "/*",
        "q'a",
        "$a$",
        "@`",
        "{`",
        "1e",
        "0x",
    ] {
        let full = text.repeat(HEADERS_AT_THE_EDGE / text.len());
        for (path, header) in [
            (format!("/{full}"), None),
            (format!("/?{full}"), None),
            (format!("/?q={full}"), None),
            ("/".to_owned(), Some("cookie")),
            ("/".to_owned(), Some("user-agent")),
            ("/".to_owned(), Some("referer")),
        ] {
            let header: Vec<_> = header.iter().map(|name| (*name, &*full)).collect();
            let (steps, _) = cost(&config, &path, &header);
            assert!(
                steps <= TIMES * ordinary,
                "{steps} of {ordinary} for {text:?}"
            );
            dearest = dearest.max(steps);
        }
    }
    // The bound is reached by some, so that it is one.
    assert!(dearest > 3 * ordinary, "{dearest} of {ordinary}");
}

#[test]
fn what_is_too_long_or_too_much_is_told_as_not_inspected() {
    let config = config(all());
    let (_, hits) = cost(&config, &format!("/?q={}'", "a".repeat(8192)), &[]);
    assert_eq!(hits, ["not_inspected"]);
    let flood = "<a ".repeat(1000);
    let (_, hits) = cost(
        &config,
        &format!("/?a={flood}&b={flood}&c={flood}&d={flood}"),
        &[],
    );
    assert_eq!(hits, ["not_inspected"]);
    // It is told, and refuses nothing.
    let blocks = json!({ "detect": ["sql_injection"], "mode": "block" });
    let blocks = self::config(blocks);
    assert_eq!(
        found_by(&blocks, &format!("/?q={}'", "a".repeat(9000)), &[]).len(),
        1
    );
    let headers = Headers::from_pairs(&[(":path", format!("/?q={}'", "a".repeat(9000)))]);
    let protects = blocks.protect.iter().map(|protect| &**protect);
    let hits = inspect(protects, &Request::new(&headers), 8192);
    assert!(hits.iter().all(|hit| !hit.blocks()));
    // But where it is to, and only where it blocks.
    for (mode, refuses) in [("block", true), ("monitor", false)] {
        let strict = json!({ "detect": ["sql_injection"], "mode": mode, "not_inspected": "block" });
        let strict = self::config(strict);
        let protects = strict.protect.iter().map(|protect| &**protect);
        let hits = inspect(protects, &Request::new(&headers), 8192);
        let lines: Vec<_> = hits.iter().map(Hit::line).collect();
        assert_eq!(hits.iter().any(Hit::blocks), refuses, "{lines:?}");
        let short = Headers::from_pairs(&[(":path", "/?q=a")]);
        let protects = strict.protect.iter().map(|protect| &**protect);
        assert!(inspect(protects, &Request::new(&short), 8192).is_empty());
    }
}

#[test]
fn a_name_in_a_log_changes_no_line() {
    let config = config(all());
    let found = found_by(&config, "/?a%0ab%22%5c=1%27+or+%271%27%3D%271", &[]);
    assert_eq!(found, ["sql_injection: query parameter a?b??"]);
    let long = format!("/?{}=1%27+or+%271%27%3D%271", "n".repeat(500));
    let found = found_by(&config, &long, &[]);
    assert_eq!(
        found,
        [format!("sql_injection: query parameter {}", "n".repeat(64))]
    );
}
