use super::*;
use crate::config::Config;
use crate::http::request::{Headers, Request};
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
