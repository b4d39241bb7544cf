//! What of a request the ids of its buckets are made of, and what that costs.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

type Pairs<'a> = &'a [(&'a str, String)];

/// The ids of all buckets of so many limits with this key, and the steps that they took.
fn ids(parts: &[KeyPart], limits: usize, pairs: Pairs<'_>) -> (Vec<u64>, u64) {
    let worker = Worker::new(4096);
    let quota = limit(1, SECOND, 1).quota();
    let limit = |n: usize| RateLimit::new(n, &n.to_string(), quota, parts.to_vec(), false);
    let limits: Vec<_> = (0..limits).map(limit).collect();
    let headers = Headers::from_pairs(pairs);
    let request = Request::new(&headers);
    let mut reader = worker.limits.reader(&request, None, "route");
    let mut buckets = Vec::new();
    for limit in &limits {
        worker.limits.buckets(limit, &mut reader, &mut buckets);
    }
    let ids = buckets.iter().map(|bucket| bucket.id).collect();
    (ids, request.steps.taken())
}

fn header(name: &[u8]) -> KeyPart {
    KeyPart::Header(name.into())
}

fn cookie(name: &[u8]) -> KeyPart {
    KeyPart::Cookie(name.into())
}

fn query(name: &[u8]) -> KeyPart {
    KeyPart::Query(name.into())
}

/// As many bytes as the headers of a request have at the shipped edge.
fn full(text: &str) -> String {
    text.repeat(16 * 1024 / text.len())
}

/// Cookies of one name with so many values, one after the other.
fn cookies(values: &[String]) -> String {
    let of = |at: usize| format!("a={};", values[at % values.len()]);
    let mut text = String::new();
    for at in 0.. {
        let next = of(at);
        if text.len() + next.len() > 16 * 1024 {
            break;
        }
        text.push_str(&next);
    }
    text
}

/// Of one length, different in the last bytes.
fn alike(count: usize, length: usize) -> Vec<String> {
    let value = |n: usize| format!("{}{n:02}", "x".repeat(length - 2));
    (0..count).map(value).collect()
}

#[test]
fn however_many_limits_ask_a_request_is_hashed_once() {
    let parts = [
        KeyPart::Path,
        KeyPart::Host,
        KeyPart::Method,
        KeyPart::Route,
        cookie(b"a"),
        cookie(b"b"),
        query(b"a"),
        header(b"cookie"),
    ];
    let of = |name: &'static str, value: String| vec![(name, value)];
    let rows = [
        ("a path", of(":path", full("/a"))),
        ("a host", of(":authority", full("a.a"))),
        ("a method", of(":method", full("A"))),
        ("a parameter", of(":path", format!("/?a={}", full("a")))),
        (
            "an encoded one",
            of(":path", format!("/?a={}", full("%41"))),
        ),
        ("a cookie", of("cookie", format!("a={}", full("a")))),
        ("cookies of one value", of("cookie", cookies(&alike(1, 60)))),
        ("cookies of eight", of("cookie", cookies(&alike(8, 60)))),
        ("cookies of nine", of("cookie", cookies(&alike(9, 60)))),
        ("eight long ones", of("cookie", cookies(&alike(8, 1000)))),
        ("two longer ones", of("cookie", cookies(&alike(2, 8000)))),
        ("nine and more", of("cookie", cookies(&alike(40, 400)))),
    ];
    for (what, pairs) in rows {
        let [one, many] = [1, 21].map(|limits| ids(&parts, limits, &pairs).1);
        // Hashed anew is what is short: at most in each of eight combinations. In each of them the
        // other parts are looked for among many cookies again.
        let each = (many - one) / 20;
        let most = if what.starts_with('a') {
            2048
        } else {
            5 * 2048
        };
        println!("{what}: {one} steps, {each} for each further limit");
        assert!(each <= most, "{what}: {each} for each further limit");
        // Looking for it takes four steps a byte, and telling apart eight comparisons.
        assert!(one <= 14 * 16 * 1024, "{what}: {one}");
    }
}

#[test]
fn a_key_has_all_bytes_of_a_value_however_long() {
    let host = KeyPart::Host;
    for length in [255, 256, 257, 4000] {
        let [one, other] = [0, 1].map(|at| alike(2, length)[at].clone());
        for part in [KeyPart::Path, host.clone(), header(b"h"), cookie(b"c")] {
            let id = |value: &str| {
                let pairs = [
                    (":path", value.to_owned()),
                    (":authority", value.to_owned()),
                    ("h", value.to_owned()),
                    ("cookie", format!("c={value}")),
                ];
                ids(std::slice::from_ref(&part), 1, &pairs).0
            };
            assert_eq!(id(&one).len(), 1);
            assert_ne!(id(&one), id(&other), "{part:?} of {length}");
            // Another worker, and one after a reload, finds the same.
            assert_eq!(id(&one), id(&one), "{part:?} of {length}");
            let is_one = id(&one) == id(&one.to_uppercase());
            assert_eq!(is_one, part == host, "{part:?} of {length}");
        }
    }
}

#[test]
fn long_values_are_told_apart_and_the_same_one_twice_is_one() {
    for length in [100, 3000] {
        let [a, b] = [0, 1].map(|at| alike(2, length)[at].clone());
        let count = |values: &[&String]| {
            let cookies: Vec<_> = values.iter().map(|value| format!("c={value}")).collect();
            let pairs = [("cookie", cookies.join("; "))];
            ids(&[cookie(b"c"), header(b"h")], 2, &pairs).0.len()
        };
        assert_eq!(count(&[&a]), 2);
        assert_eq!(count(&[&a, &a]), 2);
        assert_eq!(count(&[&a, &b]), 4);
        assert_eq!(count(&[&a, &b, &a]), 4);
    }
}

/// A proxy that is upgraded under load keeps the buckets of all keys but the very long ones.
#[test]
fn the_bytes_of_a_key_are_those_of_the_first_release() {
    let parts = [header(b"h"), cookie(b"c"), query(b"q"), KeyPart::Path];
    let value = "x".repeat(256);
    let pairs = [
        ("h", value.clone()),
        ("cookie", "c=1".to_owned()),
        (":path", "/a".to_owned()),
    ];
    let quota = limit(1, SECOND, 1).quota();
    let limit = RateLimit::new(0, "0", quota, parts.to_vec(), false);
    let mut hash = limit.bucket_hash([9; 16]);
    hash.write_byte(1);
    hash.write_field(value.as_bytes());
    hash.write_byte(0);
    hash.write_byte(1);
    hash.write_field(b"1");
    hash.write_byte(0);
    hash.write_field(b"");
    hash.write_field(b"/a");
    let id = Bucket::client_id(hash.finish(), true);
    assert_eq!(ids(&parts, 1, &pairs).0, [id]);
}
