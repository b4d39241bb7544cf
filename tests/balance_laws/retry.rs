//! Envoy's retries, as `envoy-config/envoy.yaml` has them, with the endpoints that the filter
//! lists: who answers holds the session.

use super::{backend, is_answered, until_none_is_in_flight, updatable};
use host_sim::client::{Client, header, session_cookie};
use host_sim::testkit::load;
use host_sim::wait::until;
use hyper::body::Bytes;
use serde_json::{Value, json};

const ENDPOINTS: [&str; 3] = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"];

#[test]
fn with_the_shipped_retry_no_client_notices_that_one_backend_of_three_is_killed() {
    const CLIENTS: usize = 6;
    let targets = ENDPOINTS.map(|endpoint| json!({ "endpoint": endpoint }));
    let mut site = updatable(&json!({
        "pools": { "api": { "cluster": "api", "targets": targets } },
        "routes": [{ "name": "all", "pool": "api" }],
    }));
    let address = site.envoy.address().unwrap();
    load::repeat_while(address, CLIENTS, is_answered, |load| {
        for _ in 0..3 {
            load.wait_for_jobs(200);
            let killed = site.backend_mut(ENDPOINTS[1]).unwrap();
            killed.stop();
            load.wait_for_jobs(500);
            killed.start_again().unwrap();
            until("it is back", || killed.count() > 20);
        }
    });
    until_none_is_in_flight(&site);
}

/// Asks for a path, and why.
fn ask(client: &mut Client, path: &str, with: (&str, &str)) -> (hyper::Response<Bytes>, Value) {
    let headers = [("x-why", "t"), with];
    let answer = client.get_with("a", path, &headers).unwrap();
    let why = serde_json::from_str(header(&answer, "x-why")).unwrap();
    (answer, why)
}

#[test]
fn who_answered_holds_the_session_and_a_key_has_one_next_target() {
    let targets = [9101, 9102, 9103, 9104].map(|port| {
        let name = if port == 9101 {
            "dead".to_owned()
        } else {
            port.to_string()
        };
        json!({ "endpoint": format!("127.0.0.1:{port}"), "name": name })
    });
    let mut site = updatable(&json!({
        "pools": {
            "login": {
                "cluster": "api", "balance": "random", "targets": targets,
                "sticky": { "cookie": { "name": "pm" } },
            },
            "tenants": {
                "cluster": "api", "targets": targets,
                "balance": { "consistent_hash": { "key": { "header": "x-tenant" } } },
                "health": { "passive": { "eject": "1h", "max_eject": "1h" } },
            },
        },
        "routes": [
            { "name": "login", "match": { "path": { "exact": "/login" } }, "pool": "login" },
            { "name": "tenants", "pool": "tenants" },
        ],
        "explain": { "header": "x-why", "token": "t" },
    }));
    let mut client = site.client().unwrap();
    let nobody = ("x-nothing", "");
    let mut session_of_dead = || loop {
        let (answer, why) = ask(&mut client, "/login", nobody);
        if why["target"] == "dead" {
            return (
                backend(&answer).to_owned(),
                session_cookie(&answer).unwrap(),
            );
        }
    };
    let (home, of_dead) = session_of_dead();
    site.backend_mut("127.0.0.1:9101").unwrap().stop();

    // New clients: another one answers, and keeps them.
    for _ in 0..5 {
        let (answered, session) = session_of_dead();
        assert_ne!(answered, home);
        for _ in 0..4 {
            let (answer, why) = ask(&mut site.client().unwrap(), "/login", ("cookie", &session));
            assert_eq!(
                (backend(&answer), &why["reason"]),
                (&*answered, &json!("sticky"))
            );
            assert_eq!(session_cookie(&answer), None);
        }
    }

    // A client whose target died: it is moved, and until it tells so it goes to the same one.
    let mut moved = Vec::new();
    for _ in 0..8 {
        let (answer, why) = ask(&mut site.client().unwrap(), "/login", ("cookie", &of_dead));
        assert_eq!(why["target"], "dead");
        moved.push(backend(&answer).to_owned());
        if let Some(session) = session_cookie(&answer) {
            let (answer, why) = ask(&mut site.client().unwrap(), "/login", ("cookie", &session));
            assert_eq!(
                (backend(&answer), &why["reason"]),
                (&*moved[0], &json!("sticky"))
            );
            assert_eq!(session_cookie(&answer), None);
        }
    }
    moved.dedup();
    assert_eq!(moved.len(), 1, "{moved:?}");

    // A key whose target died has one other, also once its own is ejected.
    let mut client = site.client().unwrap();
    let (tenant, next) = (0..)
        .find_map(|tenant| {
            let tenant = tenant.to_string();
            let (answer, why) = ask(&mut client, "/", ("x-tenant", &tenant));
            (why["target"] == "dead").then(|| (tenant, backend(&answer).to_owned()))
        })
        .unwrap();
    let mut stays = || {
        let (answer, why) = ask(&mut client, "/", ("x-tenant", &tenant));
        assert_eq!(backend(&answer), next, "{why}");
        why["target"] != "dead"
    };
    (0..8).for_each(|_| {
        stays();
    });
    until("the dead target is ejected", &mut stays);
    (0..8).for_each(|_| {
        stays();
    });
    until_none_is_in_flight(&site);
}

