//! `prefer_region`.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A pool of two endpoints in each of two regions.
fn two_regions(seoul: &str, beside: &str) -> TestWorker {
    TestWorker::of(&format!(
        r#"{{"pools": {{"p": {{"cluster": "c", "targets": [
                {{"endpoint": "127.0.0.1:1", "region": "seoul", "weight": 3{seoul}}},
                {{"endpoint": "127.0.0.2:1", "region": "virginia", "weight": 3}},
                {{"endpoint": "127.0.0.1:2", "region": "seoul"{seoul}}}, {{"endpoint": "127.0.0.2:2", "region": "virginia"}}],
                "prefer_region": {{"header": "x-geo", "map": {{"KR": "seoul", "US": "virginia"}}, "default": "seoul"}} {beside}}}}},
            "routes": [{{"name": "r", "pool": "p"}}], "explain": {{"header": "x-why", "token": "t"}}}}"#
    ))
}

#[test]
fn each_region_takes_its_own_turns_and_retries_stay_near() {
    let mut test = two_regions("", "");
    let mut seen = std::collections::BTreeMap::<_, u32>::new();
    for i in 0..40 {
        // Clients of both regions, one after the other.
        let (country, near, region) = [
            ("KR", "127.0.0.1:", "seoul"),
            ("US", "127.0.0.2:", "virginia"),
        ][i % 2];
        let decided = test.get("/", &[("x-geo", country), WHY]);
        let list = decided.endpoints();
        let is_near: Vec<bool> = list
            .iter()
            .map(|endpoint| endpoint.starts_with(near))
            .collect();
        assert_eq!(is_near, [true, true, false, false], "{list:?}");
        assert!(
            decided
                .told
                .as_deref()
                .unwrap()
                .contains(&format!(r#""region":"{region}""#))
        );
        *seen.entry(list[0].clone()).or_default() += 1;
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [15, 5, 15, 5]);
}

#[test]
fn a_region_that_is_down_is_passed_over_and_comes_back() {
    for (seoul, near) in [(UP, "127.0.0.1:"), (DOWN, "127.0.0.2:"), (UP, "127.0.0.1:")] {
        let mut test = two_regions(seoul, "");
        for country in ["KR", "elsewhere"] {
            let list = test.get("/", &[("x-geo", country)]).endpoints();
            assert!(list[0].starts_with(near), "{list:?}");
            assert_eq!(list.len(), if seoul == DOWN { 2 } else { 4 });
        }
    }
}

#[test]
fn a_session_goes_before_nearness() {
    let mut test = two_regions("", r#", "sticky": {"cookie": {"name": "pm"}}"#);
    let home = test.get("/", &[("x-geo", "KR")]);
    let abroad = test.get("/", &[("x-geo", "US"), ("cookie", &home.pair()), WHY]);
    assert_eq!(
        (&abroad.endpoints()[0], abroad.reason()),
        (&home.endpoints()[0], "sticky")
    );
}

#[test]
fn a_hashed_key_has_one_home_in_each_region() {
    let mut test = two_regions(
        "",
        r#", "balance": {"consistent_hash": {"key": {"header": "x-tenant"}}}"#,
    );
    for tenant in 0..20 {
        for (country, near) in [("KR", "127.0.0.1:"), ("US", "127.0.0.2:")] {
            let headers = [("x-tenant", &*tenant.to_string()), ("x-geo", country), WHY];
            let home = test.get("/", &headers);
            assert!(home.endpoints()[0].starts_with(near));
            assert_eq!(home.reason(), "hash");
            assert_eq!(test.get("/", &headers).endpoints()[0], home.endpoints()[0]);
        }
    }
}
