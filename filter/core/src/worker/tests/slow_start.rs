//! `slow_start`.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The part of so many requests that each of three targets gets, each request with a key of its
/// own.
fn shares(test: &mut TestWorker) -> [f64; 3] {
    const REQUESTS: u32 = 3000;
    let mut counts = [0.0; 3];
    for key in 0..REQUESTS {
        let decided = test.get("/", &[("x-key", &key.to_string())]);
        counts[decided.flight.unwrap().target.index.get()] += 1.0;
    }
    counts.map(|count| count / f64::from(REQUESTS))
}

#[test]
fn a_target_that_is_back_gets_its_share_little_by_little_whatever_the_balance() {
    const SECOND: Nanos = Nanos::SECOND;
    let key = r#"{"consistent_hash": {"key": {"header": "x-key"}}}"#;
    for balance in [r#""random""#, r#""round_robin""#, key] {
        let mut test = balanced(
            balance,
            r#", "slow_start": "10s", "health": {"passive": {"consecutive_failures": 3, "eject": "10s"}}"#,
        );
        eject(&mut test, 0);
        assert_eq!(shares(&mut test)[0], 0.0, "{balance}");
        // How long it is back, in seconds, and about which part of the requests that makes: a third
        // of so many tenths.
        for (back, part) in [(3, 0.1), (6, 0.2), (11, 1.0 / 3.0)] {
            test.now = NOW + (10 + back) * SECOND;
            let [returned, others @ ..] = shares(&mut test);
            assert!(
                (returned - part).abs() < 0.03,
                "{balance}, after {back} s: {returned}"
            );
            let fair = (1.0 - part) / 2.0;
            assert!(
                others.iter().all(|other| (other - fair).abs() < 0.04),
                "{balance}: {others:?}"
            );
        }
    }
}

#[test]
fn slow_start_leaves_no_request_without_a_target_beside_one_that_takes_nothing_new() {
    let mut test = TestWorker::of(&format!(
        r#"{{"pools": {{"p": {{"cluster": "c", "slow_start": "10s", "health": {{{PASSIVE}}},
                "targets": [{{"endpoint": "127.0.0.1:1"}}, {{"endpoint": "127.0.0.1:2", "state": "draining"}}]}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ));
    eject(&mut test, 0);
    assert_eq!(test.get("/", &[WHY]).reason(), "use_all");
    // It is back, with a tenth of its weight.
    test.now += 31 * Nanos::SECOND;
    for _ in 0..100 {
        let decided = test.get("/", &[WHY]);
        assert_eq!((decided.status, decided.reason()), (None, "balance"));
    }
}
