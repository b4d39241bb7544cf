//! Requests that are charged ahead of time.

use super::*;
use crate::shared::tests::Random;
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
use std::collections::BTreeMap;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const LENGTH: Nanos = Nanos::from_millis(10);

/// Passes all calls on, and notes the time of the record that was written last, if one was.
struct Watched<'a> {
    store: &'a mut dyn Store,
    charged_at: Option<Nanos>,
}

impl Store for Watched<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, Version)>, StoreFailed> {
        self.store.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8], expected: Expected) -> Result<(), SetFailed> {
        self.store.set(key, value, expected)?;
        let time = u64::from_le_bytes(*value.first_chunk().unwrap());
        self.charged_at = Some(Nanos::new(time));
        Ok(())
    }
}

/// A worker that knows when its requests were admitted by the time of the record: it may be ahead
/// of the clock that the worker read, and by as much it is when what was leased is used.
struct Timed {
    worker: Worker,
    /// By how much, for each client.
    ahead: BTreeMap<u32, Nanos>,
}

impl Timed {
    fn new(max_keys: u32) -> Timed {
        Timed {
            worker: Worker::new(max_keys),
            ahead: BTreeMap::new(),
        }
    }

    fn admitted_at(
        &mut self,
        limits: &[&RateLimit],
        store: &mut dyn Store,
        client: u32,
        now: Nanos,
    ) -> Option<Nanos> {
        let mut watched = Watched {
            store,
            charged_at: None,
        };
        let verdict = self.worker.check(limits, &mut watched, client, now);
        if let Some(charged_at) = watched.charged_at {
            self.ahead.insert(client, charged_at - now);
        }
        (verdict == Verdict::Admitted).then(|| now + self.ahead[&client])
    }
}

#[test]
fn only_limits_of_more_than_100_requests_a_second_have_leases_and_those_of_a_short_burst_short_ones()
 {
    for (requests, per, burst, length) in [
        (100, SECOND, 1000, None),
        (5, 60 * SECOND, 1000, None),
        (101, SECOND, 101, Some(LENGTH)),
        (1000, SECOND, 40, Some(LENGTH)),
        (1000, SECOND, 20, Some(LENGTH / 2)),
        (1000, SECOND, 4, None),
        (u32::MAX, Nanos::MILLISECOND, u32::MAX, Some(LENGTH / 40)),
        (1, Nanos::MAX / 8, u32::MAX, None),
        (1_000_000, 366 * 86_400 * SECOND, u32::MAX, None),
    ] {
        let limit = limit(requests, per, burst);
        assert_eq!(limit.lease, length, "{:?}", limit.quota);
    }
}

/// In any order of steps, with VMs that trap and take what they leased with them, and clocks that
/// were read before others charged.
#[cfg(not(target_arch = "wasm32"))] // threads
#[test]
fn no_window_has_more_than_burst_and_rate_allow_in_any_order_of_steps_and_traps() {
    let (mut leased, mut all) = (0, 0);
    for seed in 0..30 {
        // A table with room, and one without.
        for (max_keys, clients) in [(64, 1), (1, 2)] {
            let limit = limit(20_000, SECOND, 1500);
            let (logs, _) = interleaved(seed, 4, NOW, |turn| {
                let mut timed = Timed::new(max_keys);
                let (mut admitted, mut calls) = (Vec::new(), 0);
                for _ in 0..800 {
                    let (now, client, trap) = turn.step(|world| {
                        world.now += Nanos::MICROSECOND
                            * [0, 0, 0, 2, 10, 3000][world.random.below(1000) as usize / 199];
                        let client = world.random.below(clients) as u32;
                        (world.now, client, world.random.below(100) == 0)
                    });
                    if trap {
                        timed = Timed::new(max_keys);
                    }
                    let ahead = timed.ahead.get(&client).copied();
                    if let Some(at) = timed.admitted_at(&[&limit], turn, client, now) {
                        calls += u32::from(timed.ahead.get(&client).copied() != ahead);
                        admitted.push((client, at));
                    }
                }
                leased_of(&mut admitted, calls)
            });
            for (log, calls) in &logs {
                all += log.len();
                leased += log.len() - *calls as usize;
            }
            for client in 0..clients as u32 {
                let of_client = logs.iter().flat_map(|(log, _)| log);
                let of_client = of_client.filter(|(who, _)| *who == client);
                let context = format!("seed {seed}, {max_keys} keys");
                assert_conforms(&limit, of_client.map(|(_, at)| *at).collect(), &context);
            }
        }
    }
    assert!(leased > all / 2, "{leased} of {all}");
}

