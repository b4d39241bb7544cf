//! `sticky`: sessions after reloads, restarts and changes of keys, and in another proxy.

use super::{each_in_turn, get};
use host_sim::client::{header, session_cookie};
use host_sim::envoy::Envoy;
use host_sim::testkit::Site;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const OLD_KEY: &str = "YW4tb2xkLWtleS1vZi1hdC1sZWFzdC0xNi1ieXRlcw==";
const NEW_KEY: &str = "YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz";

/// A pool with sessions. The targets are clusters.
fn shop(targets: &[&str], keys: &[&str]) -> Value {
    let targets: Vec<_> = targets
        .iter()
        .map(|name| json!({ "cluster": name }))
        .collect();
    json!({
        "pools": { "shop": { "targets": targets, "sticky": { "cookie": { "name": "pm" }, "keys": keys } } },
        "routes": [{ "name": "all", "pool": "shop" }],
    })
}

/// Sends a session's cookie to every worker. The cookies that came back, where they did.
fn stays(envoy: &Envoy, backend: &str, session: &str) -> Vec<Option<String>> {
    let mut cookies = Vec::new();
    each_in_turn(envoy, |client| {
        let answer = get(client, "/", &[("cookie", session)]);
        assert_eq!(header(&answer, "x-backend"), backend);
        cookies.push(session_cookie(&answer));
    });
    cookies
}

#[test]
fn sessions_survive_reloads_restarts_another_proxy_and_a_rotation_of_keys() {
    let all = ["blue", "green", "red", "violet"];
    let mut site = Site::start(&shop(&all, &[OLD_KEY])).unwrap();
    site.update(shop(&["blue", "green", "red"], &[OLD_KEY]))
        .unwrap();
    let mut sessions = BTreeMap::new();
    let mut client = site.envoy.client().unwrap();
    // Round robin: three requests, three targets.
    for _ in 0..3 {
        let answer = get(&mut client, "/", &[]);
        sessions.insert(
            header(&answer, "x-backend").to_owned(),
            session_cookie(&answer).unwrap(),
        );
    }
    assert_eq!(sessions.len(), 3);
    let all_stay = |envoy: &Envoy| {
        for (backend, session) in &sessions {
            let cookies = stays(envoy, backend, session);
            assert!(cookies.iter().all(Option::is_none), "{cookies:?}");
        }
    };
    all_stay(&site.envoy);

    site.update(shop(&["violet", "red", "blue", "green"], &[OLD_KEY]))
        .unwrap();
    all_stay(&site.envoy);

    site.envoy.restart().unwrap();
    all_stay(&site.envoy);

    let other = Envoy::start(site.envoy.program(), site.envoy.deployment().clone()).unwrap();
    all_stay(&other);

    // The new key signs, both verify: a client gets its session anew, under the new key.
    site.update(shop(&all, &[NEW_KEY, OLD_KEY])).unwrap();
    let renewed: Vec<_> = sessions
        .iter()
        .map(|(backend, session)| {
            let mut cookies = stays(&site.envoy, backend, session);
            cookies.dedup();
            assert_eq!(cookies.len(), 1, "each time the same");
            (
                backend,
                session,
                cookies.remove(0).expect("the old key's cookie is renewed"),
            )
        })
        .collect();

    // The old key is gone: what it signed is worth nothing, what the new one signed stays.
    site.update(shop(&all, &[NEW_KEY])).unwrap();
    for (backend, session, renewed) in renewed {
        assert!(
            stays(&site.envoy, backend, &renewed)
                .iter()
                .all(Option::is_none)
        );
        each_in_turn(&site.envoy, |client| {
            let answer = get(client, "/", &[("cookie", session)]);
            assert!(session_cookie(&answer).is_some(), "a fresh choice");
        });
    }
}
