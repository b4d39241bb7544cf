//! Balances, by key and by load.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_key_keeps_its_target_and_keys_spread_over_all() {
    let header = |name: &'static str| move |key: &str| ("/".to_owned(), name, key.to_owned());
    type Request = Box<dyn Fn(&str) -> (String, &'static str, String)>;
    let rows: [(&str, Request); 6] = [
        (
            r#""ip_hash""#,
            Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("10.0.0.{key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": "client_ip"}}"#,
            Box::new(|key| ("/".to_owned(), "x-forwarded-for", format!("::{key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": {"header": "X-Tenant"}}}"#,
            Box::new(header("x-tenant")),
        ),
        (
            r#"{"consistent_hash": {"key": {"cookie": "t"}}}"#,
            Box::new(|key| ("/".to_owned(), "cookie", format!("a=b; t={key}"))),
        ),
        (
            r#"{"consistent_hash": {"key": {"query": "t"}}}"#,
            Box::new(|key| (format!("/{key}?t={key}"), "x-other", key.to_owned())),
        ),
        (
            r#"{"consistent_hash": {"key": "path"}}"#,
            Box::new(|key| (format!("/{key}?{key}"), "x-other", key.to_owned())),
        ),
    ];
    for (balance, request) in rows {
        let (mut test, mut other) = (balanced(balance, ""), balanced(balance, ""));
        let entropy = Entropy {
            seed: [8; 16],
            rolls: 43,
            worker: WorkerId::new(Seconds::ZERO, 2),
        };
        other.worker = Worker::new(other.worker.config().clone(), entropy);
        let mut seen = std::collections::BTreeSet::new();
        for key in 0..40 {
            let (path, name, value) = request(&key.to_string());
            let headers = [(name, &*value), ("x-why", "t")];
            let first = test.get(&path, &headers);
            assert_eq!(first.reason(), "hash", "{balance}");
            for worker in [&mut test, &mut other] {
                assert_eq!(
                    worker.get(&path, &headers).endpoint(),
                    first.endpoint(),
                    "{balance} {key}"
                );
            }
            seen.insert(first.endpoint().to_owned());
        }
        assert_eq!(seen.len(), 3, "{balance}");
    }
}

