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

/// A split over blue, which has green to stand in for it, and green, in this order, with cookies of
/// these names. Red fails over to green too, and has a route of its own.
fn standby(order: [(&str, u32); 2], names: [&str; 2], state: &str) -> TestWorker {
    let sticky = |name: &str| format!(r#", "sticky": {{"cookie": {{"name": "{name}"}}}}"#);
    let blue = format!(r#"{}, "failover": ["green"]"#, sticky(names[0]));
    let red = format!(r#"{}, "failover": ["green"]"#, sticky("pm_red"));
    let part = |(pool, weight)| format!(r#"{{"pool": "{pool}", "weight": {weight}}}"#);
    let [first, second] = order.map(part);
    TestWorker::of(&format!(
        r#"{{"pools": {{"blue": {}, "green": {}, "red": {}}}, "explain": {{"header": "x-why", "token": "t"}},
            "routes": [
                {{"name": "red", "match": {{"path": {{"exact": "/red"}}}}, "pool": "red"}},
                {{"name": "green", "match": {{"path": {{"exact": "/green"}}}}, "pool": "green"}},
                {{"name": "r", "split": [{first}, {second}]}}]}}"#,
        clusters(&[("b1", state), ("b2", state)], &blue),
        clusters(&[("g1", UP), ("g2", UP)], &sticky(names[1])),
        clusters(&[("r1", state)], &red),
    ))
}

/// With this random number, from 0 to below 1.
fn rolled(roll: &str) -> [(&str, String); 1] {
    [("x-why", format!("t;roll={roll}"))]
}

#[test]
fn clients_come_home_when_the_first_pool_is_back_whatever_the_order_of_the_parts() {
    let with = |roll: &str, cookies: &str, test: &mut TestWorker| {
        let [(name, why)] = rolled(roll);
        test.get("/", &[("cookie", cookies), (name, &why)])
    };
    for names in [["pm_blue", "pm_green"], ["pm", "pm"]] {
        for weights in [(100, 0), (50, 50), (1, 99)] {
            for order in [
                [("blue", weights.0), ("green", weights.1)],
                [("green", weights.1), ("blue", weights.0)],
            ] {
                let blue = if order[0].0 == "blue" { "0" } else { "0.9999" };
                let other = if order[0].0 == "blue" { "0.9999" } else { "0" };
                let mut down = standby(order, names, DOWN);
                let mut up = standby(order, names, UP);
                // A client that was new in the outage.
                let away = with(blue, "", &mut down);
                assert_eq!(away.reason(), "failover");
                let mut cookies = vec![away.pair()];
                // And one that has been there before.
                let home = with(blue, "", &mut up);
                if names[0] != names[1] {
                    cookies.push(format!("{}; {}", home.pair(), away.pair()));
                    cookies.push(format!("{}; {}", away.pair(), home.pair()));
                }
                for cookies in cookies {
                    for roll in [blue, other] {
                        let still = with(roll, &cookies, &mut down);
                        assert_eq!(
                            (still.cluster(), still.reason(), &still.cookie),
                            (away.cluster(), "failover", &None)
                        );
                        let back = with(roll, &cookies, &mut up);
                        assert!(
                            back.cluster().unwrap().starts_with('b'),
                            "{order:?} {cookies}"
                        );
                    }
                }
                // Who belongs to green stays there.
                if weights.1 > 0 {
                    let green = with(other, "", &mut down);
                    assert_eq!(green.reason(), "balance");
                    for test in [&mut down, &mut up] {
                        let again = with(blue, &green.pair(), test);
                        assert_eq!(
                            (again.cluster(), again.reason()),
                            (green.cluster(), "sticky")
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_session_of_a_failover_keeps_its_target_on_other_routes_and_belongs_to_no_part_there() {
    let order = [("blue", 1), ("green", 1)];
    let names = ["pm_blue", "pm_green"];
    let (mut down, mut up) = (standby(order, names, DOWN), standby(order, names, UP));
    let away = down.get("/red", &[WHY]);
    assert_eq!(away.reason(), "failover");
    // A route to the pool itself keeps the target, and changes nothing.
    let direct = up.get("/green", &[("cookie", &away.pair()), WHY]);
    assert_eq!(
        (direct.cluster(), direct.reason(), &direct.cookie),
        (away.cluster(), "sticky", &None)
    );
    // A split that does not have the first pool draws as for a new client. Drawn to the same pool,
    // the client keeps its target, and belongs there from now on.
    for (roll, pool) in [("0", 'b'), ("0.9", 'g')] {
        let [(name, why)] = rolled(roll);
        let drawn = up.get("/", &[("cookie", &away.pair()), (name, &why)]);
        assert!(drawn.cluster().unwrap().starts_with(pool));
        if pool == 'g' {
            assert_eq!(
                (drawn.cluster(), drawn.reason()),
                (away.cluster(), "sticky")
            );
            let [(name, why)] = rolled("0");
            let again = up.get("/", &[("cookie", &drawn.pair()), (name, &why)]);
            assert_eq!((again.cluster(), &again.cookie), (away.cluster(), &None));
        }
    }
}

#[test]
fn where_nothing_new_is_to_go_home_a_client_of_a_failover_stays() {
    let order = [("blue", 1), ("green", 1)];
    let away = standby(order, ["pm", "pm"], DOWN);
    let away = { away }.get("/", &[("x-why", "t;roll=0")]);
    assert_eq!(away.reason(), "failover");
    let mut drained = standby([("blue", 0), ("green", 1)], ["pm", "pm"], UP);
    let stays = drained.get("/", &[("cookie", &away.pair()), WHY]);
    assert_eq!(
        (stays.cluster(), stays.reason()),
        (away.cluster(), "sticky")
    );
}
