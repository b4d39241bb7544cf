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
