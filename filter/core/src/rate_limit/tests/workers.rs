use super::*;
use crate::rate_limit::record::CLOCK_STEP;
use crate::shared::tests::Random;
#[cfg(not(target_arch = "wasm32"))]
use crate::shared::tests::interleaved;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
                        world.now += [0, 0, 0, 100, 700][world.random.below(5) as usize]
                            * Nanos::MICROSECOND;
                        (world.now, world.random.below(4) as u32)
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
                .filter(|event| matches!(event, RateLimitEvent::Contended(_)));
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
        let left = worker.flood(&wide, &mut world.port, 1, NOW);
        assert!(
            (60 - admitted - contended..=60 - admitted).contains(&left),
            "seed {seed}: {left}"
        );
    }
    assert!(contended_seeds <= 1, "{contended_seeds}");
}

#[test]
fn workers_whose_clocks_differ_keep_the_promise() {
    for seed in 0..100 {
        let mut random = Random(seed << 32);
        let limit = limit(20, SECOND, 3);
        let mut store = MemoryPort::default();
        let mut workers = [Worker::new(1), Worker::new(1), Worker::new(1)];
        let skews: Vec<Nanos> = (0..3)
            .map(|_| Nanos::new(random.below((CLOCK_STEP / 2).get())))
            .collect();
        let (mut now, mut admitted) = (NOW, Vec::new());
        for _ in 0..400 {
            now += Nanos::new(random.below((SECOND / 15).get()));
            let i = random.below(3) as usize;
            let client = random.below(2) as u32;
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
        let (mut worker, mut store) = (Worker::new(4), MemoryPort::default());
        let mut other = Worker::new(4);
        for _ in 0..2 {
            assert!(worker.admits(&limit, &mut store, 1, NOW));
        }
        assert_eq!(other.flood(&limit, &mut store, 2, NOW), 3);
        let mut now = NOW - back;
        // The first bucket has one request left and the second none, and both refill at their rate
        // from now on.
        assert_eq!(other.flood(&limit, &mut store, 2, now), 0);
        assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
        now += 5 * SECOND;
        let verdict = other.check(&[&limit], &mut store, 2, now);
        assert_eq!(
            verdict,
            Verdict::Refused {
                limit: 0,
                retry_after: 5 * SECOND
            }
        );
        now += 5 * SECOND;
        assert_eq!(other.flood(&limit, &mut store, 2, now), 1);
        assert_eq!(worker.flood(&limit, &mut store, 1, now), 1);
    }
}

/// The one refusal that writes: otherwise the record would keep the time before the step.
#[test]
fn a_clock_set_back_heals_although_only_refusals_see_it() {
    let limit = limit(1, 10 * SECOND, 1);
    let (mut worker, mut store) = (Worker::new(4), MemoryPort::default());
    assert!(worker.admits(&limit, &mut store, 1, NOW));
    let now = NOW - 3600 * SECOND;
    for wait in [10, 9, 5, 1] {
        let verdict = worker.check(&[&limit], &mut store, 1, now + (10 - wait) * SECOND);
        assert_eq!(
            verdict,
            Verdict::Refused {
                limit: 0,
                retry_after: wait * SECOND
            }
        );
    }
    assert!(worker.admits(&limit, &mut store, 1, now + 10 * SECOND));
}
