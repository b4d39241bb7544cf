//! Secrets on a real Envoy: what is left to the environment is as good as what is written down, and
//! stands nowhere; and a key is rotated over two proxies without losing a session.

use host_sim::client::Client;
use host_sim::envoy::Deployment;
use host_sim::testkit::Site;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// In base64: `a-key-of-the-environment-of-this-test`, and another one.
const KEY: &str = "YS1rZXktb2YtdGhlLWVudmlyb25tZW50LW9mLXRoaXMtdGVzdA==";
const OTHER_KEY: &str = "YW5vdGhlci1rZXktb2YtdGhpcy10ZXN0LWFzLWxvbmctYXMtdGhhdA==";
const TOKEN: &str = "a-token-of-the-environment";
const TARGETS: [&str; 4] = ["a", "b", "c", "d"];

fn configuration(keys: &Value, token: &Value) -> Value {
    let targets = TARGETS.map(|name| json!({ "cluster": format!("c-{name}"), "name": name }));
    json!({
        "pools": { "web": {
            "targets": targets,
            "sticky": { "cookie": { "name": "pm", "ttl": "1h" }, "keys": keys },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
        "explain": { "header": "x-why", "token": token },
    })
}

fn written(keys: &[&str]) -> Value {
    configuration(&json!(keys), &json!(TOKEN))
}

/// What one request came to.
struct Answer {
    reason: String,
    target: String,
    /// The cookie that the client has from now on.
    cookie: String,
}

fn ask(client: &mut Client, cookie: &str) -> Answer {
    let headers = [("x-why", TOKEN), ("cookie", cookie)];
    let response = client.get_with("a.example", "/", &headers).unwrap();
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let told = header("x-why").expect("the token is the right one");
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    let set = header("set-cookie").and_then(|it| Some(it.split_once(';')?.0.to_owned()));
    Answer {
        reason: text("reason"),
        target: text("target"),
        cookie: set.unwrap_or_else(|| cookie.to_owned()),
    }
}

#[test]
fn a_secret_of_the_environment_is_as_one_that_is_written_down_and_stands_nowhere() {
    let left = configuration(
        &json!([{ "env": "PM_KEY_1" }, OTHER_KEY]),
        &json!({ "env": "PM_TOKEN" }),
    );
    let mut site = Site::start_with(&left, |_, deployment| {
        // A file that became a variable ends with a line's end.
        let deployment = deployment.with_variable("PM_KEY_1", &format!("{KEY}\n"));
        Ok(deployment.with_variable("PM_TOKEN", TOKEN))
    })
    .unwrap();
    let beside = Site::start(&written(&[KEY])).unwrap();
    let first = ask(&mut site.client().unwrap(), "");
    assert_eq!(first.reason, "balance");
    let there = ask(&mut beside.client().unwrap(), &first.cookie);
    assert_eq!((&*there.reason, &there.target), ("sticky", &first.target));
    let back = ask(&mut site.client().unwrap(), &there.cookie);
    assert_eq!((&*back.reason, &back.target), ("sticky", &first.target));

    // Each look can see what it looks for: the key that is written down is in the dump.
    let shown = |site: &Site, path: &str| site.envoy.admin(path).unwrap();
    assert!(shown(&site, "/config_dump").contains(OTHER_KEY));
    assert!(shown(&beside, "/config_dump").contains(KEY));
    // A configuration with an error is told in the log, and its secrets are not.
    let mut bad = left.clone();
    bad["pools"]["web"]["sticky"]["keys"][1] = json!({ "env": "PM_KEY_2" });
    let refused = format!("{:#}", site.update(bad).unwrap_err());
    let told = "pools.web.sticky.keys[1]: the variable PM_KEY_2: not set";
    assert!(refused.contains(told), "{refused}");
    for text in [
        shown(&site, "/config_dump"),
        shown(&site, "/stats"),
        site.envoy.log(),
        refused,
    ] {
        assert!(!text.is_empty());
        for secret in [KEY, TOKEN] {
            assert!(!text.contains(secret), "{secret} in: {text}");
        }
    }
    let again = ask(&mut site.client().unwrap(), &first.cookie);
    assert_eq!((&*again.reason, &again.target), ("sticky", &first.target));
}

/// "A variable that the proxy does not have yet needs a restart of the proxy. Naming another one that
/// it has is a reload."
#[test]
fn another_variable_is_a_reload_where_the_proxy_has_it_and_else_a_restart() {
    let keys = |names: &[&str]| {
        let keys: Vec<_> = names.iter().map(|name| json!({ "env": name })).collect();
        configuration(&json!(keys), &json!(TOKEN))
    };
    let start = |names: &[&str], first: &Value| {
        Site::start_with(first, |_, deployment| {
            let give = |deployment: Deployment, name: &&str| {
                let key = if *name == "PM_KEY_1" { KEY } else { OTHER_KEY };
                deployment.with_variable(name, key)
            };
            Ok(names.iter().fold(deployment, give))
        })
    };
    let next = keys(&["PM_KEY_2", "PM_KEY_1"]);
    let mut has_both = start(&["PM_KEY_1", "PM_KEY_2"], &keys(&["PM_KEY_1"])).unwrap();
    let first = ask(&mut has_both.client().unwrap(), "");
    has_both.update(next.clone()).unwrap();
    let again = ask(&mut has_both.client().unwrap(), &first.cookie);
    assert_eq!((&*again.reason, &again.target), ("sticky", &first.target));
    assert_ne!(again.cookie, first.cookie, "signed anew");

    let mut has_one = start(&["PM_KEY_1"], &keys(&["PM_KEY_1"])).unwrap();
    let refused = format!("{:#}", has_one.update(next.clone()).unwrap_err());
    assert!(
        refused.contains("the variable PM_KEY_2: not set"),
        "{refused}"
    );
    // Restarted with it.
    let restarted = start(&["PM_KEY_1", "PM_KEY_2"], &next).unwrap();
    let there = ask(&mut restarted.client().unwrap(), &first.cookie);
    assert_eq!((&*there.reason, &there.target), ("sticky", &first.target));
}

#[test]
fn a_variable_that_is_no_key_keeps_envoy_from_starting_and_is_named() {
    const SHORT: &str = "c2VjcmV0";
    let left = configuration(
        &json!([{ "env": "PM_KEY_1" }, { "env": "PM_KEY_2" }]),
        &json!({ "env": "PM_TOKEN" }),
    );
    let started = Site::start_with(&left, |_, deployment| {
        let deployment = deployment.with_variable("PM_KEY_1", SHORT);
        Ok(deployment.with_variable("PM_KEY_2", KEY))
    });
    let refused = format!("{:#}", started.err().expect("no token, and no key"));
    for told in [
        "pools.web.sticky.keys[0]: the variable PM_KEY_1: a key of 6 bytes",
        "explain.token: the variable PM_TOKEN: not set",
    ] {
        assert!(refused.contains(told), "{refused}");
    }
    assert!(
        !refused.contains(SHORT) && !refused.contains(KEY),
        "{refused}"
    );
}

/// The keys of both proxies, from one step of a rotation to the next.
type Steps<'k> = &'k [[&'k [&'k str]; 2]];

/// Plays a rotation: at each step new clients come to each proxy, and then all clients ask both.
/// Returns how many of them lost their session at which step.
fn lost(steps: Steps<'_>) -> Vec<usize> {
    let mut sites = [0, 1].map(|at| Site::start(&written(steps[0][at])).unwrap());
    let mut clients: Vec<(String, String)> = Vec::new();
    let mut lost = Vec::new();
    for (step, keys) in steps.iter().enumerate() {
        if step > 0 {
            for (at, site) in sites.iter_mut().enumerate() {
                if steps[step - 1][at] != keys[at] {
                    site.update(written(keys[at])).unwrap();
                }
            }
        }
        let mut connections = sites.each_ref().map(|site| site.client().unwrap());
        for connection in &mut connections {
            for _ in 0..2 * TARGETS.len() {
                let answer = ask(connection, "");
                assert_eq!(answer.reason, "balance");
                clients.push((answer.target, answer.cookie));
            }
        }
        let reached: BTreeSet<_> = clients.iter().map(|(target, _)| target).collect();
        assert_eq!(reached.len(), TARGETS.len());
        let mut moved = 0;
        for (target, cookie) in &mut clients {
            for connection in &mut connections {
                let answer = ask(connection, cookie);
                // A cookie that is not valid may lead to the same target by chance.
                moved += usize::from(answer.reason != "sticky" || answer.target != *target);
                (*target, *cookie) = (answer.target, answer.cookie);
            }
        }
        lost.push(moved);
    }
    lost
}

#[test]
fn a_key_is_rotated_over_two_proxies_without_losing_a_session() {
    let (old, new) = (KEY, OTHER_KEY);
    let (before, appended) = (&[old][..], &[old, new][..]);
    let (fronted, after) = (&[new, old][..], &[new][..]);
    let lost_by_three_steps = lost(&[
        [before, before],
        // Append it on all.
        [appended, before],
        [appended, appended],
        // Move it to the front.
        [fronted, appended],
        [fronted, fronted],
        // Remove the old one. Here every client has come by since; without that, after a `ttl`.
        [after, fronted],
        [after, after],
    ]);
    assert_eq!(lost_by_three_steps, [0; 7]);
    // Two steps, a new key in front at once, are for one proxy: the other one cannot verify it.
    let lost_by_two = lost(&[
        [before, before],
        [fronted, before],
        [fronted, fronted],
        [after, fronted],
        [after, after],
    ]);
    assert!(lost_by_two[1] > 0, "{lost_by_two:?}");
    assert_eq!(lost_by_two[0], 0);
}