#[cfg(not(target_arch = "wasm32"))]
fn leased_of(admitted: &mut Vec<(u32, Nanos)>, calls: u32) -> (Vec<(u32, Nanos)>, u32) {
    (std::mem::take(admitted), calls)
}

/// Clients come and go through a table that is much too small, with leases of several limits on
/// their way, alone and together.
#[test]
fn a_leased_bucket_that_makes_room_keeps_its_debt() {
    for seed in 0..50 {
        let mut random = Random(seed << 32);
        let limits = [
            limit(1000, SECOND, 600),
            RateLimit {
                index: 1,
                ..limit(500, SECOND, 900)
            },
        ];
        let mut store = MemoryPort::default();
        let mut workers = [Worker::new(2), Worker::new(2)];
        let mut admitted = vec![[const { Vec::new() }; 2]; 4];
        let (mut now, mut overflows) = (NOW, 0);
        for _ in 0..4000 {
            now += [0, 0, 20, 100, 2000][random.below(900) as usize / 222] * Nanos::MICROSECOND;
            // One is busy, and the others drive it out.
            let client = [0, 0, 0, random.below(4) as usize][random.below(4) as usize];
            let which = [&limits[..1], &limits[1..], &limits][random.below(3) as usize];
            let which: Vec<_> = which.iter().collect();
            let worker = &mut workers[random.below(2) as usize];
            let verdict = worker.check(&which, &mut store, client as u32, now);
            if verdict == Verdict::Admitted {
                for limit in which {
                    admitted[client][limit.index].push(now);
                }
            }
            let events = worker.events.drain(..);
            overflows += events
                .filter(|event| matches!(event, RateLimitEvent::Overflow(_)))
                .count();
        }
        assert!(overflows > 10, "{overflows}");
        assert!(admitted[0][0].len() > 100);
        for (client, of_client) in admitted.into_iter().enumerate() {
            for (limit, of_limit) in limits.iter().zip(of_client) {
                assert_conforms(limit, of_limit, &format!("seed {seed}, client {client}"));
            }
        }
    }
}

/// Of several limits of a request all are charged or none, leased or not.
#[test]
fn what_was_leased_is_given_back_if_another_limit_refuses() {
    let (wide, narrow) = (limit(20_000, SECOND, 2000), named(1, "narrow", 30, false));
    let (mut worker, mut store) = (Worker::new(4096), MemoryPort::default());
    for request in 0..100 {
        let now = NOW + request * 10 * Nanos::MICROSECOND;
        let verdict = worker.check(&[&wide, &narrow], &mut store, 1, now);
        assert_eq!(verdict == Verdict::Admitted, request < 30, "{request}");
    }
    // Thirty were used, the last of which leased more.
    let headers = Headers::default();
    let request = Request::new(&headers);
    let mut reader = worker.limits.reader(&request, Some(client(1)), "route");
    let id = worker.limits.bucket(&wide, &mut reader).id;
    let now = NOW + Nanos::MILLISECOND;
    let left = (0..1000).take_while(|_| worker.limits.leases.take(id, now));
    assert_eq!(left.count(), 1 + 2 + 4 + 8 + 16 - 30);
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4(number.into())
}

#[test]
fn a_busy_client_costs_a_call_for_every_128_requests() {
    let limit = limit(1_000_000, SECOND, 1_000_000);
    let mut store = MemoryPort::default();
    let mut workers = [Worker::new(65_536), Worker::new(65_536)];
    for request in 0..40_000 {
        let now = NOW + request * 25 * Nanos::MICROSECOND;
        assert!(workers[request as usize % 2].admits(&limit, &mut store, 1, now));
    }
    assert!(store.writes <= 40_000 / 128 + 20, "{}", store.writes);
    assert_eq!(store.reads, store.writes);
    // A shadow is counted in the same way.
    let shadow = RateLimit::new(0, "shadow", limit.quota, limit.key.clone(), true);
    let writes = store.writes;
    for request in 0..40_000 {
        let now = NOW + request * 25 * Nanos::MICROSECOND;
        assert!(workers[0].admits(&shadow, &mut store, 1, now));
    }
    assert!(store.writes - writes <= 40_000 / 128 + 10);
}

