use super::*;
use crate::http::request::Headers;
use crate::port::{Expected, SetFailed, StoreFailed, Version};
use crate::shared::record::tests::assert_layout;
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
use crate::shared::tests::{Dice, Map};
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECOND: Nanos = Nanos::SECOND;
const NS: Nanos = Nanos::new(1);
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

fn limit(requests: u32, per: Nanos, burst: u32) -> RateLimit {
    RateLimit {
        index: 0,
        name: "limit".into(),
        requests,
        per,
        burst,
        key: vec![KeyPart::ClientIp],
        shadow: false,
        identity: 0,
    }
    .identified()
}

/// A worker with its share of the world.
struct Worker {
    limits: RateLimits,
    events: Vec<Event>,
}

impl Worker {
    fn new(max_keys: u32) -> Worker {
        Worker {
            limits: RateLimits::new(Table { max_keys }, [9; 16]),
            events: Vec::new(),
        }
    }

    fn check(
        &mut self,
        limits: &[&RateLimit],
        store: &mut dyn Store,
        client: u32,
        now: Nanos,
    ) -> Verdict {
        let headers = Headers::default();
        let request = Request::new(&headers);
        let address = Some(IpAddr::V4(client.into()));
        let claims: Vec<_> = limits
            .iter()
            .map(|limit| self.limits.claim(limit, &request, address))
            .collect();
        self.limits.check(&claims, store, now, &mut self.events)
    }

    fn admits(
        &mut self,
        limit: &RateLimit,
        store: &mut dyn Store,
        client: u32,
        now: Nanos,
    ) -> bool {
        self.check(&[limit], store, client, now) == Verdict::Admitted
    }

    /// How many requests of a client are admitted at one instant.
    fn flood(&mut self, limit: &RateLimit, store: &mut dyn Store, client: u32, now: Nanos) -> u32 {
        (0..100_000)
            .find(|_| !self.admits(limit, store, client, now))
            .unwrap()
    }
}

/// Passes everything on, and remembers the time of the record that was written last: the time
/// at which a request that was admitted has been charged.
struct Recorder<'a> {
    store: &'a mut dyn Store,
    charged_at: Nanos,
}

impl Store for Recorder<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.store.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.store.set(key, value, expected)?;
        self.charged_at = Nanos::new(u64::from_le_bytes(*value.first_chunk().unwrap()));
        Ok(())
    }
}

/// Whether a request at `now` may follow those admitted so far, by the promise itself: over
/// every window that ends now, at most `burst` + rate × window.
fn conforms(limit: &RateLimit, admitted: &[Nanos], now: Nanos) -> bool {
    admitted.iter().rev().zip(2_u128..).all(|(start, count)| {
        let over = count.saturating_sub(limit.burst.into()) * u128::from(limit.per.get());
        over <= u128::from(now.abs_diff(*start).get()) * u128::from(limit.requests)
    })
}

/// Whether all of some admitted requests keep the promise, in whatever order they came.
fn assert_conforms(limit: &RateLimit, mut admitted: Vec<Nanos>, context: &str) {
    admitted.sort_unstable();
    for (i, now) in admitted.iter().enumerate() {
        assert!(
            conforms(limit, &admitted[..i], *now),
            "{context}: {i} of {admitted:?}"
        );
    }
}

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
    /// Both promises at once: what is admitted is exactly what the promise lets through, to the
    /// nanosecond.
    #[test]
    fn a_request_is_admitted_exactly_if_no_window_is_exceeded(
        limit in any_limit(),
        steps in prop::collection::vec((any::<u16>(), 0_usize..3), 1..300),
    ) {
        let mut store = Map::default();
        let mut workers = [Worker::new(4), Worker::new(4), Worker::new(4)];
        let (mut now, mut admitted) = (NOW, Vec::new());
        let interval = limit.per / u64::from(limit.requests);
        for (step, worker) in steps {
            // Mostly about as fast as the limit, in bursts and pauses, to the nanosecond.
            now += match step % 4 {
                0 => Nanos::ZERO,
                1 => interval + u64::from(step % 3) * NS - NS.min(interval),
                2 => interval * u64::from(step) / 20_000,
                _ => interval * u64::from(step) / 60_000,
            };
            let expected = conforms(&limit, &admitted, now);
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
    let (mut worker, mut store, mut now) = (Worker::new(4), Map::default(), NOW);
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
                claim: 0,
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
        let (mut worker, mut store) = (Worker::new(1), Map::default());
        let time = |k: u64| {
            let since = u128::from(k) * u128::from(limit.per.get());
            NOW + Nanos::new(since.div_ceil(limit.requests.into()) as u64)
        };
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), limit.burst);
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
fn a_refused_request_charges_nothing_and_writes_nothing() {
    let limit = limit(1, SECOND, 2);
    let (mut worker, mut store) = (Worker::new(4), Map::default());
    assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 2);
    let (before, writes) = (store.values.clone(), store.writes);
    for _ in 0..1000 {
        assert!(!worker.admits(&limit, &mut store, 1, NOW + NS));
    }
    assert_eq!((store.values, store.writes), (before, writes));
}

