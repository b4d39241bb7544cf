use super::*;
use crate::shared::tests::Random;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_refused_request_charges_nothing_and_writes_nothing() {
    let limit = limit(1, SECOND, 2);
    let (mut worker, mut store) = (Worker::new(4), MemoryPort::default());
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
    let mut store = MemoryPort::default();
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
    let mut store = MemoryPort::default();
    let mut workers = [Worker::new(64), Worker::new(64), Worker::new(64)];
    let mut random = Random(7);
    for i in 0..5000 {
        let reads = store.reads;
        workers[random.below(3) as usize].admits(
            &limit,
            &mut store,
            random.below(5) as u32,
            NOW + i * 300 * Nanos::MICROSECOND,
        );
        assert!(store.reads - reads <= 1);
    }
}

/// A store that fails, or that another worker always writes first.
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
        assert_eq!(worker.events, [RateLimitEvent::StoreFailed; 9]);
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
            limit: 0,
            retry_after: NS
        }
    );
    assert_eq!(worker.events[0], RateLimitEvent::Contended(3));
    assert!(
        worker.events[1..]
            .iter()
            .all(|event| *event == RateLimitEvent::Retry)
    );
    assert!(store.calls <= 16, "{}", store.calls);
    let verdict = worker.check(&[&named(3, "a", 1, true)], &mut store, 1, NOW);
    assert_eq!(verdict, Verdict::Admitted);
}
