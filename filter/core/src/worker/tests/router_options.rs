//! `timeout`, `retry` and `mirror`.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
const TRY: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
const ATTEMPTS: &str = "x-envoy-max-retries";
const ON: &str = "x-envoy-retry-on";
const GRPC_ON: &str = "x-envoy-retry-grpc-on";

#[test]
fn a_client_says_nothing_about_what_is_configured() {
    let mut test = TestWorker::of(
        r#"{
        "pools": {
            "p": {"targets": [{"cluster": "c"}], "timeout": "5s", "retry": {"attempts": 2, "on": ["unavailable"]}},
            "q": {"targets": [{"cluster": "c"}]}
        },
        "routes": [
            {"name": "pools", "match": {"path": {"exact": "/pools"}}, "pool": "p"},
            {"name": "own", "match": {"path": {"exact": "/own"}}, "timeout": "0s",
             "retry": {"attempts": 1, "on": ["5xx", "reset"], "per_try_timeout": "250ms"}, "pool": "p"},
            {"name": "passed", "match": {"path": {"exact": "/passed"}}, "timeout": "1s", "pass": true},
            {"name": "edited", "match": {"path": {"exact": "/edited"}}, "retry": {"attempts": 3},
             "request_headers": {"set": {"x-envoy-retriable-status-codes": "418", "x-envoy-max-retries": "9"}}, "pool": "q"},
            {"name": "nothing", "match": {"path": {"exact": "/nothing"}}, "pool": "q"}
        ]
    }"#,
    );
    let theirs = [
        (TIMEOUT, "9"),
        (TRY, "9"),
        (ATTEMPTS, "9"),
        (ON, "5xx"),
        (GRPC_ON, "internal"),
        ("x-envoy-retriable-status-codes", "200"),
        ("x-envoy-expected-rq-timeout-ms", "9"),
    ];
    let safe = Some("connect-failure,refused-stream");
    for (path, expected) in [
        (
            "/pools",
            [
                Some("5000"),
                None,
                Some("2"),
                None,
                Some("unavailable"),
                None,
                None,
            ],
        ),
        (
            "/own",
            [
                Some("0"),
                Some("250"),
                Some("1"),
                Some("5xx,reset"),
                None,
                None,
                None,
            ],
        ),
        // What is configured of one thing says nothing of another.
        (
            "/passed",
            [
                Some("1000"),
                Some("9"),
                Some("9"),
                Some("5xx"),
                Some("internal"),
                Some("200"),
                None,
            ],
        ),
        (
            "/edited",
            [
                Some("9"),
                None,
                Some("3"),
                safe,
                None,
                Some("418"),
                Some("9"),
            ],
        ),
        (
            "/nothing",
            [
                Some("9"),
                Some("9"),
                Some("9"),
                Some("5xx"),
                Some("internal"),
                Some("200"),
                Some("9"),
            ],
        ),
    ] {
        let decided = test.get(path, &theirs);
        let got = theirs.map(|(name, _)| decided.header(name));
        assert_eq!(got, expected, "{path}");
    }
}

const MIRRORED: &str = r#"{
    "pools": {
        "p": {"targets": [{"cluster": "a"}, {"cluster": "b"}], "balance": "least_connections"},
        "shadow": {
            "targets": [
                {"cluster": "s", "weight": 3}, {"cluster": "t"}, {"cluster": "u", "weight": 0}, {"cluster": "v", "state": "draining"}
            ],
            "sticky": {"cookie": {"name": "pm"}}
        }
    },
    "routes": [
        {"name": "all", "match": {"path": {"exact": "/all"}}, "mirror": {"pool": "shadow"}, "pool": "p"},
        {"name": "some", "match": {"path": {"exact": "/some"}}, "mirror": {"pool": "shadow", "percent": 12.5},
         "split": [{"pool": "p", "weight": 1}, {"pool": "shadow", "weight": 1}]},
        {"name": "own", "match": {"path": {"exact": "/own"}}, "pool": "shadow"},
        {"name": "passed", "match": {"path": {"exact": "/passed"}}, "mirror": {"pool": "shadow"}, "pass": true},
        {"name": "answered", "match": {"path": {"exact": "/answered"}}, "mirror": {"pool": "shadow"}, "respond": {"status": 200}},
        {"name": "rest", "pool": "p"}
    ],
    "explain": {"header": "x-why", "token": "secret"}
}"#;

const MIRROR: &str = "x-pointsman-mirror";

#[test]
fn so_many_requests_are_copied_and_no_client_says_which() {
    let mut test = TestWorker::of(MIRRORED);
    let theirs = [(MIRROR, "theirs"), (MIRROR, "theirs")];
    let mut copies = std::collections::BTreeMap::new();
    let mut of_part = [[0u32; 2]; 2];
    for _ in 0..4000 {
        let decided = test.get("/all", &theirs);
        *copies
            .entry(decided.header(MIRROR).unwrap().to_owned())
            .or_insert(0) += 1;
        let decided = test.get("/some", &theirs);
        let is_first = ["a", "b"].contains(&decided.cluster().unwrap());
        of_part[usize::from(is_first)][usize::from(decided.header(MIRROR).is_some())] += 1;
    }
    // By weight, and to nothing that takes no new requests.
    assert_eq!(copies.keys().collect::<Vec<_>>(), ["s", "t"]);
    assert!((2850..3150).contains(&copies["s"]), "{copies:?}");
    // An eighth, of each part of the split.
    for [without, with] in of_part {
        let share = f64::from(with) / f64::from(with + without);
        assert!((0.10..0.15).contains(&share), "{of_part:?}");
    }
    for path in ["/own", "/rest"] {
        assert_eq!(test.get(path, &theirs).header(MIRROR), None, "{path}");
    }
    assert!(test.get("/passed", &theirs).header(MIRROR).is_some());
    assert_eq!(test.get("/answered", &theirs).status, Some(200));
    for (roll, is_copied) in [("0.124", true), ("0.126", false)] {
        let why = format!("secret;roll={roll}");
        let decided = test.get("/some", &[("x-why", &why)]);
        assert_eq!(decided.header(MIRROR).is_some(), is_copied, "{roll}");
    }
}

#[test]
fn a_copy_counts_for_nothing() {
    let mut plain =
        TestWorker::of(&MIRRORED.replace(r#""mirror": {"pool": "shadow"}, "pool""#, r#""pool""#));
    let mut mirrored = TestWorker::of(MIRRORED);
    for _ in 0..100 {
        let decided = mirrored.get("/all", &[]);
        assert_eq!(decided.cookie, None);
        let flight = decided.flight.as_ref().unwrap();
        assert_eq!(flight.target.pool, PoolIndex::new(0));
        assert_eq!(decided.cluster(), plain.get("/all", &[]).cluster());
    }
    // The turns of the mirror's pool are where they were.
    for _ in 0..4 {
        let [one, other] = [&mut plain, &mut mirrored].map(|test| test.get("/own", &[]));
        assert_eq!(one.cluster(), other.cluster());
    }
    assert_eq!(plain.port.gauges, mirrored.port.gauges);
}
