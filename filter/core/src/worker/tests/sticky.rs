//! Sessions by cookie and by header.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_session_stays_whatever_becomes_of_the_weights() {
    for (before, after) in [((1, 0), (0, 1)), ((0, 1), (1, 0)), ((1, 1), (0, 0))] {
        let first = canary(before.0, before.1).get("/", &[]);
        let mut shifted = canary(after.0, after.1);
        for _ in 0..5 {
            let again = shifted.get("/", &[("cookie", &first.pair())]);
            assert_eq!(again.cluster(), first.cluster());
            assert_eq!(again.cookie, None, "nothing new to tell the client");
        }
    }
}

#[test]
fn a_header_holds_a_client_to_its_part_and_target() {
    let (mut test, mut other_worker) = (canary(1, 1), canary(1, 1));
    let mut seen = std::collections::BTreeSet::new();
    for client in 0..50 {
        let session = [("x-session", &*client.to_string())];
        let home = test.get("/", &session).cluster().map(str::to_owned);
        assert_eq!(other_worker.get("/", &session).cluster(), home.as_deref());
        assert_eq!(test.get("/", &session).cluster(), home.as_deref());
        seen.insert(home);
    }
    assert_eq!(seen.len(), 4, "clients spread over all targets");
}

#[test]
fn a_canary_that_grows_moves_header_clients_one_way_only() {
    let (mut small, mut large) = (canary(90, 10), canary(50, 50));
    for client in 0..200 {
        let session = [("x-session", &*client.to_string())];
        let (before, after) = (small.get("/", &session), large.get("/", &session));
        if before.cluster() != after.cluster() {
            assert!(
                before.cluster().unwrap().starts_with('s')
                    && after.cluster().unwrap().starts_with('n')
            );
        }
    }
}

