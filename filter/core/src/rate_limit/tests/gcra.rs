use super::*;
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn any_limit() -> impl Strategy<Value = RateLimit> {
    let per = prop_oneof![
        1_000_000_u64..5_000_000,
        Just(SECOND.get()),
        Just((60 * SECOND).get()),
        1..u64::from(u32::MAX)
    ];
    (
        prop_oneof![1_u32..10, 1_u32..2000],
        per,
        prop_oneof![1_u32..4, 1_u32..100],
    )
        .prop_map(|(requests, per, burst)| limit(requests, Nanos::new(per), burst))
}

proptest! {
    /// Both promises at once: a request is admitted exactly if the promise allows it, to the
    /// nanosecond.
    #[test]
    fn a_request_is_admitted_exactly_if_no_window_is_exceeded(
        limit in any_limit(),
        steps in prop::collection::vec((any::<u16>(), 0_usize..3), 1..300),
    ) {
        let mut store = MemoryPort::default();
        let mut workers = [Worker::new(4), Worker::new(4), Worker::new(4)];
        let (mut now, mut admitted) = (NOW, Vec::new());
        let interval = limit.quota.per / u64::from(limit.quota.requests);
        for (step, worker) in steps {
            // Mostly about as fast as the limit, in bursts and pauses, to the nanosecond.
            now += match step % 4 {
                0 => Nanos::ZERO,
                1 => interval + u64::from(step % 3) * NS - NS.min(interval),
                2 => interval * u64::from(step) / 20_000,
                _ => interval * u64::from(step) / 60_000,
            };
            let expected = conforms(&limit, &admitted, now);
            // As if the client were not busy; see the tests of leases.
            workers[worker].limits.leases.clear();
            match workers[worker].check(&[&limit], &mut store, 1, now) {
                Verdict::Admitted => {
                    prop_assert!(expected, "admitted too much");
                    admitted.push(now);
                }
                Verdict::Refused { retry_after, .. } => {
                    prop_assert!(!expected, "refused too much");
                    prop_assert!(conforms(&limit, &admitted, now + retry_after), "not admitted at {retry_after:?}");
                    prop_assert!(!conforms(&limit, &admitted, now + retry_after - NS), "promise {retry_after:?} too late");
                }
            }
        }
    }
}

#[test]
fn limit_refuses_until_the_promised_instant() {
    let limit = limit(7, 60 * SECOND, 3);
    let (mut worker, mut store, mut now) = (Worker::new(4), MemoryPort::default(), NOW);
    assert_eq!(worker.flood(&limit, &mut store, 1, now), 3);
    for _ in 0..100 {
        let Verdict::Refused { retry_after, .. } = worker.check(&[&limit], &mut store, 1, now)
        else {
            panic!("admitted");
        };
        now += retry_after - NS;
        let just_before = worker.check(&[&limit], &mut store, 1, now);
        assert_eq!(
            just_before,
            Verdict::Refused {
                limit: 0,
                retry_after: NS
            }
        );
        now += NS;
        assert!(worker.admits(&limit, &mut store, 1, now));
    }
}

/// 3/s and 7/1m have no whole nanoseconds between requests: a rounding of either side would
/// show after a while.
#[test]
fn a_client_exactly_at_its_rate_is_never_refused_and_one_above_it_gains_nothing() {
    for limit in [
        limit(3, SECOND, 2),
        limit(7, 60 * SECOND, 2),
        limit(999_983, Nanos::MILLISECOND, 2),
    ] {
        let (mut worker, mut store) = (Worker::new(1), MemoryPort::default());
        let time = |k: u64| {
            let since = u128::from(k) * u128::from(limit.quota.per.get());
            NOW + Nanos::new(since.div_ceil(limit.quota.requests.into()) as u64)
        };
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), limit.quota.burst);
        for k in 1..700_000 {
            let now = time(k);
            assert!(worker.admits(&limit, &mut store, 1, now), "{k}");
            if k % 100 == 0 {
                assert!(
                    !worker.admits(&limit, &mut store, 1, now),
                    "one more after {k}"
                );
            }
        }
    }
}

#[test]
fn a_bucket_that_takes_centuries_to_refill_refuses_rather_than_overflows() {
    let limit = limit(1, Nanos::MAX / 8, u32::MAX);
    let (mut worker, mut store) = (Worker::new(4), MemoryPort::default());
    let admitted = worker.flood(&limit, &mut store, 1, NOW);
    assert!((1..8).contains(&admitted), "{admitted}");
}