#[test]
fn each_limit_costs_one_read_a_charge_one_write_and_a_refusal_none() {
    let limits = [
        named(0, "a", 31, false),
        named(1, "b", 31, false),
        named(2, "c", 31, false),
    ];
    let mut store = Map::default();
    let mut workers = [Worker::new(65_536), Worker::new(65_536)];
    let mut costs = |worker: usize, limits: &[&RateLimit], admitted: bool| {
        let (reads, writes) = (store.reads, store.writes);
        let verdict = workers[worker].check(limits, &mut store, 1, NOW);
        assert_eq!(verdict == Verdict::Admitted, admitted);
        (store.reads - reads, store.writes - writes)
    };
    let [a, b, c] = &limits;
    // A record that is not there yet is read again.
    for limit in &limits {
        assert_eq!(costs(0, &[limit], true), (1, 1));
    }
    for checked in [&[a][..], &[a, b], &[a, b, c]] {
        for request in 0..10 {
            let calls = checked.len() as u32;
            assert_eq!(costs(request % 2, checked, true), (calls, calls));
        }
    }
    for request in 0..10 {
        assert_eq!(costs(request % 2, &[a], false), (1, 0));
        assert_eq!(costs(request % 2, &[a, b, c], false), (1, 0));
    }
}

#[test]
fn one_limit_never_costs_more_than_one_read() {
    let limit = limit(1000, SECOND, 10);
    let mut store = Map::default();
    let mut workers = [Worker::new(64), Worker::new(64), Worker::new(64)];
    let mut dice = Dice(7);
    for i in 0..5000 {
        let reads = store.reads;
        workers[dice.roll(3) as usize].admits(
            &limit,
            &mut store,
            dice.roll(5) as u32,
            NOW + i * 300 * Nanos::MICROSECOND,
        );
        assert!(store.reads - reads <= 1);
    }
}

fn named(index: usize, name: &str, burst: u32, shadow: bool) -> RateLimit {
    RateLimit {
        index,
        name: name.into(),
        shadow,
        ..limit(1, 3600 * SECOND, burst)
    }
    .identified()
}

#[test]
fn the_first_limit_that_refuses_answers_and_none_is_charged() {
    let (wide, narrow, middle) = (
        named(0, "wide", 9, false),
        named(1, "narrow", 2, false),
        named(2, "middle", 5, false),
    );
    let (mut worker, mut store) = (Worker::new(4096), Map::default());
    for expected in [true, true, false, false] {
        let verdict = worker.check(&[&wide, &narrow, &middle], &mut store, 1, NOW);
        assert_eq!(verdict == Verdict::Admitted, expected);
        if let Verdict::Refused { claim, .. } = verdict {
            assert_eq!(claim, 1);
        }
    }
    assert_eq!(worker.events, [Event::Refused(1), Event::Refused(1)]);
    // The others were charged for what was admitted, and for nothing else.
    assert_eq!(worker.flood(&wide, &mut store, 1, NOW), 7);
    assert_eq!(worker.flood(&middle, &mut store, 1, NOW), 3);
    worker.events.clear();
    let verdict = worker.check(&[&middle, &wide], &mut store, 1, NOW);
    assert!(matches!(verdict, Verdict::Refused { claim: 0, .. }));
    assert_eq!(worker.events, [Event::Refused(2)]);
}

