use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn the_first_limit_that_refuses_answers_and_none_is_charged() {
    let (wide, narrow, middle) = (
        named(0, "wide", 9, false),
        named(1, "narrow", 2, false),
        named(2, "middle", 5, false),
    );
    let (mut worker, mut store) = (Worker::new(4096), MemoryPort::default());
    for expected in [true, true, false, false] {
        let verdict = worker.check(&[&wide, &narrow, &middle], &mut store, 1, NOW);
        assert_eq!(verdict == Verdict::Admitted, expected);
        if let Verdict::Refused { limit, .. } = verdict {
            assert_eq!(limit, 1);
        }
    }
    assert_eq!(
        worker.events,
        [RateLimitEvent::Refused(1), RateLimitEvent::Refused(1)]
    );
    // The others were charged for what was admitted, and for nothing else.
    assert_eq!(worker.flood(&wide, &mut store, 1, NOW), 7);
    assert_eq!(worker.flood(&middle, &mut store, 1, NOW), 3);
    worker.events.clear();
    let verdict = worker.check(&[&middle, &wide], &mut store, 1, NOW);
    assert!(matches!(verdict, Verdict::Refused { limit: 0, .. }));
    assert_eq!(worker.events, [RateLimitEvent::Refused(2)]);
}

#[test]
fn a_shadow_counts_what_it_would_refuse_and_refuses_nothing() {
    let (shadow, hard) = (named(0, "shadow", 2, true), named(1, "hard", 4, false));
    let (mut worker, mut store) = (Worker::new(4096), MemoryPort::default());
    let admitted =
        (0..6).filter(|_| worker.check(&[&shadow, &hard], &mut store, 1, NOW) == Verdict::Admitted);
    assert_eq!(admitted.count(), 4);
    let count = |events: &[RateLimitEvent], event| events.iter().filter(|e| **e == event).count();
    assert_eq!(count(&worker.events, RateLimitEvent::Shadow(0)), 4);
    assert_eq!(count(&worker.events, RateLimitEvent::Refused(1)), 2);
    // Alone as well. The shadow was charged twice, as a hard limit would have been.
    for _ in 0..3 {
        assert!(worker.admits(&shadow, &mut store, 1, NOW));
    }
    assert_eq!(count(&worker.events, RateLimitEvent::Shadow(0)), 7);
    assert!(worker.admits(&shadow, &mut store, 1, NOW + 3600 * SECOND));
    assert_eq!(count(&worker.events, RateLimitEvent::Shadow(0)), 7);
}

#[test]
fn a_limit_of_another_name_or_other_numbers_is_another_limit() {
    let (mut worker, mut store) = (Worker::new(4096), MemoryPort::default());
    let first = named(0, "a", 3, false);
    for limit in [
        &first,
        &named(0, "b", 3, false),
        &RateLimit::new(
            0,
            "a",
            Quota {
                requests: 2,
                ..first.quota()
            },
            first.key().to_vec(),
            false,
        ),
    ] {
        assert_eq!(worker.flood(limit, &mut store, 1, NOW), 3);
    }
    // The place in the configuration makes no difference.
    assert_eq!(
        worker.flood(&RateLimit { index: 5, ..first }, &mut store, 1, NOW),
        0
    );
}

#[test]
fn charge_that_has_refilled_since_is_not_refunded() {
    let limit = limit(1, SECOND / 10, 2);
    let (mut worker, mut store) = (Worker::new(4), MemoryPort::default());
    let headers = Headers::default();
    let request = Request::new(&headers);
    let mut reader = worker.limits.reader(&request, None, "route");
    let bucket = worker.limits.bucket(&limit, &mut reader);
    let later = NOW + SECOND / 2;
    let mut charge_at = |worker: &mut Worker, now, refund: Option<&Charge>| {
        let mut context = CheckContext {
            store: &mut store,
            now,
            events: &mut worker.events,
        };
        if let Some(charge) = refund {
            worker.limits.refund(&limit, charge, &mut context);
        }
        worker.limits.check_one(&bucket, Mode::Charge, &mut context)
    };
    // In time: two of two are charged, one is refunded, one more is charged.
    let first = charge_at(&mut worker, NOW, None).unwrap().unwrap();
    assert!(charge_at(&mut worker, NOW, None).is_ok());
    assert!(charge_at(&mut worker, NOW, Some(&first)).is_ok());
    assert!(charge_at(&mut worker, NOW, None).is_err());
    // Later the bucket is full, and the old charge is no part of it.
    assert!(charge_at(&mut worker, later, None).is_ok());
    assert!(charge_at(&mut worker, later, Some(&first)).is_ok());
    assert!(charge_at(&mut worker, later, None).is_err());
}