/// Before the target is ejected each of its requests is answered by the next of the client's order;
/// where it is then, the client belongs at once.
#[test]
fn a_client_whose_target_dies_moves_once_though_the_target_is_ejected_meanwhile() {
    const PORTS: [u16; 3] = [9101, 9102, 9103];
    let targets = PORTS.map(|port| json!({ "endpoint": format!("127.0.0.1:{port}") }));
    let mut site = updatable(&json!({
        "pools": { "login": {
            "cluster": "api", "balance": "random", "targets": targets,
            "sticky": { "cookie": { "name": "pm" } },
            "health": { "passive": { "eject": "1h", "max_eject": "1h" } },
        } },
        "routes": [{ "name": "login", "pool": "login" }],
        "explain": { "header": "x-why", "token": "t" },
    }));
    let mut client = site.client().unwrap();
    let dead = format!("127.0.0.1:{}", PORTS[0]);
    let mut cookie = loop {
        let (answer, why) = ask(&mut client, "/", ("x-nothing", ""));
        if why["target"] == *dead {
            break session_cookie(&answer).unwrap();
        }
    };
    let of_dead = cookie.clone();
    site.backend_mut(&dead).unwrap().stop();

    let mut answered = Vec::new();
    let mut is_ejected = || {
        // This client takes what it is given, and another one of the same target does not, so that
        // the target goes on failing until it is ejected.
        for keeps in [true, false] {
            let sent = if keeps { &cookie } else { &of_dead };
            let (answer, why) = ask(&mut site.client().unwrap(), "/", ("cookie", sent));
            assert_eq!(answer.status(), 200, "{why}");
            answered.push(backend(&answer).to_owned());
            match session_cookie(&answer) {
                Some(given) if keeps => cookie = given,
                _ => {}
            }
            if !keeps && why["target"] != *dead {
                return true;
            }
        }
        false
    };
    until("the dead target is ejected", &mut is_ejected);
    (0..4).for_each(|_| {
        is_ejected();
    });
    answered.dedup();
    assert_eq!(answered.len(), 1, "{answered:?}");
}

#[test]
fn an_answer_of_the_proxys_own_begins_no_session() {
    let mut site = updatable(&json!({
        "pools": { "p": {
            "targets": [{ "cluster": "dead" }, { "cluster": "ok" }],
            "sticky": { "cookie": { "name": "pm" } },
        } },
        "routes": [{ "name": "all", "pool": "p" }],
    }));
    site.backend_mut("dead").unwrap().stop();
    for _ in 0..8 {
        let mut client = site.client().unwrap();
        let answer = client.get("a", "/").unwrap();
        let is_good = answer.status().is_success();
        assert_eq!(session_cookie(&answer).is_some(), is_good, "{answer:?}");
        // Round robin: the next one is answered by the other.
        let other = client.get("a", "/").unwrap();
        assert_eq!(other.status().is_success(), !is_good);
        assert_eq!(session_cookie(&other).is_some(), !is_good);
    }
}
