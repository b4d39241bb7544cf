//! A name of a cookie or of a parameter is found whatever else a request brings: a client that could
//! hide one would be counted among those without it, while its target reads it.

use super::*;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What a client may write before and behind its session, as `name=value` pairs: as much as the
/// shipped edge lets in.
fn crowds() -> Vec<(&'static str, Vec<String>, Vec<String>)> {
    let pairs = |count: usize, pair: fn(usize) -> String| (0..count).map(pair).collect::<Vec<_>>();
    let many = |mut pairs: Vec<String>| {
        pairs.resize(3900, "x=".to_owned());
        pairs
    };
    let beside = many(beside(b"sid", 600).collect());
    let few = |text: &str| vec![text.to_owned(); 9];
    vec![
        ("names of one place of a table", beside.clone(), vec![]),
        ("the same behind it", vec![], beside),
        (
            "as many as there is room for",
            pairs(4500, |_| "x=".into()),
            vec![],
        ),
        (
            "many, and an empty one of its name",
            pairs(4000, |_| "x=".into()),
            few("sid="),
        ),
        (
            "empty ones of its name",
            pairs(2500, |_| "sid=".into()),
            vec![],
        ),
        (
            "all different",
            pairs(1800, |n| format!("{n:x}=1")),
            vec!["sid=".into()],
        ),
    ]
}

/// Pairs whose names have the place of another in a table of 4096 by FNV, which has no key.
fn beside(name: &[u8], count: usize) -> impl Iterator<Item = String> {
    let place = |name: &[u8]| {
        let mut hasher = fnv::FnvHasher::default();
        std::hash::Hasher::write(&mut hasher, name);
        std::hash::Hasher::finish(&hasher) >> 32 & 4095
    };
    let wanted = place(name);
    let letters = |n: u32| [20, 15, 10, 5, 0].map(|by| b'A' + (n >> by & 31) as u8);
    let names = (0..1 << 25).map(letters);
    let like_it = names.filter(move |other| place(other) == wanted);
    let text = |other: [u8; 5]| format!("{}=", String::from_utf8_lossy(&other));
    like_it
        .map(text)
        .filter(|text| !text.contains(['[', '\\', '`']))
        .take(count)
}

/// Requests with a session between such pairs, once as cookies and once as a query.
fn requests(
    (before, behind): (&[String], &[String]),
    session: &str,
) -> [(String, Option<String>); 2] {
    let own = [session.to_owned()];
    let all: Vec<&str> = before
        .iter()
        .chain(&own)
        .chain(behind)
        .map(|it| &**it)
        .collect();
    [
        ("/cookie".to_owned(), Some(all.join(";"))),
        (format!("/query?{}", all.join("&")), None),
    ]
}

fn get(worker: &mut TestWorker, (path, cookie): &(String, Option<String>)) -> Decided {
    let cookie = cookie.as_ref().map(|cookie| ("cookie", &**cookie));
    worker.get(path, &Vec::from_iter(cookie))
}

/// A configuration with one route for cookies, and one for the query.
fn config(route: impl Fn(&str) -> serde_json::Value, rest: serde_json::Value) -> String {
    let routes = ["cookie", "query"].map(|kind| {
        let mut route = route(kind);
        route["name"] = kind.into();
        route["match"]["path"] = json!({ "exact": format!("/{kind}") });
        route
    });
    let mut config = rest;
    config["routes"] = routes.to_vec().into();
    config.to_string()
}

/// Routes with a limit by a cookie, and by a parameter.
fn limited_by_sessions() -> String {
    let limits = json!({ "rate_limits": {
        "cookie": { "requests": 1, "per": "1h", "key": [{ "cookie": "sid" }] },
        "query": { "requests": 1, "per": "1h", "key": [{ "query": "sid" }] },
    }});
    config(
        |kind| json!({ "rate_limits": [kind], "respond": { "status": 200 } }),
        limits,
    )
}

#[test]
fn a_limit_counts_a_session_whatever_stands_beside_it() {
    let config = limited_by_sessions();
    for (what, before, behind) in crowds() {
        let alone = requests((&[], &[]), "sid=victim");
        let crowded = requests((&before, &behind), "sid=victim");
        for (alone, crowded) in alone.iter().zip(&crowded) {
            let mut worker = TestWorker::of(&config);
            let status = get(&mut worker, alone).status;
            assert_eq!(status, Some(200), "{what}, {}", alone.0);
            let status = get(&mut worker, crowded).status;
            assert_eq!(status, Some(429), "{what}, {}", alone.0);
        }
    }
}

#[test]
fn a_limit_counts_the_last_of_many_sessions() {
    let config = limited_by_sessions();
    let before = [vec!["x=".to_owned(); 3000], vec!["sid=a".to_owned(); 1000]].concat();
    let alone = requests((&[], &[]), "sid=victim");
    let crowded = requests((&before, &[]), "sid=victim");
    for (alone, crowded) in alone.iter().zip(&crowded) {
        let mut worker = TestWorker::of(&config);
        assert_eq!(get(&mut worker, alone).status, Some(200));
        assert_eq!(get(&mut worker, crowded).status, Some(429), "{}", alone.0);
    }
}

