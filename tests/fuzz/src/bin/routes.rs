//! Paths, queries and headers against the index and the naive scan: the same route.
#![no_main]

use arbitrary::Arbitrary;
use pointsman_core::config::Config;
use pointsman_core::http::headers::Headers;
use pointsman_core::http::request::Request;
use pointsman_core::route::index::Index;
use pointsman_core::route::scan::scan;
use serde_json::{Value, json};

/// A table is made of few pieces, so that its routes meet.
#[derive(Arbitrary, Debug)]
struct Match {
    host: Option<u8>,
    path: Option<(Kind, Vec<u8>)>,
    ignore_case: bool,
    method: Option<u8>,
    header: Option<(u8, bool)>,
    query: Option<u8>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Exact,
    Prefix,
    Regex,
    Template,
}

#[derive(Arbitrary, Debug)]
struct Sent {
    host: u8,
    path: Vec<u8>,
    raw: Option<Vec<u8>>,
    method: u8,
    header: Option<u8>,
    query: Option<u8>,
}

const HOSTS: [&str; 5] = ["a.test", "b.a.test", "*.a.test", "*", "B.A.Test:80"];
const SEGMENTS: [&str; 6] = ["a", "A", "ab", "%61", "", "b.c"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const VALUES: [&str; 3] = ["x", "y", "xy"];

fn one<'a>(of: &[&'a str], which: u8) -> &'a str {
    of[usize::from(which) % of.len()]
}

fn path(segments: &[u8]) -> String {
    let path: String = segments
        .iter()
        .take(4)
        .map(|which| format!("/{}", one(&SEGMENTS, *which)))
        .collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

fn route(number: usize, wanted: &Match) -> Value {
    let mut conditions = json!({});
    if let Some(host) = wanted.host {
        conditions["hosts"] = json!([one(&HOSTS[..4], host)]);
    }
    if let Some((kind, segments)) = &wanted.path {
        let path = path(segments);
        conditions["path"] = match kind {
            Kind::Exact => json!({ "exact": path }),
            Kind::Prefix => json!({ "prefix": path }),
            Kind::Regex => json!({ "regex": format!("{path}(/.*)?") }),
            Kind::Template => json!({ "template": format!("{}/{{id}}", path.trim_end_matches('/')) }),
        };
        if wanted.ignore_case {
            conditions["ignore_case"] = true.into();
        }
    }
    if let Some(method) = wanted.method {
        conditions["methods"] = json!([one(&METHODS, method)]);
    }
    if let Some((value, invert)) = wanted.header {
        conditions["headers"] = json!([{ "name": "x-h", "exact": one(&VALUES, value), "invert": invert }]);
    }
    if let Some(value) = wanted.query {
        conditions["query"] = json!([{ "name": "q", "prefix": one(&VALUES, value) }]);
    }
    json!({ "name": format!("r{number}"), "match": conditions, "pass": true })
}

libfuzzer_sys::fuzz_target!(|input: (Vec<Match>, Vec<Sent>)| {
    let (table, requests) = input;
    let routes: Vec<Value> = table
        .iter()
        .take(40)
        .enumerate()
        .map(|(i, wanted)| route(i, wanted))
        .collect();
    // Some tables are wrong (a template with an empty segment): refused, and no more to say.
    let Ok(config) = Config::load(json!({ "routes": routes }).to_string().as_bytes()) else {
        return;
    };
    let index = Index::new(&config.routes);
    for sent in requests {
        let mut target = sent.raw.unwrap_or_else(|| path(&sent.path).into_bytes());
        if let Some(query) = sent.query {
            target.extend_from_slice(format!("?q={}", one(&VALUES, query)).as_bytes());
        }
        let mut pairs = vec![
            (&b":path"[..], target),
            (b":authority", one(&HOSTS, sent.host).into()),
            (b":method", one(&METHODS, sent.method).into()),
        ];
        if let Some(value) = sent.header {
            pairs.push((b"x-h", one(&VALUES, value).into()));
        }
        let headers = Headers::from_pairs(&pairs);
        let request = Request::new(&headers);
        let found = index.find(&config.routes, &request, &mut || None);
        let (expected, _) = scan(&config.routes, &request, &mut || None);
        assert_eq!(
            found.map(|found| (found.route, found.block)),
            expected.map(|found| (found.route, found.block))
        );
    }
});
