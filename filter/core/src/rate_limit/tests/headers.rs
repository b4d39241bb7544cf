use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn refusals_say_when_to_come_back_in_whole_seconds() {
    let texts = |limit: &RateLimit, retry_after| {
        refusal_headers(limit, retry_after)
            .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
    };
    assert_eq!(
        texts(&limit(5, 60 * SECOND, 9), 11 * SECOND + NS),
        [
            (&b"retry-after"[..], "12".to_owned()),
            (b"ratelimit-policy", "\"limit\";q=5;w=60".to_owned()),
            (b"ratelimit", "\"limit\";r=0;t=12".to_owned()),
        ]
    );
    for (wait, seconds) in [
        (NS, "1"),
        (SECOND, "1"),
        (SECOND + NS, "2"),
        (Nanos::MAX, "18446744074"),
    ] {
        assert_eq!(texts(&limit(1, NS, 1), wait)[0].1, seconds);
    }
}

#[test]
fn admitted_requests_are_told_what_is_left() {
    let told = |quota: (u32, Nanos, u32), ahead: Nanos| {
        let limit = limit(quota.0, quota.1, quota.2);
        let [(name, policy), (_, state)] = state_headers(&limit, NOW + ahead, NOW);
        assert_eq!((name, policy.is_empty()), (&b"ratelimit-policy"[..], false));
        String::from_utf8(state).unwrap()
    };
    for (quota, ahead, expected) in [
        ((5, 60 * SECOND, 9), 12 * SECOND, r#""limit";r=8;t=12"#),
        ((5, 60 * SECOND, 9), 12 * SECOND + NS, r#""limit";r=7;t=13"#),
        ((5, 60 * SECOND, 9), 108 * SECOND, r#""limit";r=0;t=108"#),
        ((5, 60 * SECOND, 9), 109 * SECOND, r#""limit";r=0;t=109"#),
        ((5, 60 * SECOND, 9), Nanos::ZERO, r#""limit";r=9;t=1"#),
        // A third of a second is no whole number of nanoseconds.
        ((3, SECOND, 3), SECOND / 3, r#""limit";r=2;t=1"#),
    ] {
        assert_eq!(told(quota, ahead), expected, "{quota:?} {ahead:?}");
    }
}

#[test]
fn a_limit_that_tells_knows_its_state_after_each_request() {
    let telling = limit(1000, SECOND, 1000).answering(None, true);
    let quiet = RateLimit {
        index: 1,
        ..limit(5000, SECOND, 5000)
    };
    let (mut worker, mut store) = (Worker::new(64), MemoryPort::default());
    for count in 1..=1000 {
        let verdict = worker.check(&[&telling, &quiet], &mut store, 1, NOW);
        assert_eq!(verdict, Verdict::Admitted);
        let [state] = worker.limits.states() else {
            panic!("{:?}", worker.limits.states());
        };
        assert_eq!(state.limit, 0);
        let [_, (_, value)] = state_headers(&telling, state.full_at, NOW);
        let expected = format!("\"limit\";r={};t=1", 1000 - count);
        assert_eq!(String::from_utf8(value).unwrap(), expected);
    }
}

#[test]
fn policies_are_structured_fields_with_the_exact_rate() {
    let policy = |name: &str, requests, per| {
        let limit = RateLimit {
            name: name.into(),
            ..limit(requests, per, 1)
        };
        let [_, (_, policy), _] = refusal_headers(&limit, NS);
        String::from_utf8(policy).unwrap()
    };
    for (requests, per, expected) in [
        (100, SECOND / 4, r#""a";q=400;w=1"#),
        (2, 3 * SECOND / 2, r#""a";q=4;w=3"#),
        (7, 3600 * SECOND, r#""a";q=7;w=3600"#),
        (1, Nanos::MILLISECOND, r#""a";q=1000;w=1"#),
        (u32::MAX, SECOND - NS, r#""a";q=4294967295"#),
    ] {
        assert_eq!(policy("a", requests, per), expected);
    }
    for (name, expected) in [
        ("a\"b\\c", r#""a\"b\\c";q=1;w=1"#),
        ("한", r#""%ed%95%9c";q=1;w=1"#),
    ] {
        assert_eq!(policy(name, 1, SECOND), expected);
    }
}
