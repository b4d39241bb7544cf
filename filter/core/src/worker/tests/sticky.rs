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