/// Three workers with less than 100 requests a second each, of one client: nothing is leased.
#[test]
fn a_client_that_is_not_busy_is_admitted_exactly_if_no_window_is_exceeded() {
    let limit = limit(150, SECOND, 20);
    assert!(limit.lease.is_some());
    let mut store = MemoryPort::default();
    let mut workers = [Worker::new(4), Worker::new(4), Worker::new(4)];
    let (mut admitted, mut refused) = (Vec::new(), 0);
    for request in 0..2000 {
        let now = NOW + request * (LENGTH / 3 + NS);
        let expected = conforms(&limit, &admitted, now);
        let worker = &mut workers[request as usize % 3];
        assert_eq!(worker.admits(&limit, &mut store, 1, now), expected);
        match expected {
            true => admitted.push(now),
            false => refused += 1,
        }
    }
    assert!(refused > 900, "{refused}");
}

#[test]
fn a_flood_gets_97_of_100_of_what_the_limit_allows() {
    for (rate, burst, workers) in [(1000, 1000, 2), (200, 50, 4), (100_000, 5000, 8)] {
        let limit = limit(rate, SECOND, burst);
        let mut store = MemoryPort::default();
        let mut workers: Vec<_> = (0..workers).map(|_| Worker::new(4)).collect();
        let (mut random, mut now, mut admitted) = (Random(1), NOW, 0_u64);
        let gap = SECOND / u64::from(rate) / 3;
        while now < NOW + 5 * SECOND && admitted < 100_000 {
            now += Nanos::new(random.below(2 * gap.get()));
            let worker = random.below(workers.len() as u64) as usize;
            admitted += u64::from(workers[worker].admits(&limit, &mut store, 1, now));
        }
        let most = u64::from(burst) + u64::from(rate) * (now - NOW).get() / SECOND.get();
        assert!(
            (most * 97 / 100..=most).contains(&admitted),
            "{rate}/s: {admitted} of {most}"
        );
    }
}

/// What lapses is lost, but never more than half the bucket.
#[test]
fn a_client_within_half_its_burst_is_never_refused() {
    let (limit, half) = (limit(5000, SECOND, 1280), limit(5000, SECOND, 640));
    for seed in 0..10 {
        let (mut random, mut store) = (Random(seed << 32), MemoryPort::default());
        let mut workers = [Worker::new(4), Worker::new(4), Worker::new(4)];
        let (mut now, mut admitted, mut held_back) = (NOW, Vec::new(), 0);
        for _ in 0..3000 {
            // In bursts, and with pauses after which all that was leased has lapsed.
            let pause = [0, 100, 12_000][random.below(300) as usize / 149];
            now += pause * Nanos::MICROSECOND;
            let worker = random.below(3) as usize;
            if conforms(&half, &admitted, now) {
                assert!(
                    workers[worker].admits(&limit, &mut store, 1, now),
                    "seed {seed}"
                );
                admitted.push(now);
            } else {
                held_back += 1;
            }
        }
        assert!(held_back > 100, "seed {seed}: {held_back}");
    }
}

#[test]
fn clients_take_no_more_memory_than_512_leases_and_a_busy_one_keeps_its_place() {
    let limit = limit(1_000_000, SECOND, 1_000_000);
    let (mut worker, mut store) = (Worker::new(65_536), MemoryPort::default());
    for step in 0..20_000 {
        let now = NOW + step * 50 * Nanos::MICROSECOND;
        worker.admits(&limit, &mut store, 0, now);
        worker.admits(&limit, &mut store, 1 + step as u32, now);
    }
    assert_eq!(worker.limits.leases.size(), 512);
    // The busy one: no more than a call for every 128 requests, and some at the beginning.
    let most = 20_000 + 20_000 / 128 + 10;
    assert!(store.writes <= most, "{}", store.writes);
}

#[test]
fn a_lease_ends_in_time_and_when_the_clock_is_set_back() {
    let limit = limit(100_000, SECOND, 100_000);
    let mut store = MemoryPort::default();
    for (later, writes) in [
        (Nanos::MILLISECOND, 0),
        (LENGTH - NS, 0),
        (LENGTH, 1),
        (SECOND, 1),
    ] {
        let mut worker = Worker::new(64);
        (0..2).for_each(|_| assert!(worker.admits(&limit, &mut store, 1, NOW)));
        let before = store.writes;
        assert!(worker.admits(&limit, &mut store, 1, NOW + later));
        assert_eq!(store.writes - before, writes, "{later:?} later");
    }
    let mut worker = Worker::new(64);
    (0..2).for_each(|_| assert!(worker.admits(&limit, &mut store, 2, NOW)));
    let before = store.writes;
    assert!(worker.admits(&limit, &mut store, 2, NOW - NS));
    assert_eq!(store.writes - before, 1);
}