#[test]
fn a_shadow_counts_what_it_would_refuse_and_refuses_nothing() {
    let (shadow, hard) = (named(0, "shadow", 2, true), named(1, "hard", 4, false));
    let (mut worker, mut store) = (Worker::new(4096), Map::default());
    let admitted =
        (0..6).filter(|_| worker.check(&[&shadow, &hard], &mut store, 1, NOW) == Verdict::Admitted);
    assert_eq!(admitted.count(), 4);
    let count = |events: &[Event], event| events.iter().filter(|e| **e == event).count();
    assert_eq!(count(&worker.events, Event::Shadow(0)), 4);
    assert_eq!(count(&worker.events, Event::Refused(1)), 2);
    // Alone as well; and it was charged twice, so it is where a hard limit would be.
    for _ in 0..3 {
        assert!(worker.admits(&shadow, &mut store, 1, NOW));
    }
    assert_eq!(count(&worker.events, Event::Shadow(0)), 7);
    assert!(worker.admits(&shadow, &mut store, 1, NOW + 3600 * SECOND));
    assert_eq!(count(&worker.events, Event::Shadow(0)), 7);
}

#[test]
fn a_limit_of_another_name_or_other_numbers_is_another_limit() {
    let (mut worker, mut store) = (Worker::new(4096), Map::default());
    let first = named(0, "a", 3, false);
    for limit in [
        &first,
        &named(0, "b", 3, false),
        &RateLimit {
            requests: 2,
            ..first.clone()
        }
        .identified(),
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
fn past_max_keys_newcomers_share_one_bucket() {
    for (max_keys, clients) in [(1, 50), (4, 50), (64, 200), (65, 3000), (200, 3000)] {
        let limit = limit(1, 3600 * SECOND, 3);
        let mut store = Map::default();
        let mut workers = [Worker::new(max_keys), Worker::new(max_keys)];
        let mut bursts = 0;
        for client in 0..clients {
            let admitted = workers[client as usize % 2].flood(&limit, &mut store, client, NOW);
            bursts += u32::from(admitted > 0);
            assert!(admitted == 0 || admitted == 3, "{admitted}");
        }
        assert_eq!(bursts, max_keys + 1);
        let overflows = workers.iter().flat_map(|worker| &worker.events);
        let overflows = overflows
            .filter(|event| **event == Event::Overflow(0))
            .count() as u32;
        // Three that it admitted, and then one refusal of each newcomer.
        assert_eq!(overflows, 3 + clients - max_keys);
        // When all is full again, all have room again.
        let later = NOW + 3 * 3600 * SECOND;
        assert_eq!(workers[0].flood(&limit, &mut store, clients, later), 3);
    }
}

/// Clients come and go through a table that is much too small, with slots and without: each
/// keeps the promise.
#[test]
fn no_client_gains_by_moving_between_overflow_and_slot() {
    for seed in 0..300 {
        let mut dice = Dice(seed << 32);
        let limits = [
            limit(5, SECOND, 4),
            RateLimit {
                index: 1,
                ..limit(2, SECOND, 7)
            },
        ];
        let mut store = Map::default();
        let mut workers = [Worker::new(2), Worker::new(2)];
        let mut admitted = vec![[const { Vec::new() }; 2]; 6];
        let mut now = NOW;
        for _ in 0..600 {
            now += [Nanos::ZERO, Nanos::ZERO, NS, SECOND / 50, SECOND / 3][dice.roll(5) as usize];
            let (client, which) = (dice.roll(6) as usize, dice.roll(2) as usize);
            let worker = &mut workers[dice.roll(2) as usize];
            if worker.admits(&limits[which], &mut store, client as u32, now) {
                admitted[client][which].push(now);
            }
        }
        assert!(
            workers[0]
                .events
                .iter()
                .any(|event| matches!(event, Event::Overflow(_)))
        );
        for (client, of_client) in admitted.into_iter().enumerate() {
            for (limit, of_limit) in limits.iter().zip(of_client) {
                assert_conforms(limit, of_limit, &format!("seed {seed}, client {client}"));
            }
        }
    }
}

#[test]
fn a_slot_is_given_away_only_when_its_bucket_is_full() {
    let limit = limit(1, SECOND, 5);
    let (mut worker, mut store) = (Worker::new(1), Map::default());
    assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 5);
    // Newcomers are let in by the overflow bucket alone.
    assert_eq!(
        worker.flood(&limit, &mut store, 2, NOW + 5 * SECOND - NS),
        5
    );
    assert_eq!(
        worker.flood(&limit, &mut store, 3, NOW + 5 * SECOND - NS),
        0
    );
    assert_eq!(
        worker.flood(&limit, &mut store, 1, NOW + 5 * SECOND - NS),
        4
    );
}

#[test]
fn a_million_clients_leave_the_store_small() {
    let limit = limit(1, 3600 * SECOND, 1);
    let (mut worker, mut store) = (Worker::new(1000), Map::default());
    for client in 0..1_000_000 {
        worker.admits(
            &limit,
            &mut store,
            client,
            NOW + u64::from(client) * Nanos::MICROSECOND,
        );
        worker.events.clear();
    }
    let bytes: usize = store
        .values
        .iter()
        .map(|(key, (value, _))| key.len() + value.len())
        .sum();
    // 16 records of slots and one of overflow buckets; in each the slots, and a mark.
    assert_eq!(store.values.len(), 17);
    assert!(
        bytes < 1000 * Bucket::SIZE + 17 * (12 + 8 + Bucket::SIZE) + Bucket::SIZE,
        "{bytes}"
    );
}

#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn workers_in_any_order_of_steps_keep_the_promise_together() {
    for seed in 0..150 {
        // A table with room, and one without.
        for max_keys in [64, 2] {
            let limit = limit(1000, SECOND, 3);
            let (logs, _) = interleaved(seed, 4, NOW, |turn| {
                let mut worker = Worker::new(max_keys);
                let mut admitted = Vec::new();
                for _ in 0..20 {
                    let (now, client) = turn.step(|world| {
                        world.now +=
                            [0, 0, 0, 100, 700][world.dice.roll(5) as usize] * Nanos::MICROSECOND;
                        (world.now, world.dice.roll(4) as u32)
                    });
                    let mut recorder = Recorder {
                        store: turn,
                        charged_at: Nanos::ZERO,
                    };
                    if worker.admits(&limit, &mut recorder, client, now) {
                        admitted.push((client, recorder.charged_at));
                    }
                }
                admitted
            });
            for client in 0..4 {
                let of_client = logs.iter().flatten().filter(|(who, _)| *who == client);
                let context = format!("seed {seed}, {max_keys} keys");
                assert_conforms(&limit, of_client.map(|(_, at)| *at).collect(), &context);
            }
        }
    }
}