#[test]
fn requests_without_the_key_take_turns() {
    for key in ["header", "cookie", "query"] {
        let mut test = balanced(
            &format!(r#"{{"consistent_hash": {{"key": {{"{key}": "t"}}}}}}"#),
            "",
        );
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for _ in 0..30 {
            let decided = test.get("/", &[("x-why", "t")]);
            assert_eq!(decided.reason(), "balance");
            *seen.entry(decided.endpoint().to_owned()).or_default() += 1;
        }
        assert_eq!(
            seen.into_values().collect::<Vec<_>>(),
            [10, 10, 10],
            "{key}"
        );
    }
}

#[test]
fn a_session_goes_before_the_hash() {
    let sticky = r#", "sticky": {"cookie": {"name": "pm"}, "header": "x-session"}"#;
    let mut test = balanced(
        r#"{"consistent_hash": {"key": {"header": "x-tenant"}}}"#,
        sticky,
    );
    let mut sets_apart = false;
    for tenant in 0..20 {
        let tenant = tenant.to_string();
        let home = test.get("/", &[("x-tenant", "home"), ("x-why", "t")]);
        let other = test.get("/", &[("x-tenant", &tenant)]);
        sets_apart |= home.endpoint() != other.endpoint();
        let kept = test.get(
            "/",
            &[
                ("x-tenant", &tenant),
                ("cookie", &home.pair()),
                ("x-why", "t"),
            ],
        );
        assert_eq!(
            (kept.endpoint(), kept.reason()),
            (home.endpoint(), "sticky")
        );
        let by_header = |test: &mut TestWorker, tenant: &str| {
            let decided = test.get(
                "/",
                &[("x-tenant", tenant), ("x-session", "s"), ("x-why", "t")],
            );
            assert_eq!(decided.reason(), "sticky_header");
            decided.endpoint().to_owned()
        };
        assert_eq!(by_header(&mut test, &tenant), by_header(&mut test, "home"));
    }
    assert!(sets_apart);
}

#[test]
fn who_fails_fast_attracts_nothing() {
    const FAILS: usize = 1;
    for balance in [r#""least_connections""#, r#""least_response_time""#] {
        let mut test = balanced(balance, "");
        let mut failed = 0;
        for _ in 0..1000 {
            let mut flight = test.get("/", &[]).flight.unwrap();
            test.now += Nanos::from_millis(10);
            let fails = flight.target.index.get() == FAILS;
            failed += u32::from(fails);
            // It answers at once, the others ten milliseconds later than the request came.
            flight.answered = Some(if fails { flight.started } else { test.now });
            let address = format!("127.0.0.1:{}", flight.target.index.get() + 1);
            let mut end = ended(if fails { 503 } else { 200 }, Some(address.into()));
            let now = test.now;
            test.worker
                .on_request_complete(flight, &Seen::WHOLE, &mut end, &mut test.port, now);
        }
        // A failure keeps its place for a second, in which a hundred requests come.
        assert!((5..=25).contains(&failed), "{balance}: {failed} of 1000");
    }
}

/// What a decision takes, for pools of all kinds; it promises nothing.
#[test]
#[ignore = "prints times"]
fn time_of_a_decision() {
    let target = |i: usize, extra: &str| {
        format!(
            r#"{{"endpoint": "10.{}.{}.{}:80", "weight": {} {extra}}}"#,
            i >> 16,
            i >> 8 & 255,
            i & 255,
            1 + i * 5 % 8
        )
    };
    let region = |i: usize| format!(r#", "region": "r{}""#, i % 3);
    let rows: [(&str, &str, bool); 8] = [
        ("round_robin", "", false),
        ("random", "", false),
        ("least_connections", r#", "slow_start": "0s""#, false),
        ("least_response_time", "", false),
        ("ip_hash", "", false),
        (
            "round_robin, checked",
            r#", "health": {"passive": {"consecutive_failures": 5}}"#,
            false,
        ),
        ("random, slow start", r#", "slow_start": "10s""#, false),
        (
            "round_robin, regions",
            r#", "health": {"passive": {"consecutive_failures": 5}}, "prefer_region": {"header": "x-geo", "map": {"KR": ["r1"]}, "default": ["r0"]}"#,
            true,
        ),
    ];
    for (name, beside, regions) in rows {
        for count in [3, 20, 200, 2000] {
            let targets: Vec<String> = (0..count)
                .map(|i| target(i, &if regions { region(i) } else { String::new() }))
                .collect();
            let balance = name.split(',').next().unwrap();
            let mut test = TestWorker::of(&format!(
                r#"{{
                    "pools": {{"p": {{"cluster": "c", "balance": "{balance}", "targets": [{}] {beside}}}}},
                    "routes": [{{"name": "r", "pool": "p"}}]
                }}"#,
                targets.join(",")
            ));
            let headers = Headers::from_pairs(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "h"),
                (":path", "/"),
            ]);
            let config = test.worker.config().clone();
            let rounds = (200_000 / count) as u32;
            let mut times: Vec<_> = (0..9)
                .map(|_| {
                    let begin = std::time::Instant::now();
                    for _ in 0..rounds {
                        test.now += Nanos::from_millis(1);
                        let decision = test.worker.decide(
                            &config,
                            &Request::new(&headers),
                            &mut test.port,
                            test.now,
                        );
                        let _ = std::hint::black_box(&decision.flight);
                    }
                    begin.elapsed() / rounds
                })
                .collect();
            times.sort_unstable();
            println!(
                "{name}, {count} targets: {:?} ({:?} to {:?})",
                times[4], times[0], times[8]
            );
        }
    }
}
