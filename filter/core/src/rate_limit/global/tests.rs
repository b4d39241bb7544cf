use super::*;
use crate::config::Config;
use crate::http::headers::Headers;
use crate::http::request::Request;
use crate::siphash::Seed;
use crate::time::Nanos;
use std::rc::Rc;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn limits(text: &str) -> Vec<Rc<RateLimit>> {
    let config = format!(
        r#"{{ "rate_limits": {{ {text} }}, "routes": [{{ "name": "all", "pass": true }}] }}"#
    );
    Config::load(config.as_bytes()).unwrap().rate_limits
}

const GLOBAL: &str =
    r#""requests": 9, "per": "1s", "global": { "cluster": "rls", "domain": "d", "mode": "ask" }"#;

#[test]
fn a_descriptor_has_the_limits_name_and_the_parts_of_its_key() {
    let limits = limits(&format!(
        r#""a": {{ {GLOBAL}, "key": ["client_ip", "host", "route", {{ "header": "x-t" }}] }},
           "own": {{ "requests": 9, "per": "1s", "key": [] }},
           "b": {{ {GLOBAL}, "key": [] }}"#
    ));
    let headers = Headers::from_pairs(&[
        (":authority", "H"),
        (":path", "/"),
        ("x-t", "1"),
        ("x-t", "2"),
    ]);
    let request = Request::new(&headers);
    let client = Some([192, 0, 2, 1].into());
    let mut reader = KeyReader::new(&request, client, "r", Seed::default());
    let mut of = |place: usize, combination: usize| {
        let limit = &*limits[place];
        Descriptor::of(limit, &mut reader).message(limit.global().unwrap(), combination)
    };
    // Two values are two descriptors, each in a call of its own.
    for (combination, tenant) in ["1", "2"].into_iter().enumerate() {
        let entries = [
            ("limit", "a"),
            ("client_ip", "192.0.2.1"),
            ("host", "h"),
            ("route", "r"),
            ("header.x-t", tenant),
        ];
        assert_eq!(of(0, combination), wire::request("d", &entries));
    }
    let alone = [("limit", "b")];
    assert_eq!(of(2, 0), wire::request("d", &alone));
    assert!(limits[1].global().is_none());
    let global = limits[0].global().unwrap();
    let question = Question::new(global, 0, b"", None).unwrap();
    assert_eq!(question.timeout, Nanos::from_millis(20));
}

#[test]
fn no_client_chooses_how_long_a_value_is() {
    let limits = limits(&format!(
        r#""a": {{ {GLOBAL}, "key": [{{ "header": "x-t" }}] }},
           "b": {{ {GLOBAL}, "key": ["host", {{ "header": "x-t" }}] }}"#
    ));
    let hashed = "sha256:".len() + 64;
    for (value, length) in [
        (&b"abc"[..], 3),
        (&[b'a'; 128], 128),
        (&[b'a'; 129], hashed),
        (b"\xff", hashed),
        (&[b'a'; 60_000], hashed),
    ] {
        let headers = Headers::from_pairs(&[
            (&b":path"[..], &b"/"[..]),
            (b":authority", b"h"),
            (b"x-t", value),
        ]);
        let request = Request::new(&headers);
        let mut reader = KeyReader::new(&request, None, "r", Seed::default());
        let mut of = |place: usize| {
            let limit = &*limits[place];
            Descriptor::of(limit, &mut reader).message(limit.global().unwrap(), 0)
        };
        let (first, second) = (of(0), of(1));
        let of_length = |length: usize| {
            let value = "a".repeat(length);
            wire::request("d", &[("limit", "a"), ("header.x-t", &value)]).len()
        };
        assert_eq!(first.len(), of_length(length));
        // However many limits have it, it is hashed once.
        let hashed = request.steps.taken();
        assert!(hashed <= 3 * value.len() as u64 + 64, "{hashed}");
        // What the other limit says of the same value is the same.
        let end = &first[first.len() - length.min(60)..];
        assert!(second.ends_with(end), "{first:?} {second:?}");
    }
}

#[test]
fn a_reply_says_until_when_a_limit_refuses() {
    for (answer, reply) in [
        (&b""[..], Reply::Failed),
        (b"\x08\x01", Reply::Admitted),
        (b"\x08\x02", Reply::Refused(None)),
        (
            b"\x08\x02\x12\x06\x08\x02\x22\x02\x08\x04",
            Reply::Refused(Some(Nanos::from_secs(4))),
        ),
    ] {
        let answer = wire::response(answer).unwrap();
        assert_eq!(Reply::of(Some(&answer)), reply);
    }
    assert_eq!(Reply::of(None), Reply::Failed);
}
