use super::*;
use crate::config::Config;
use crate::port::memory::MemoryPort;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MILLISECOND: Nanos = Nanos::MILLISECOND;
const A: TargetIndex = TargetIndex::new(0);
const B: TargetIndex = TargetIndex::new(1);
const C: TargetIndex = TargetIndex::new(2);
/// Some day.
const NOW: Nanos = Nanos::from_secs(1_800_000_000);

fn config(pool: &str, targets: &[&str]) -> Config {
    let targets: Vec<_> = targets
        .iter()
        .map(|name| format!(r#"{{"cluster": "{name}"}}"#))
        .collect();
    let text = format!(
        r#"{{"pools": {{"{pool}": {{"balance": "least_response_time", "targets": [{}]}}}}}}"#,
        targets.join(",")
    );
    Config::load(text.as_bytes()).unwrap()
}

#[test]
fn what_one_worker_measures_all_know_after_a_sync() {
    let config = config("p", &["a", "b", "c"]);
    let pool = &*config.pools[0];
    let mut store = MemoryPort::default();
    let [mut one, mut other] = [(); 2].map(|()| ResponseTimes::new(&config.pools));
    one.sync(&mut store, pool, NOW);
    one.sample(pool, A, 10 * MILLISECOND, NOW);
    one.sample(pool, B, 30 * MILLISECOND, NOW);
    assert_eq!(
        one.of(pool, A, NOW),
        Some(10 * MILLISECOND),
        "its own at once"
    );
    one.sync(&mut store, pool, NOW + SYNC_INTERVAL);
    other.sync(&mut store, pool, NOW + SYNC_INTERVAL);
    for times in [&one, &other] {
        assert_eq!(times.of(pool, A, NOW), Some(10 * MILLISECOND));
        assert_eq!(times.of(pool, B, NOW), Some(30 * MILLISECOND));
        assert_eq!(times.of(pool, C, NOW), None);
        assert_eq!(times.guess(pool, C, NOW), 30 * MILLISECOND, "the median");
    }
}

#[test]
fn average_follows_what_lasts_and_not_what_passes() {
    let config = config("p", &["a"]);
    let pool = &*config.pools[0];
    let mut times = ResponseTimes::new(&config.pools);
    times.sample(pool, A, 10 * MILLISECOND, NOW);
    let mut now = NOW;
    let average = |times: &ResponseTimes, now| times.of(pool, A, now).unwrap() / MILLISECOND;
    for _ in 0..100 {
        now += 10 * MILLISECOND;
        times.sample(pool, A, 10 * MILLISECOND, now);
    }
    now += 10 * MILLISECOND;
    times.sample(pool, A, 1000 * MILLISECOND, now);
    assert!(average(&times, now) < 12, "{}", average(&times, now));
    for _ in 0..3000 {
        now += 10 * MILLISECOND;
        times.sample(pool, A, 100 * MILLISECOND, now);
    }
    assert!(
        (90..=100).contains(&average(&times, now)),
        "{}",
        average(&times, now)
    );
}

#[test]
fn sync_costs_one_read_and_one_write_at_most_and_others_nothing() {
    let config = config("p", &["a"]);
    let pool = &*config.pools[0];
    let mut store = MemoryPort::default();
    let mut times = ResponseTimes::new(&config.pools);
    let mut now = NOW;
    for _ in 0..50 {
        let (reads, writes) = (store.reads, store.writes);
        times.sample(pool, A, MILLISECOND, now);
        for _ in 0..10 {
            times.sync(&mut store, pool, now);
        }
        assert!(store.reads - reads <= 1 && store.writes - writes <= 1);
        now += SYNC_INTERVAL;
    }
    assert!(store.writes >= 50);
}

#[test]
fn target_that_answers_nothing_is_forgotten_and_its_place_used_again() {
    let mut store = MemoryPort::default();
    let mut now = NOW;
    let mut longest = 0;
    for reload in 0..1000 {
        let names = [format!("new-{reload}"), "stays".to_owned()];
        let config = config("p", &names.each_ref().map(|name| &**name));
        let pool = &*config.pools[0];
        let mut times = ResponseTimes::new(&config.pools);
        times.sample(pool, A, MILLISECOND, now);
        times.sample(pool, B, MILLISECOND, now);
        times.sync(&mut store, pool, now);
        now += 10_000 * MILLISECOND;
        longest = longest.max(store.last.len());
    }
    assert_eq!(store.values.len(), 1);
    assert!(
        longest <= Average::SIZE * (2 + (ENTRY_TTL / (10_000 * MILLISECOND)) as usize),
        "{longest}"
    );
}

#[test]
fn pools_that_share_a_record_share_no_average_and_order_does_not_matter() {
    let [here, there] = [config("p", &["a", "b"]), config("p", &["b", "x", "a"])];
    let mut store = MemoryPort::default();
    let mut before = ResponseTimes::new(&here.pools);
    before.sample(&here.pools[0], A, MILLISECOND, NOW);
    before.sample(&here.pools[0], B, 2 * MILLISECOND, NOW);
    before.sync(&mut store, &here.pools[0], NOW);
    let mut after = ResponseTimes::new(&there.pools);
    after.sync(&mut store, &there.pools[0], NOW);
    let of = |target| after.of(&there.pools[0], target, NOW);
    assert_eq!(
        [of(A), of(B), of(C)],
        [Some(2 * MILLISECOND), None, Some(MILLISECOND)]
    );

    let alien = config("q", &["a", "b"]);
    let (key, value) = (&PoolTimes::new(&alien.pools[0]).key, store.last.clone());
    store.set(key, &value, crate::port::Expected::Any).unwrap();
    let mut times = ResponseTimes::new(&alien.pools);
    times.sync(&mut store, &alien.pools[0], NOW);
    assert_eq!(times.of(&alien.pools[0], A, NOW), None);
}

/// Workers of two releases share records, so these bytes stay.
#[test]
fn a_record_is_these_bytes() {
    let config = config("p", &["a", "b", "c"]);
    let pool = &*config.pools[0];
    let mut store = MemoryPort::default();
    let mut times = ResponseTimes::new(&config.pools);
    times.sample(pool, C, 7 * MILLISECOND, NOW);
    times.sample(pool, A, 10 * MILLISECOND, NOW);
    times.sync(&mut store, pool, NOW);
    times.sample(pool, A, 20 * MILLISECOND, NOW + SYNC_INTERVAL);
    times.sync(&mut store, pool, NOW + SYNC_INTERVAL);
    let (key, (record, _)) = store.values.iter().next().unwrap();
    assert_eq!(key, b"pm3/time/\0\0\0\0\0\0\0\0\x03\xac");
    let hex = |entry: &[u8]| -> String { entry.iter().map(|byte| format!("{byte:02x}")).collect() };
    let entries: Vec<String> = record.chunks(Average::SIZE).map(hex).collect();
    assert_eq!(
        entries,
        [
            // `c`.
            "94dc92a578161f8ad75899000000000080f0ae9676e2fa18",
            // `a`.
            "1e90ca1f45394498c0cf6a00000000000000b49376e2fa18",
        ]
    );
}

#[test]
fn clock_set_back_stops_nothing() {
    let config = config("p", &["a"]);
    let pool = &*config.pools[0];
    let mut store = MemoryPort::default();
    let mut times = ResponseTimes::new(&config.pools);
    times.sample(pool, A, MILLISECOND, NOW);
    times.sync(&mut store, pool, NOW);
    let mut now = NOW - 3_600_000 * MILLISECOND;
    for _ in 0..3000 {
        times.sample(pool, A, 100 * MILLISECOND, now);
        times.sync(&mut store, pool, now);
        now += SYNC_INTERVAL;
    }
    assert!(times.of(pool, A, now).unwrap() > 90 * MILLISECOND);
}

/// A target that was slow gets no requests and so no samples: it must not be slow for an hour because
/// the clock was set back by one.
#[test]
fn no_average_is_known_for_longer_because_the_clock_was_set() {
    let config = config("p", &["a"]);
    let pool = &*config.pools[0];
    for set in [NOW - 3_600_000 * MILLISECOND, NOW + 3_600_000 * MILLISECOND] {
        let mut store = MemoryPort::default();
        let mut times = ResponseTimes::new(&config.pools);
        times.sample(pool, A, 1_000 * MILLISECOND, NOW);
        times.sync(&mut store, pool, NOW);
        assert!(times.of(pool, A, NOW).is_some());
        assert_eq!(times.of(pool, A, set), None);
        times.sync(&mut store, pool, set);
        times.sample(pool, A, MILLISECOND, set);
        assert_eq!(times.of(pool, A, set), Some(MILLISECOND));
    }
}
