//! Sessions that a stranger makes up: with a key that everybody can read, and without any.

use super::{Change, start_edge};
use host_sim::client::{header, session_cookie};
use host_sim::exchange::{ExchangeRequest, Host, first_value};
use host_sim::testkit::Site;
use host_sim::world::World;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// As `envoy.yaml` has it, and everybody can read it.
const PUBLISHED: &str = "ZGVtby1rZXktZGVtby1rZXktZGVtby1rZXktZGVtbyE=";
const KEYS: &str = r#"keys: ["ZGVtby1rZXktZGVtby1rZXktZGVtby1rZXktZGVtbyE="]"#;
/// `a-key-of-this-test-that-nobody-knows`
const OWN_KEYS: &str = r#"keys: ["YS1rZXktb2YtdGhpcy10ZXN0LXRoYXQtbm9ib2R5LWtub3dz"]"#;
/// The targets of the pool with sessions, each with its backend.
const TARGETS: [(&str, &str); 2] = [("blue", "9001"), ("green", "9002")];

/// What a stranger makes with the program that everybody has, and a configuration of his own in
/// which everything goes to this target: the cookie of a session there.
fn forged(target: &str, keys: &Value) -> String {
    let targets = TARGETS.map(|(name, _)| {
        json!({ "cluster": format!("web-{name}"), "name": name, "weight": u8::from(name == target) })
    });
    let mut sticky = json!({ "cookie": { "name": "pm_account", "ttl": "1h", "path": "/account" } });
    if !keys.is_null() {
        sticky["keys"] = keys.clone();
    }
    let configuration = json!({
        "pools": { "account": { "targets": targets, "sticky": sticky } },
        "routes": [{ "name": "all", "pool": "account" }],
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let world = World::builder().exchanges(&configuration).start_time(now);
    let request = ExchangeRequest::new(b"GET", b"http://h/account").unwrap();
    let answer = world.start().unwrap().exchange(&request).unwrap().response;
    let cookie = first_value(&answer.headers, b"set-cookie").unwrap();
    let cookie = String::from_utf8(cookie.to_vec()).unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// Which backend answers a client with this cookie, and whether he is given another session.
fn answered(site: &Site, cookie: &str) -> (String, bool) {
    let mut client = site.client().unwrap();
    let headers = [("cookie", cookie)];
    let answer = client.get_with("h", "/account", &headers).unwrap();
    assert_eq!(answer.status(), 200);
    let is_new = session_cookie(&answer).is_some();
    (header(&answer, "x-backend").to_owned(), is_new)
}

/// Whether the stranger chooses his target, on an Envoy with this file.
fn chooses(changes: &[Change<'_>], keys: &Value, kind: &str, is_wrong: bool) -> bool {
    let site = start_edge(changes, kind, is_wrong);
    let believed = TARGETS.map(|(target, backend)| {
        let cookie = forged(target, keys);
        let answers: Vec<_> = (0..4).map(|_| answered(&site, &cookie)).collect();
        let is_new = answers.iter().filter(|(_, is_new)| *is_new).count();
        assert!([0, 4].contains(&is_new), "{target}: {answers:?}");
        let is_there = answers.iter().all(|(answered, _)| answered == backend);
        assert!(is_there || is_new == 4, "{target}: {answers:?}");
        is_new == 0
    });
    assert_eq!(believed[0], believed[1]);
    believed[0]
}

#[test]
fn with_the_key_of_an_example_a_stranger_makes_up_a_session_for_any_target() {
    let kind = "published_secret";
    let keys = json!([PUBLISHED]);
    assert!(chooses(&[], &keys, kind, true));
    assert!(!chooses(&[(KEYS, OWN_KEYS)], &keys, kind, false));
}

#[test]
fn without_keys_a_client_chooses_its_target_by_writing_the_cookie() {
    let kind = "unsigned_cookie";
    assert!(chooses(&[(KEYS, "")], &Value::Null, kind, true));
    assert!(!chooses(&[(KEYS, OWN_KEYS)], &Value::Null, kind, false));
}

#[test]
fn without_keys_a_client_gets_into_a_target_that_takes_nobody_new() {
    const GREEN: &str = "{ cluster: web-green, name: green }";
    const DRAINING: Change<'_> = (
        GREEN,
        "{ cluster: web-green, name: green, state: draining }",
    );
    for (keys, is_wrong, backend) in [("", true, "9002"), (OWN_KEYS, false, "9001")] {
        let site = start_edge(&[DRAINING, (KEYS, keys)], "forgeable_session", is_wrong);
        for _ in 0..8 {
            assert_eq!(answered(&site, "none=1"), ("9001".to_owned(), true));
        }
        let cookie = forged("green", &Value::Null);
        assert_eq!(answered(&site, &cookie), (backend.to_owned(), !is_wrong));
    }
}
