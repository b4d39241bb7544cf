//! `failover`, `when_all_unhealthy`, and targets that take nothing.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn nothing_new_comes_where_no_target_takes_it() {
    for target in [
        r#""weight": 0"#,
        r#""state": "draining""#,
        r#""state": "down""#,
    ] {
        let mut test = TestWorker::of(&format!(
            r#"{{"pools": {{"p": {{"targets": [{{"cluster": "c", {target}}}]}}}}, "routes": [{{"name": "r", "pool": "p"}}]}}"#
        ));
        assert_eq!(test.get("/", &[]).status, Some(503), "{target}");
    }
    assert_eq!(canary(0, 0).get("/", &[]).status, Some(503));
}

#[test]
fn failover_takes_the_first_pool_that_can_and_follows_no_list_but_the_first() {
    let pools = |b: &str, c: &str| {
        routed(&[
            (
                "a",
                clusters(&[("a1", DOWN)], r#", "failover": ["b", "c"]"#),
            ),
            ("b", clusters(&[("b1", b)], r#", "failover": ["a", "d"]"#)),
            ("c", clusters(&[("c1", c)], r#", "failover": ["b", "a"]"#)),
            ("d", clusters(&[("d1", UP)], "")),
        ])
    };
    for (b, c, cluster, reason) in [
        (UP, UP, Some("b1"), "failover"),
        (DOWN, UP, Some("c1"), "failover"),
        (DOWN, DOWN, None, "no_target"),
    ] {
        let decided = pools(b, c).get("/", &[WHY]);
        assert_eq!((decided.cluster(), decided.reason()), (cluster, reason));
        assert_eq!(decided.status, cluster.is_none().then_some(503));
        assert!(decided.told.unwrap().contains(r#""pool":"#));
    }
}

#[test]
fn a_pool_of_failover_keeps_its_own_sessions_and_gives_clients_back() {
    const STICKY: &str = r#""sticky": {"cookie": {"name": "#;
    let pools = |state: &str| {
        routed(&[
            (
                "web",
                clusters(
                    &[("w1", state), ("w2", state)],
                    &format!(r#", {STICKY}"web"}}}}, "failover": ["spare"]"#),
                ),
            ),
            (
                "spare",
                clusters(
                    &[("s1", UP), ("s2", UP), ("s3", UP)],
                    &format!(r#", {STICKY}"spare"}}}}"#),
                ),
            ),
        ])
    };
    let home = pools(UP).get("/", &[]);
    let mut down = pools(DOWN);
    let away = down.get("/", &[("cookie", &home.pair()), WHY]);
    assert_eq!(away.reason(), "failover");
    assert!(
        away.pair().starts_with("spare="),
        "the old cookie stays beside it"
    );
    let both = format!("{}; {}", home.pair(), away.pair());
    for _ in 0..6 {
        let again = down.get("/", &[("cookie", &both), WHY]);
        assert_eq!(
            (again.cluster(), again.reason()),
            (away.cluster(), "failover")
        );
        assert_eq!(again.cookie, None);
    }
    let back = pools(UP).get("/", &[("cookie", &both), WHY]);
    assert_eq!((back.cluster(), back.reason()), (home.cluster(), "sticky"));
    assert_eq!(back.cookie, None);
}

/// Three endpoints with passive health and a session cookie, and one to fail over to.
fn checked(when: &str, failover: &str) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{"pools": {{
                "p": {{"cluster": "c", "targets": [
                        {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}}, {{"endpoint": "127.0.0.1:3"}}],
                    "health": {{{PASSIVE} {when}}}, "sticky": {{"cookie": {{"name": "pm"}}}} {failover}}},
                "spare": {{"cluster": "c", "targets": [{{"endpoint": "127.0.0.1:4"}}], "sticky": {{"cookie": {{"name": "pm"}}}}}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ))
}

#[test]
fn an_ejected_target_gets_nothing_and_its_clients_move_for_good() {
    let mut test = checked("", "");
    let first = test.get("/", &[]);
    let home = first.endpoints()[0].clone();
    let target = (0..3)
        .find(|i| home.ends_with(&format!(":{}", i + 1)))
        .unwrap();
    eject(&mut test, target);
    let moved = test.get("/", &[("cookie", &first.pair()), WHY]);
    assert_eq!(moved.reason(), "repin");
    assert!(!moved.endpoints().contains(&home) && moved.endpoints().len() == 2);
    let stays = test.get("/", &[("cookie", &moved.pair()), WHY]);
    assert_eq!(
        (&stays.endpoints()[0], stays.reason()),
        (&moved.endpoints()[0], "sticky")
    );
    for _ in 0..6 {
        assert!(
            !test.get("/", &[]).endpoints().contains(&home),
            "in the retries neither"
        );
    }
}

#[test]
fn when_all_are_unhealthy_the_others_help_and_then_all_are_used_or_none() {
    let rows = [
        ("", r#", "failover": ["spare"]"#, Some("failover")),
        (
            r#", "when_all_unhealthy": "respond_503""#,
            r#", "failover": ["spare"]"#,
            Some("failover"),
        ),
        ("", "", Some("use_all")),
        (r#", "when_all_unhealthy": "use_all""#, "", Some("use_all")),
        (r#", "when_all_unhealthy": "respond_503""#, "", None),
    ];
    for (when, failover, forwarded) in rows {
        let mut test = checked(when, failover);
        let first = test.get("/", &[]);
        (0..3).for_each(|target| eject(&mut test, target));
        for _ in 0..3 {
            let decided = test.get("/", &[("cookie", &first.pair()), WHY]);
            assert_eq!(
                decided.reason(),
                forwarded.unwrap_or("unhealthy"),
                "{when} {failover}"
            );
            assert_eq!(decided.status, forwarded.is_none().then_some(503));
            if forwarded == Some("use_all") {
                let list = decided.endpoints();
                assert_eq!(
                    (&list[0], list.len()),
                    (&first.endpoints()[0], 3),
                    "the session stays"
                );
                assert_eq!(decided.cookie, None);
            }
        }
    }
}