/// Time stands still, so the buckets say exactly what was charged and not refunded. Contention may
/// refuse a request that was not checked, or keep a charge that should have been refunded; it is
/// counted, and rare.
#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn charges_of_a_refused_request_are_refunded_in_any_order_of_steps() {
    let mut contended_seeds = 0;
    for seed in 0..200 {
        let (wide, narrow) = (named(0, "wide", 60, false), named(1, "narrow", 5, false));
        let (results, mut world) = interleaved(seed, 4, NOW, |turn| {
            let mut worker = Worker::new(64);
            let verdicts: Vec<_> = (0..4)
                .map(|_| worker.check(&[&wide, &narrow], turn, 1, NOW))
                .collect();
            let contended = worker
                .events
                .iter()
                .filter(|event| matches!(event, Event::Contended(_)));
            let admitted = verdicts
                .iter()
                .filter(|verdict| **verdict == Verdict::Admitted);
            (admitted.count() as u32, contended.count() as u32)
        });
        let admitted: u32 = results.iter().map(|(admitted, _)| admitted).sum();
        let contended: u32 = results.iter().map(|(_, contended)| contended).sum();
        contended_seeds += u32::from(contended > 0);
        assert!(
            (5_u32.saturating_sub(contended)..=5).contains(&admitted),
            "seed {seed}: {admitted}"
        );
        let mut worker = Worker::new(64);
        let left = worker.flood(&wide, &mut world.map, 1, NOW);
        assert!(
            (60 - admitted - contended..=60 - admitted).contains(&left),
            "seed {seed}: {left}"
        );
    }
    assert!(contended_seeds <= 1, "{contended_seeds}");
}