#[test]
fn keys_tell_clients_apart_by_their_parts() {
    let worker = Worker::new(4);
    let id = |part: &KeyPart, pairs: &[(&[u8], &[u8])], ip: Option<&str>| {
        let headers = Headers::from_pairs(pairs);
        let quota = limit(1, SECOND, 1).quota();
        let limit = RateLimit::new(0, "limit", quota, vec![part.clone(), KeyPart::Path], false);
        let address = ip.map(|ip| ip.parse().unwrap());
        let request = Request::new(&headers);
        let mut reader = worker.limits.reader(&request, address, "route");
        worker.limits.bucket(&limit, &mut reader).id
    };
    let all_differ = |ids: &[u64]| {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        unique.len() == ids.len()
    };

    let ip = |ip| id(&KeyPart::ClientIp, &[], ip);
    assert!(all_differ(&[
        ip(None),
        ip(Some("1.2.3.4")),
        ip(Some("::1")),
        ip(Some("0.0.0.0")),
        ip(Some("::"))
    ]));
    assert_eq!(ip(Some("::ffff:1.2.3.4")), ip(Some("1.2.3.4")));

    let part = KeyPart::Header(b"h"[..].into());
    let header = |pairs: &[(&[u8], &[u8])]| id(&part, pairs, None);
    assert!(all_differ(&[
        header(&[]),
        header(&[(b"h", b"")]),
        header(&[(b"h", b"ab")]),
        header(&[(b"h", b"a"), (b"h", b"b")]),
        header(&[(b"h", b"b"), (b"h", b"a")]),
        header(&[(b"h", b"\xff")]),
    ]));
    assert_eq!(
        header(&[(b"i", b"x"), (b"h", b"a")]),
        header(&[(b"h", b"a"), (b"i", b"y")])
    );
    // Lines that say nothing more open no other bucket.
    for more in [
        &[(&b"h"[..], &b""[..]), (b"h", b"")][..],
        &[(b"h", b""), (b"h", b""), (b"h", b"")],
    ] {
        assert_eq!(header(more), header(&[(b"h", b"")]));
    }
    for more in [
        &[(&b"h"[..], &b"a"[..]), (b"h", b"a")][..],
        &[(b"h", b"a"), (b"h", b"")],
        &[(b"h", b""), (b"h", b"a")],
    ] {
        assert_eq!(header(more), header(&[(b"h", b"a")]));
    }

    let part = KeyPart::Cookie(b"c"[..].into());
    let cookie = |value: &[u8]| id(&part, &[(b"cookie", value)], None);
    assert!(all_differ(&[
        cookie(b""),
        cookie(b"c="),
        cookie(b"c=1"),
        cookie(b"c=2; c=1")
    ]));
    assert_eq!(cookie(b"d=1"), cookie(b""));
    assert_eq!(cookie(b"c=\"\""), cookie(b"c="));
    assert_eq!(cookie(b"c=; c=1"), cookie(b"c=1"));
    assert_eq!(cookie(b"c=1; c=2"), cookie(b"c=1"));

    let part = KeyPart::Query(b"q"[..].into());
    let query = |path: &[u8]| id(&part, &[(b":path", path)], None);
    assert!(all_differ(&[
        query(b"/"),
        query(b"/?q"),
        query(b"/?q=1"),
        query(b"/?q=%2B"),
        query(b"/x?q=1")
    ]));
    assert_eq!(query(b"/?q=%31"), query(b"/?%71=1&q=2"));
}

#[test]
fn each_of_several_values_is_charged_whatever_their_order_and_none_opens_another_bucket() {
    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];
    let quota = limit(1, 3600 * SECOND, 2).quota();
    let parts = || {
        vec![
            KeyPart::Header(b"h"[..].into()),
            KeyPart::Cookie(b"c"[..].into()),
            KeyPart::Query(b"q"[..].into()),
        ]
    };
    let limit = RateLimit::new(0, "limit", quota, parts(), false);
    let (mut worker, mut store) = (Worker::new(4096), MemoryPort::default());
    let mut admits = |pairs: Pairs<'_>| {
        let headers = Headers::from_pairs(pairs);
        let mut buckets = Vec::new();
        let request = Request::new(&headers);
        let limits = &mut worker.limits;
        let mut reader = limits.reader(&request, None, "route");
        limits.buckets(&limit, &mut reader, &mut buckets);
        let verdict = limits.check(&buckets, &mut store, NOW, &mut worker.events);
        (buckets.len(), verdict == Verdict::Admitted)
    };
    let one: Pairs<'_> = &[(b"h", b"a"), (b"cookie", b"c=x"), (b":path", b"/?q=1")];
    assert_eq!(admits(one), (1, true));
    assert_eq!(admits(one), (1, true));
    assert_eq!(admits(one), (1, false));
    // With a second value of any part, before or behind the first, or of all of them.
    let rows: &[(Pairs<'_>, usize)] = &[
        (
            &[
                (b"h", b"a"),
                (b"h", b"b"),
                (b"cookie", b"c=x"),
                (b":path", b"/?q=1"),
            ],
            2,
        ),
        (
            &[
                (b"h", b"b"),
                (b"h", b"a"),
                (b"cookie", b"c=x"),
                (b":path", b"/?q=1"),
            ],
            2,
        ),
        (
            &[(b"h", b"a"), (b"cookie", b"c=y; c=x"), (b":path", b"/?q=1")],
            2,
        ),
        (
            &[
                (b"h", b"a"),
                (b"cookie", b"c=x"),
                (b"cookie", b"c=y"),
                (b":path", b"/?q=1"),
            ],
            2,
        ),
        (
            &[(b"h", b"a"), (b"cookie", b"c=x"), (b":path", b"/?q=2&q=1")],
            2,
        ),
        (
            &[
                (b"h", b"b"),
                (b"h", b"a"),
                (b"cookie", b"c=y; c=x"),
                (b":path", b"/?q=2&q=%31"),
            ],
            8,
        ),
    ];
    for (pairs, buckets) in rows {
        assert_eq!(admits(pairs), (*buckets, false), "{pairs:?}");
    }
    // Those refusals charged nothing.
    let other: Pairs<'_> = &[(b"h", b"b"), (b"cookie", b"c=x"), (b":path", b"/?q=1")];
    assert_eq!(admits(other), (1, true));
    // More than are told apart share one bucket, whatever they are.
    for (first, admitted) in [(b'a', true), (b'b', true), (b'c', false), (b'd', false)] {
        let values: Vec<[u8; 2]> = (b'0'..=b'8').map(|last| [first, last]).collect();
        let pairs: Vec<(&[u8], &[u8])> =
            values.iter().map(|value| (&b"h"[..], &value[..])).collect();
        assert_eq!(admits(&pairs), (1, admitted));
    }
}