#[test]
fn a_condition_sees_a_session_whatever_stands_beside_it() {
    for (condition, holds) in [
        (json!({ "present": true }), true),
        (json!({ "present": false }), false),
        (json!({ "exact": "victim" }), true),
        (json!({ "exact": "victim", "invert": true }), false),
        (json!({ "exact": "other" }), false),
        (json!({ "exact": "other", "invert": true }), true),
        (json!({ "regex": "v.*m" }), true),
        (json!({ "contains": "icti", "invert": true }), false),
    ] {
        let config = config(
            |kind| {
                let mut condition = condition.clone();
                condition["name"] = "sid".into();
                let key = if kind == "cookie" { "cookies" } else { "query" };
                // Look-ups before it.
                let other = json!({ "name": "sid", "prefix": "x", "invert": true });
                let all = [vec![other; 8], vec![condition]].concat();
                json!({ "match": { key: all }, "respond": { "status": 200 } })
            },
            json!({}),
        );
        for (what, before, behind) in crowds() {
            for request in requests((&before, &behind), "sid=victim") {
                // To look at so many values of its own nine times is too much: that is refused.
                if what == "empty ones of its name" {
                    continue;
                }
                let status = get(&mut TestWorker::of(&config), &request).status;
                let expected = if holds { 200 } else { 404 };
                assert_eq!(
                    status,
                    Some(expected),
                    "{what}, {condition}, {}",
                    request.0.len()
                );
            }
        }
    }
}

#[test]
fn a_hash_has_a_session_whatever_stands_beside_it() {
    let target = |n: usize| json!({ "cluster": format!("c{n}") });
    let targets: Vec<_> = (0..16).map(target).collect();
    let pool = |kind: &str| json!({ "targets": targets, "balance": { "consistent_hash": { "key": { kind: "sid" } } } });
    let pools = json!({ "pools": { "cookie": pool("cookie"), "query": pool("query") } });
    let config = config(|kind| json!({ "pool": kind }), pools);
    let chosen = |worker: &mut TestWorker, request: &(String, Option<String>)| {
        let upstream = get(worker, request).upstream.unwrap();
        let is_it = |(name, _): &&(String, String)| name == "x-pointsman-cluster";
        upstream.iter().find(is_it).unwrap().1.clone()
    };
    for session in ["sid=victim", "sid=other", "sid=third"] {
        for (what, before, behind) in crowds() {
            let alone = requests((&[], &[]), session);
            let crowded = requests((&before, &behind), session);
            for (alone, crowded) in alone.iter().zip(&crowded) {
                let mut worker = TestWorker::of(&config);
                let expected = chosen(&mut worker, alone);
                for _ in 0..3 {
                    assert_eq!(chosen(&mut worker, crowded), expected, "{what}, {session}");
                }
            }
        }
    }
}

#[test]
fn an_edit_writes_a_session_whatever_stands_beside_it() {
    let config = config(
        |kind| {
            let value = format!("{{{kind}.sid}}");
            json!({ "request_headers": { "set": { "x-sid": value } }, "pool": "p" })
        },
        json!({ "pools": { "p": { "targets": [{ "cluster": "c" }] } } }),
    );
    for (what, before, behind) in crowds() {
        // An edit writes the first value, an empty one too.
        if what == "empty ones of its name" {
            continue;
        }
        for request in requests((&before, &behind), "sid=victim") {
            let upstream = get(&mut TestWorker::of(&config), &request)
                .upstream
                .unwrap();
            let is_it = |(name, _): &&(String, String)| name == "x-sid";
            assert_eq!(upstream.iter().find(is_it).unwrap().1, "victim", "{what}");
        }
    }
}

#[test]
fn a_request_that_takes_too_much_before_its_route_is_known_is_refused() {
    let search = |name: &str| json!({ "name": name, "regex": ".*[ab]c.*" });
    // What a proxy in front says of the client, and what the client says.
    let trusted = json!({ "name": "x-client-cert", "contains": "CN=guest" });
    let config = json!({
        "routes": [
            { "name": "dear", "match": { "cookies": vec![search("a"); 1] }, "respond": { "status": 201 } },
            { "name": "guests", "match": { "headers": [trusted] }, "respond": { "status": 403 } },
            { "name": "all", "respond": { "status": 200 } },
        ],
        "no_route": { "pass": true },
    });
    let certificate = format!("{}CN=guest", "OU=somebody;".repeat(20));
    let status = |cookies: usize, certificate: &str| {
        let cookies = vec!["a=b"; cookies].join(";");
        let headers = [("cookie", &*cookies), ("x-client-cert", certificate)];
        let mut worker = TestWorker::of(&config.to_string());
        let status = worker.get("/", &headers).status;
        let events: Vec<_> = worker.worker.take_events().collect();
        (status, events.contains(&Event::TooLong))
    };
    assert_eq!(status(1, &certificate), (Some(403), false));
    assert_eq!(status(1, "CN=host"), (Some(200), false));
    // Neither the route behind, nor what `no_route` says.
    assert_eq!(status(4000, &certificate), (Some(431), true));
    assert_eq!(status(4000, "CN=host"), (Some(431), true));
}