#[test]
fn what_has_refilled_since_is_not_given_back() {
    let limit = limit(1, SECOND / 10, 2);
    let (mut worker, mut store) = (Worker::new(4), Map::default());
    let headers = Headers::default();
    let claim = worker.limits.claim(&limit, &Request::new(&headers), None);
    let later = NOW + SECOND / 2;
    let mut charge_at = |worker: &mut Worker, now, give_back: Option<&Charge>| {
        let mut moment = Moment {
            store: &mut store,
            now,
            events: &mut worker.events,
        };
        if let Some(charge) = give_back {
            worker.limits.give_back(&claim, charge, &mut moment);
        }
        worker.limits.ask(&claim, Mode::Charge, &mut moment)
    };
    // In time it is: two of two, one back, one more.
    let first = charge_at(&mut worker, NOW, None).unwrap().unwrap();
    assert!(charge_at(&mut worker, NOW, None).is_ok());
    assert!(charge_at(&mut worker, NOW, Some(&first)).is_ok());
    assert!(charge_at(&mut worker, NOW, None).is_err());
    // Later all is full again, and nothing of the old charge is left.
    assert!(charge_at(&mut worker, later, None).is_ok());
    assert!(charge_at(&mut worker, later, Some(&first)).is_ok());
    assert!(charge_at(&mut worker, later, None).is_err());
}

#[test]
fn workers_whose_clocks_differ_keep_the_promise() {
    for seed in 0..100 {
        let mut dice = Dice(seed << 32);
        let limit = limit(20, SECOND, 3);
        let mut store = Map::default();
        let mut workers = [Worker::new(1), Worker::new(1), Worker::new(1)];
        let skews: Vec<Nanos> = (0..3)
            .map(|_| Nanos::new(dice.roll((CLOCK_STEP / 2).get())))
            .collect();
        let (mut now, mut admitted) = (NOW, Vec::new());
        for _ in 0..400 {
            now += Nanos::new(dice.roll((SECOND / 15).get()));
            let i = dice.roll(3) as usize;
            let client = dice.roll(2) as u32;
            let mut recorder = Recorder {
                store: &mut store,
                charged_at: Nanos::ZERO,
            };
            if workers[i].admits(&limit, &mut recorder, client, now + skews[i]) && client == 0 {
                admitted.push(recorder.charged_at);
            }
        }
        assert!(admitted.len() > 20);
        assert_conforms(&limit, admitted, &format!("seed {seed}"));
    }
}

#[test]
fn a_clock_set_back_leaves_every_bucket_as_full_as_it_was() {
    let limit = limit(1, 10 * SECOND, 3);
    for back in [CLOCK_STEP + NS, 3600 * SECOND, NOW] {
        let (mut worker, mut store) = (Worker::new(4), Map::default());
        let mut other = Worker::new(4);
        for _ in 0..2 {
            assert!(worker.admits(&limit, &mut store, 1, NOW));
        }
        assert_eq!(other.flood(&limit, &mut store, 2, NOW), 3);
        let mut now = NOW - back;
        // One is left of the first bucket and none of the second; and both refill at their pace
        // from now on.
        assert_eq!(other.flood(&limit, &mut store, 2, now), 0);
        assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
        now += 5 * SECOND;
        let verdict = other.check(&[&limit], &mut store, 2, now);
        assert_eq!(
            verdict,
            Verdict::Refused {
                claim: 0,
                retry_after: 5 * SECOND
            }
        );
        now += 5 * SECOND;
        assert_eq!(other.flood(&limit, &mut store, 2, now), 1);
        assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
    }
}

/// A refusal writes nothing, save this: else the record would go on living in the old time.
#[test]
fn a_clock_set_back_heals_although_only_refusals_see_it() {
    let limit = limit(1, 10 * SECOND, 1);
    let (mut worker, mut store) = (Worker::new(4), Map::default());
    assert!(worker.admits(&limit, &mut store, 1, NOW));
    let now = NOW - 3600 * SECOND;
    for wait in [10, 9, 5, 1] {
        let verdict = worker.check(&[&limit], &mut store, 1, now + (10 - wait) * SECOND);
        assert_eq!(
            verdict,
            Verdict::Refused {
                claim: 0,
                retry_after: wait * SECOND
            }
        );
    }
    assert!(worker.admits(&limit, &mut store, 1, now + 10 * SECOND));
}

#[test]
fn a_bucket_that_takes_centuries_to_refill_refuses_rather_than_overflows() {
    let limit = limit(1, Nanos::MAX / 8, u32::MAX);
    let (mut worker, mut store) = (Worker::new(4), Map::default());
    let admitted = worker.flood(&limit, &mut store, 1, NOW);
    assert!((1..8).contains(&admitted), "{admitted}");
}

