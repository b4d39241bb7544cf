//! Targets with `max_in_flight`.

use super::*;
use std::collections::BTreeMap;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The told reason of a request, and its target.
fn ask(test: &mut TestWorker, headers: &[(&str, &str)]) -> (Decided, String) {
    let headers = [headers, &[WHY]].concat();
    let decided = test.get("/", &headers);
    let told = decided.told.clone().unwrap();
    let target = told.split_once(r#""target":"#).unwrap().1;
    let target = target.split([',', '}']).next().unwrap().trim_matches('"');
    let target = target.to_owned();
    (decided, target)
}

fn end(test: &mut TestWorker, decided: Decided, status: u16) {
    let flight = decided.flight.unwrap();
    let mut info = ended(status, None);
    let now = test.now;
    test.worker
        .on_request_complete(flight, &Seen::WHOLE, &mut info, &mut test.port, now);
}

const TWO: &str = r#", "max_in_flight": 2"#;

#[test]
fn a_full_target_is_passed_over_and_its_place_is_free_again() {
    for balance in [
        "round_robin",
        "random",
        "least_connections",
        "least_response_time",
        "ip_hash",
    ] {
        let beside = format!(r#", "balance": "{balance}""#);
        let mut test = routed(&[("p", clusters(&[("a", TWO), ("b", TWO)], &beside))]);
        let mut flights = Vec::new();
        let mut counts = BTreeMap::<String, u32>::new();
        for _ in 0..4 {
            let (decided, target) = ask(&mut test, &[]);
            *counts.entry(target).or_default() += 1;
            flights.push(decided);
        }
        assert_eq!(
            counts.into_values().collect::<Vec<_>>(),
            [2, 2],
            "{balance}"
        );
        let (refused, target) = ask(&mut test, &[]);
        assert_eq!(
            (refused.status, refused.reason(), &*target),
            (Some(503), "full", "null")
        );
        assert_eq!(test.port.sum_of_gauges(".in_flight"), 4);
        // A failure frees its place as well: no penalty keeps it.
        end(&mut test, flights.remove(1), 503);
        let (admitted, _) = ask(&mut test, &[]);
        assert_eq!(admitted.status, None, "{balance}");
        flights.push(admitted);
        flights
            .into_iter()
            .for_each(|flight| end(&mut test, flight, 200));
        assert_eq!(test.port.sum_of_gauges(".in_flight"), 0, "{balance}");
    }
}

/// The bound is the same where each worker knows of the other by the gauges alone.
#[test]
fn another_workers_requests_count() {
    let mut test = routed(&[("p", clusters(&[("a", TWO)], ""))]);
    let (one, _) = ask(&mut test, &[]);
    // The other's.
    test.port
        .gauges
        .iter_mut()
        .for_each(|(_, value)| *value += 1);
    let (refused, _) = ask(&mut test, &[]);
    assert_eq!(refused.reason(), "full");
    test.port
        .gauges
        .iter_mut()
        .for_each(|(_, value)| *value -= 1);
    let (two, _) = ask(&mut test, &[]);
    assert_eq!(two.status, None);
    end(&mut test, one, 200);
    end(&mut test, two, 200);
}

#[test]
fn where_the_pool_would_answer_503_anyway_nothing_stays_counted() {
    let health = r#", "health": {
        "active": {"path": "/", "initial": "unhealthy"}, "when_all_unhealthy": "respond_503"}"#;
    let mut test = routed(&[("p", clusters(&[("a", TWO)], health))]);
    for _ in 0..5 {
        let (refused, _) = ask(&mut test, &[]);
        assert_eq!((refused.status, refused.reason()), (Some(503), "unhealthy"));
    }
    assert_eq!(test.port.sum_of_gauges(".in_flight"), 0);
}

#[test]
fn in_a_pool_too_large_to_look_at_every_place_is_found() {
    for balance in [
        r#""random""#,
        r#""round_robin""#,
        r#"{"consistent_hash": {"key": "path"}}"#,
    ] {
        let names: Vec<String> = (0..100).map(|name| name.to_string()).collect();
        let targets: Vec<_> = names
            .iter()
            .map(|name| (&**name, r#", "max_in_flight": 1"#))
            .collect();
        let beside = format!(r#", "balance": {balance}"#);
        let mut test = routed(&[("p", clusters(&targets, &beside))]);
        for _ in 0..100 {
            let (decided, _) = ask(&mut test, &[]);
            assert_eq!(decided.status, None, "{balance}");
            let _ = decided.flight;
        }
        assert_eq!(ask(&mut test, &[]).0.reason(), "full");
        assert_eq!(test.port.sum_of_gauges(".in_flight"), 100);
    }
}
