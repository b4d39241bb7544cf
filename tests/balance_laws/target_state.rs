//! `state`: targets that are up, draining or down, as configurations come that say so.

use super::{answered, backend, get, is_answered, until_none_is_in_flight, updatable};
use host_sim::backend::Answer;
use host_sim::client::{Client, session_cookie};
use host_sim::testkit::load::{self, Jobs};
use host_sim::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

/// The pool `web` with targets in these states.
fn web(targets: [(&str, &str); 2]) -> Value {
    let targets = targets.map(|(cluster, state)| json!({ "cluster": cluster, "state": state }));
    let sticky =
        json!({ "cookie": { "name": "pm" }, "keys": ["YS1uZXcta2V5LW9mLWF0LWxlYXN0LTE2LWJ5dGVz"] });
    json!({
        "pools": { "web": { "targets": targets, "sticky": sticky } },
        "routes": [{ "name": "all", "pool": "web" }],
    })
}

#[test]
fn switching_from_blue_to_green_and_back_under_load_loses_no_request() {
    const CLIENTS: usize = 6;
    let (blue, green) = (
        web([("blue", "up"), ("green", "down")]),
        web([("blue", "down"), ("green", "up")]),
    );
    let mut site = updatable(&blue);
    let address = site.envoy.address().unwrap();
    load::repeat_while(address, CLIENTS, is_answered, |load| {
        for (configuration, to) in [
            (&green, "green"),
            (&blue, "blue"),
            (&green, "green"),
            (&blue, "blue"),
        ] {
            site.update(configuration.clone()).unwrap();
            let backend = site.backend(to).unwrap();
            let before = backend.count();
            until("the other has the requests", || {
                backend.count() > before + 100
            });
            load.wait_for_every_client();
        }
    });
    until_none_is_in_flight(&site);
}

#[test]
fn a_draining_target_keeps_its_sessions_and_requests_and_gets_nothing_new() {
    let mut site = updatable(&web([("blue", "up"), ("green", "up")]));
    let mut client = site.client().unwrap();
    let mut session = String::new();
    until("blue answers", || {
        let answer = get(&mut client, &[]);
        session = session_cookie(&answer).unwrap();
        backend(&answer) == "blue"
    });
    // A request to blue that is under way while it begins to drain.
    let slow = Answer::After(Duration::from_secs(3), answered(200));
    let blue = site.backend("blue").unwrap();
    blue.answer(slow);
    let (address, before) = (site.envoy.address().unwrap(), blue.count());
    let under_way = |_: Jobs<'_>| {
        let mut client = Client::new(address).unwrap();
        backend(&get(&mut client, &[("cookie", &session)])).to_owned()
    };
    let (answered_by, ()) = load::run_while(1, under_way, |_| {
        until("it is under way", || {
            site.backend("blue").unwrap().count() > before
        });
        site.update(web([("blue", "draining"), ("green", "up")]))
            .unwrap();
        site.backend("blue").unwrap().answer(Answer::Name);
    });
    assert_eq!(answered_by, ["blue"]);
    for _ in 0..20 {
        let mut client = site.client().unwrap();
        assert_eq!(backend(&get(&mut client, &[])), "green");
        assert_eq!(backend(&get(&mut client, &[("cookie", &session)])), "blue");
    }
    until_none_is_in_flight(&site);
    // Down: the session moves, and is a new one.
    site.update(web([("blue", "down"), ("green", "up")]))
        .unwrap();
    for _ in 0..20 {
        let answer = get(&mut site.client().unwrap(), &[("cookie", &session)]);
        assert_eq!(backend(&answer), "green");
        assert!(answer.headers().contains_key("set-cookie"));
    }
}