/// "A hash cannot tell old clients from new ones": who draws nothing new keeps nobody.
#[test]
fn header_clients_of_a_target_without_new_ones_move_at_once() {
    let pool = |blue: &str| {
        let sticky = r#", "sticky": {"header": "x-session"}"#;
        routed(&[("p", clusters(&[("blue", blue), ("green", UP)], sticky))])
    };
    let mut homes = [UP, r#", "state": "draining""#, r#", "weight": 0"#].map(pool);
    let mut moved = 0;
    for client in 0..50 {
        let session = [("x-session", &*client.to_string())];
        let [before, draining, weightless] = homes.each_mut().map(|test| test.get("/", &session));
        assert_eq!(draining.cluster(), Some("green"));
        assert_eq!(weightless.cluster(), Some("green"));
        moved += usize::from(before.cluster() == Some("blue"));
    }
    assert!((1..50).contains(&moved), "{moved}");
}

#[test]
fn a_session_outlives_draining_and_not_its_targets_end() {
    let one = |state: &str| {
        let sticky = r#", "sticky": {"cookie": {"name": "pm"}}"#;
        routed(&[(
            "p",
            clusters(&[("blue", state), ("green", r#", "weight": 0"#)], sticky),
        )])
    };
    let first = one(UP).get("/", &[]);
    assert_eq!(first.cluster(), Some("blue"));
    for state in [r#", "state": "draining""#, r#", "weight": 0"#] {
        let kept = one(state).get("/", &[("cookie", &first.pair()), WHY]);
        assert_eq!((kept.cluster(), kept.reason()), (Some("blue"), "sticky"));
        assert_eq!(one(state).get("/", &[]).status, Some(503), "nobody new");
    }
    assert_eq!(
        one(DOWN).get("/", &[("cookie", &first.pair())]).status,
        Some(503)
    );
}

#[test]
fn a_client_whose_target_is_gone_keeps_its_part_of_a_split() {
    let canary = |state: &str, weights: (u32, u32)| {
        let sticky = r#", "sticky": {"cookie": {"name": "pm"}}"#;
        let stable = clusters(&[("s1", UP)], sticky);
        let new = clusters(&[("n1", state), ("n2", UP)], sticky);
        TestWorker::of(&format!(
            r#"{{"pools": {{"stable": {stable}, "new": {new}}}, "explain": {{"header": "x-why", "token": "t"}},
                "routes": [{{"name": "r", "split": [
                    {{"pool": "stable", "weight": {}}}, {{"pool": "new", "weight": {}}}]}}]}}"#,
            weights.0, weights.1
        ))
    };
    let mut before = canary(UP, (0, 1));
    let first = std::iter::repeat_with(|| before.get("/", &[]))
        .take(2)
        .find(|decided| decided.cluster() == Some("n1"))
        .unwrap();
    let mut after = canary(DOWN, (1, 0));
    let moved = after.get("/", &[("cookie", &first.pair()), WHY]);
    assert_eq!((moved.cluster(), moved.reason()), (Some("n2"), "repin"));
    let again = after.get("/", &[("cookie", &moved.pair()), WHY]);
    assert_eq!(
        (again.cluster(), again.reason(), again.cookie.as_deref()),
        (Some("n2"), "sticky", None)
    );
}

/// Four endpoints with passive health and this balance, with a session cookie or without.
fn endpoints(balance: &str, sticky: &str) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{"pools": {{"p": {{"cluster": "c", "balance": {balance}, "targets": [
                {{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2"}},
                {{"endpoint": "127.0.0.1:3"}}, {{"endpoint": "127.0.0.1:4"}}],
                "health": {{{PASSIVE}}} {sticky}}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ))
}

const COOKIE: &str =
    r#", "sticky": {"cookie": {"name": "pm", "ttl": "1h"}, "header": "x-session"}"#;

/// The place of an endpoint of [`endpoints`].
fn place(endpoint: &str) -> usize {
    endpoint
        .strip_prefix("127.0.0.1:")
        .unwrap()
        .parse::<usize>()
        .unwrap()
        - 1
}

fn in_flight(test: &TestWorker, endpoint: &str) -> u32 {
    test.worker.in_flight.own(TargetRef {
        pool: PoolIndex::new(0),
        index: TargetIndex::new(place(endpoint)),
    })
}

#[test]
fn the_cookie_names_who_answered_and_the_request_is_counted_there() {
    let mut test = endpoints(r#""random""#, COOKIE);
    for tried in 1..4 {
        let list = test.get("/", &[]).endpoints();
        test.answers = Some(list[1].clone());
        // Whoever is chosen, this one answers.
        let first = test.get("/", &[]);
        let (chosen, answered) = (first.endpoints()[0].clone(), list[1].clone());
        test.answers = None;
        let again = test.get("/", &[("cookie", &first.pair()), WHY]);
        assert_eq!(
            (&again.endpoints()[0], again.reason(), &again.cookie),
            (&answered, "sticky", &None)
        );
        let counted = first.flight.unwrap();
        assert_eq!(counted.counted.get(), place(&answered));
        // Its end is counted there too.
        let before = in_flight(&test, &answered);
        let mut end = ended(200, Some(answered.as_bytes().to_vec()));
        let TestWorker { worker, port, .. } = &mut test;
        worker.on_request_complete(counted, &Seen::WHOLE, &mut end, port, NOW);
        assert_eq!(in_flight(&test, &answered), before - 1, "{tried} {chosen}");
    }
}

#[test]
fn a_client_whose_target_fails_is_moved_by_the_first_answer_of_another() {
    let mut test = endpoints(r#""random""#, COOKIE);
    let first = test.get("/", &[]);
    let session = [("cookie", &*first.pair()), WHY];
    let list = test.get("/", &session).endpoints();
    test.now += Nanos::from_secs(1);
    test.answers = Some(list[2].clone());
    let moved = test.get("/", &session);
    assert_eq!(
        (moved.endpoints(), moved.reason()),
        (list.clone(), "sticky")
    );
    test.answers = None;
    let there = test.get("/", &[("cookie", &moved.pair()), WHY]);
    assert_eq!(
        (&there.endpoints()[0], there.reason()),
        (&list[2], "sticky")
    );
    // As long as it fails every answer is looked at, whenever it comes.
    for _ in 0..3 {
        test.answers = Some(list[1].clone());
        let moved = test.get("/", &session);
        assert!(moved.cookie.is_some());
    }
    // Two that failed are as one.
    test.answers = Some(list[3].clone());
    assert!(test.get("/", &session).cookie.is_some());
}

#[test]
fn an_answer_of_the_proxys_own_begins_no_session_and_ends_none() {
    for pool in [endpoints(r#""random""#, COOKIE), canary(1, 0)] {
        let mut test = pool;
        test.proxy_answers = true;
        assert_eq!(test.get("/", &[]).cookie, None);
        assert_eq!(test.get("/", &[("x-session", "a")]).cookie, None);
        test.proxy_answers = false;
        let session = test.get("/", &[]).pair();
        test.proxy_answers = true;
        test.now += Nanos::from_secs(1);
        assert_eq!(test.get("/", &[("cookie", &session)]).cookie, None);
        // Nor where the last of those that were tried failed.
        test.answers = Some("127.0.0.1:4".to_owned());
        assert_eq!(test.get("/", &[("cookie", &session)]).cookie, None);
        assert_eq!(test.get("/", &[]).cookie, None);
    }
}

#[test]
fn an_answer_from_elsewhere_holds_nobody_and_is_counted_at_the_choice() {
    let mut test = endpoints(r#""random""#, COOKIE);
    test.answers = Some("127.0.0.1:5".to_owned());
    let decided = test.get("/", &[]);
    assert_eq!(decided.cookie, None);
    let flight = decided.flight.unwrap();
    assert_eq!(flight.counted, flight.target.index);
}

#[test]
fn a_key_and_a_session_have_one_next_target_and_it_is_where_they_go_once_theirs_is_ejected() {
    let hash = r#"{"consistent_hash": {"key": {"header": "x-tenant"}}}"#;
    let mut firsts = std::collections::BTreeSet::new();
    for number in 0..40 {
        let key = number.to_string();
        for kind in 0..3 {
            let mut test = match kind {
                0 => endpoints(hash, ""),
                _ => endpoints(r#""round_robin""#, COOKIE),
            };
            // Sessions of one second are told apart by their clients.
            test.now = NOW + Nanos::from_secs(number % 20);
            let session = match kind {
                0 => ("x-tenant", key.clone()),
                1 => ("x-session", key.clone()),
                _ => ("cookie", test.get("/", &[]).pair()),
            };
            let headers = [(session.0, &*session.1), ("user-agent", &*key), WHY];
            let list = test.get("/", &headers).endpoints();
            assert_eq!(list.len(), 4);
            for _ in 0..4 {
                assert_eq!(test.get("/", &headers).endpoints(), list);
            }
            // One after the other, and nobody moves but for its own target.
            for left in 1..3 {
                eject(&mut test, place(&list[left - 1]));
                assert_eq!(test.get("/", &headers).endpoints(), list[left..]);
            }
            firsts.insert((kind, place(&list[0]), place(&list[1])));
        }
    }
    assert!(
        firsts.len() > 20,
        "keys spread over the next targets: {firsts:?}"
    );
}

/// A pool with two parts of one split, and one beside them.
fn experiment(weights: [u32; 3]) -> TestWorker {
    let sticky = r#", "sticky": {"cookie": {"name": "pm"}, "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="]}"#;
    let part = |pool: &str, weight: u32, told: &str| {
        format!(
            r#"{{"pool": "{pool}", "weight": {weight}, "request_headers": {{"set": {{"x-part": "{told}"}}}}}}"#
        )
    };
    TestWorker::of(&format!(
        r#"{{"pools": {{"a": {}, "b": {}}}, "explain": {{"header": "x-why", "token": "t"}},
            "routes": [{{"name": "other", "match": {{"path": {{"exact": "/other"}}}}, "pool": "a"}},
                {{"name": "r", "split": [{}, {}, {}]}}]}}"#,
        clusters(&[("a1", UP), ("a2", UP)], sticky),
        clusters(&[("b1", UP)], ""),
        part("b", weights[0], "beside"),
        part("a", weights[1], "control"),
        part("a", weights[2], "treatment"),
    ))
}

#[test]
fn a_session_belongs_to_a_part_and_not_only_to_its_pool() {
    for (weights, part) in [([0, 1, 0], "control"), ([0, 0, 1], "treatment")] {
        let first = experiment(weights).get("/", &[]);
        assert_eq!(first.header("x-part"), Some(part));
        let session = [("cookie", &*first.pair()), WHY];
        for later in [[1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]] {
            let mut test = experiment(later);
            // A route without a split keeps the session, and its part.
            let between = test.get("/other", &session);
            assert_eq!((between.reason(), &between.cookie), ("sticky", &None));
            let again = test.get("/", &session);
            assert_eq!(
                (again.header("x-part"), again.cluster(), again.reason()),
                (Some(part), first.cluster(), "sticky"),
                "{later:?}"
            );
            assert_eq!(again.cookie, None);
        }
    }
}

#[test]
fn a_part_that_is_gone_leaves_its_clients_to_the_first_of_their_pool() {
    let second = experiment([0, 0, 1]).get("/", &[]);
    let sticky = r#", "sticky": {"cookie": {"name": "pm"}, "keys": ["MDEyMzQ1Njc4OWFiY2RlZg=="]}"#;
    let pool = clusters(&[("a1", UP), ("a2", UP)], sticky);
    let mut test = TestWorker::of(&format!(
        r#"{{"pools": {{"a": {pool}, "b": {}}}, "explain": {{"header": "x-why", "token": "t"}},
            "routes": [{{"name": "r", "split": [{{"pool": "b", "weight": 1}}, {{"pool": "a", "weight": 1}}]}}]}}"#,
        clusters(&[("b1", UP)], ""),
    ));
    for _ in 0..4 {
        let decided = test.get("/", &[("cookie", &second.pair()), WHY]);
        assert_eq!(
            (decided.cluster(), decided.reason()),
            (second.cluster(), "sticky")
        );
    }
}