#[test]
fn bytes_that_are_no_record_are_an_empty_one() {
    let limit = limit(1, SECOND, 2);
    for junk in [&b""[..], b"x", &[255; 7], &[0; 8], &[0; 27]] {
        let (mut worker, mut store) = (Worker::new(1), Map::default());
        store
            .set(&keys::buckets(0), junk, Expected::Absent)
            .unwrap();
        assert_eq!(worker.flood(&limit, &mut store, 1, NOW), 2, "{junk:?}");
    }
}

#[test]
fn buckets_are_these_bytes() {
    let bucket = Bucket {
        id: 0x0102_0304_0506_0708,
        full: Instant {
            ns: Nanos::new(0x1112_1314_1516_1718),
            part: 0x2122_2324,
        },
    };
    assert_layout(
        bucket,
        b"\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\x24\x23\x22\x21",
    );
}

/// A store that fails, or that others always write first.
struct Broken {
    get: Result<(), StoreFailed>,
    set: SetFailed,
    calls: u32,
}

impl Store for Broken {
    fn get(&mut self, _: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.calls += 1;
        self.get.map(|()| None)
    }

    fn set(&mut self, _: &[u8], _: &[u8], _: Expected) -> Result<(), SetFailed> {
        self.calls += 1;
        Err(self.set)
    }
}

#[test]
fn a_store_that_fails_admits_and_is_counted() {
    let broken = [
        (Err(StoreFailed), SetFailed::Store),
        (Ok(()), SetFailed::Store),
    ];
    for (get, set) in broken {
        let (first, second) = (named(0, "a", 1, false), named(1, "b", 1, false));
        let mut worker = Worker::new(4);
        let mut store = Broken { get, set, calls: 0 };
        for _ in 0..3 {
            assert_eq!(
                worker.check(&[&first], &mut store, 1, NOW),
                Verdict::Admitted
            );
            assert_eq!(
                worker.check(&[&first, &second], &mut store, 1, NOW),
                Verdict::Admitted
            );
        }
        assert_eq!(worker.events, [Event::StoreFailed; 9]);
    }
}

#[test]
fn contention_without_end_refuses_soon_and_is_counted() {
    let mut store = Broken {
        get: Ok(()),
        set: SetFailed::CasMismatch,
        calls: 0,
    };
    let mut worker = Worker::new(4);
    let verdict = worker.check(&[&named(3, "a", 1, false)], &mut store, 1, NOW);
    assert_eq!(
        verdict,
        Verdict::Refused {
            claim: 0,
            retry_after: NS
        }
    );
    assert_eq!(worker.events[0], Event::Contended(3));
    assert!(
        worker.events[1..]
            .iter()
            .all(|event| *event == Event::Retry)
    );
    assert!(store.calls <= 16, "{}", store.calls);
    let verdict = worker.check(&[&named(3, "a", 1, true)], &mut store, 1, NOW);
    assert_eq!(verdict, Verdict::Admitted);
}

#[test]
fn keys_tell_clients_apart_by_their_parts() {
    let worker = Worker::new(4);
    let id = |part: &KeyPart, pairs: &[(&[u8], &[u8])], ip: Option<&str>| {
        let headers = Headers::from_pairs(pairs);
        let limit = RateLimit {
            key: vec![part.clone(), KeyPart::Path],
            ..limit(1, SECOND, 1)
        };
        let address = ip.map(|ip| ip.parse().unwrap());
        worker
            .limits
            .claim(&limit, &Request::new(&headers), address)
            .id
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
        header(&[(b"h", b""), (b"h", b"")]),
        header(&[(b"h", b"ab")]),
        header(&[(b"h", b"a"), (b"h", b"b")]),
        header(&[(b"h", b"b"), (b"h", b"a")]),
        header(&[(b"h", b"\xff")]),
    ]));
    assert_eq!(
        header(&[(b"i", b"x"), (b"h", b"a")]),
        header(&[(b"h", b"a"), (b"i", b"y")])
    );

    let part = KeyPart::Cookie(b"c"[..].into());
    let cookie = |value: &[u8]| id(&part, &[(b"cookie", value)], None);
    assert!(all_differ(&[
        cookie(b""),
        cookie(b"c="),
        cookie(b"c=1"),
        cookie(b"c=2; c=1")
    ]));
    assert_eq!(cookie(b"d=1"), cookie(b""));
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
