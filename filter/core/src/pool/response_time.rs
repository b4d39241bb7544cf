//! Response times: a decaying average for each target of a pool with `least_response_time`, over
//! all workers.
//!
//! **The average.** A sample moves it by Δ/(τ + Δ) of the way, where Δ is the time since it last
//! moved and τ is [`DECAY`]: as Finagle's and linkerd's moving average, with 1/(1 + x) for e^−x,
//! which is close enough and needs no library. It depends on the rate of requests no more than
//! theirs does. Their "peak" rule, by which a sample above the average replaces it, was left out:
//! [`crate::pool::balance::least`] shows what it makes of a heavy tail.
//!
//! **Between workers.** A worker uses its own samples at once. Each [`EXCHANGE`] it moves the
//! shared average by the mean of what it measured, and takes the result over: one read and one
//! write at most, on the way in of a request.
//!
//! | key | what |
//! |---|---|
//! | `pm1/time/` and 2 bytes, of the hash of the pool's name | for each target 24 bytes: its id, the average in nanoseconds, when that last moved in nanoseconds since 1970; little-endian |
//!
//! An entry that did not move for [`FORGET`] is no longer true and is dropped by whoever writes
//! next. That is how records of targets that are gone come to be used again: a thousand reloads
//! need no more than the last minute's targets.
//!
//! **Unmeasured** targets count as the median of the measured ones. When the clock is set back,
//! averages go on moving as if one exchange had passed.

use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::balance::Balance;
use crate::port::Store;
use crate::shared::{RecordCache, Update};
use crate::siphash::SipWriter;
use crate::time::Nanos;
use std::rc::Rc;

/// τ: what is older counts less and less. As Finagle's.
const DECAY: Nanos = Nanos::from_secs(10);

/// From one exchange with the other workers to the next: of 20 a second a host feels nothing, and
/// averages that move over seconds lose nothing.
const EXCHANGE: Nanos = Nanos::from_millis(50);

/// How long a target is known that answers nothing. Longer than `eject` usually is.
const FORGET: Nanos = Nanos::from_secs(60);

/// The records of all pools lie under so many keys. Pools whose names meet share a record, never
/// entries.
const RECORDS: u64 = 1024;

/// One target in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    id: u64,
    average: Nanos,
    at: Nanos,
}

/// The size of an [`Entry`].
const ENTRY: usize = 24;

impl Entry {
    fn read(bytes: &[u8; ENTRY]) -> Entry {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        Entry {
            id: next(),
            average: Nanos::new(next()),
            at: Nanos::new(next()),
        }
    }

    /// The average moves towards a sample.
    fn move_to(&mut self, sample: Nanos, now: Nanos) {
        let since = now.checked_sub(self.at).unwrap_or(EXCHANGE).min(FORGET);
        let (from, to) = (i128::from(self.average.get()), i128::from(sample.get()));
        let moved =
            from + (to - from) * i128::from(since.get()) / i128::from((DECAY + since).get());
        self.average = u64::try_from(moved).map_or(sample, Nanos::new);
        self.at = now;
    }

    fn is_known(&self, now: Nanos) -> bool {
        now - self.at < FORGET
    }
}

/// What one worker knows of response times.
#[derive(Debug)]
pub struct ResponseTimes {
    cache: RecordCache,
    /// For each pool; empty where response times do not matter.
    pools: Vec<Option<Times>>,
}

/// What one worker knows of one pool.
#[derive(Debug)]
struct Times {
    key: Vec<u8>,
    targets: Vec<Time>,
    /// Of those that were measured. None: none was.
    median: Option<Nanos>,
    /// When the last exchange was. None: never.
    exchanged: Option<Nanos>,
}

/// What one worker knows of one target.
#[derive(Debug)]
struct Time {
    id: u64,
    known: Option<Entry>,
    /// Its own samples since the last exchange.
    sum: Nanos,
    count: u64,
}

impl ResponseTimes {
    /// For a configuration.
    pub fn new(pools: &[Rc<Pool>]) -> ResponseTimes {
        let times =
            |pool: &Pool| (pool.balance == Balance::LeastResponseTime).then(|| Times::new(pool));
        ResponseTimes {
            cache: RecordCache::default(),
            pools: pools.iter().map(|pool| times(pool)).collect(),
        }
    }

    /// Takes over what other workers have measured, and hands on what this one has, if the last
    /// time is [`EXCHANGE`] ago: at most one read and one write then (unless others write at the
    /// same instant), nothing otherwise. Called on a request's way in. Where shared data fails, a
    /// worker goes by its own samples.
    pub fn exchange(&mut self, store: &mut dyn Store, pool: &Pool, now: Nanos) {
        let Some(Some(times)) = self.pools.get_mut(pool.index.get()) else {
            return;
        };
        let age = times.exchanged.and_then(|last| now.checked_sub(last));
        if age.is_some_and(|age| age < EXCHANGE) {
            return;
        }
        times.exchanged = Some(now);
        let key = times.key.clone();
        let shared = self.cache.update(store, &key, &mut |bytes| {
            let (chunks, _) = bytes.unwrap_or_default().as_chunks();
            let entries: Vec<Entry> = chunks.iter().map(Entry::read).collect();
            match times.moved(&entries, now) {
                None => Update::Keep(entries),
                Some(entries) => {
                    let mut bytes = Vec::with_capacity(ENTRY * entries.len());
                    for entry in &entries {
                        for word in [entry.id, entry.average.get(), entry.at.get()] {
                            bytes.extend_from_slice(&word.to_le_bytes());
                        }
                    }
                    Update::Write(bytes, entries)
                }
            }
        });
        if let Ok(shared) = shared {
            times.take_over(&shared);
        }
        times.median = times.middle(now);
    }

    /// A target took so long to answer (to the response's headers).
    pub fn sample(&mut self, pool: &Pool, target: TargetIndex, took: Nanos, now: Nanos) {
        let Some(Some(times)) = self.pools.get_mut(pool.index.get()) else {
            return;
        };
        let Some(time) = times.targets.get_mut(target.get()) else {
            return;
        };
        time.sum += took;
        time.count += 1;
        let new = Entry {
            id: time.id,
            average: took,
            at: now,
        };
        match &mut time.known {
            Some(known) if known.is_known(now) => known.move_to(took, now),
            known => *known = Some(new),
        }
    }

    /// The average response time. None: not measured in the last [`FORGET`].
    pub fn of(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> Option<Nanos> {
        let known = self.times(pool)?.targets.get(target.get())?.known?;
        known.is_known(now).then_some(known.average)
    }

    /// The same, and for a target that was not measured the median of those that were, as of the
    /// last exchange; where none was, the same number for all. Never 0.
    pub fn guess(&self, pool: &Pool, target: TargetIndex, now: Nanos) -> Nanos {
        let median = || self.times(pool).and_then(|times| times.median);
        self.of(pool, target, now)
            .or_else(median)
            .unwrap_or(Nanos::new(1))
            .max(Nanos::new(1))
    }

    fn times(&self, pool: &Pool) -> Option<&Times> {
        self.pools.get(pool.index.get())?.as_ref()
    }
}

impl Times {
    fn new(pool: &Pool) -> Times {
        let hash = |target: Option<&str>| {
            let mut hash = SipWriter::new(*b"pointsman times.");
            hash.write_field(pool.name.as_bytes());
            hash.write(target.unwrap_or_default().as_bytes());
            hash.finish()
        };
        let mut key = b"pm1/time/".to_vec();
        key.extend_from_slice(&((hash(None) % RECORDS) as u16).to_be_bytes());
        let time = |id| Time {
            id,
            known: None,
            sum: Nanos::ZERO,
            count: 0,
        };
        Times {
            key,
            targets: pool
                .targets
                .iter()
                .map(|target| time(hash(Some(&target.name))))
                .collect(),
            median: None,
            exchanged: None,
        }
    }

    /// The entries of a record, moved by what this worker measured since the last exchange. None:
    /// it measured nothing.
    fn moved(&self, entries: &[Entry], now: Nanos) -> Option<Vec<Entry>> {
        if self.targets.iter().all(|time| time.count == 0) {
            return None;
        }
        let mut entries: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.is_known(now))
            .copied()
            .collect();
        for time in &self.targets {
            let Some(mean) = time.sum.checked_div(time.count) else {
                continue;
            };
            match entries.iter_mut().find(|entry| entry.id == time.id) {
                Some(entry) => entry.move_to(mean, now),
                None => entries.push(Entry {
                    id: time.id,
                    average: mean,
                    at: now,
                }),
            }
        }
        Some(entries)
    }

    /// What all workers know is what this one knows.
    fn take_over(&mut self, entries: &[Entry]) {
        for time in &mut self.targets {
            let shared = entries.iter().find(|entry| entry.id == time.id);
            time.known = shared.copied();
            (time.sum, time.count) = (Nanos::ZERO, 0);
        }
    }

    fn middle(&self, now: Nanos) -> Option<Nanos> {
        let known = self.targets.iter().filter_map(|time| time.known);
        let mut averages: Vec<Nanos> = known
            .filter(|known| known.is_known(now))
            .map(|known| known.average)
            .collect();
        let middle = averages.len() / 2;
        (!averages.is_empty()).then(|| *averages.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::shared::tests::Map;
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
    fn what_one_worker_measures_all_know_after_an_exchange() {
        let config = config("p", &["a", "b", "c"]);
        let pool = &*config.pools[0];
        let mut store = Map::default();
        let [mut one, mut other] = [(); 2].map(|()| ResponseTimes::new(&config.pools));
        one.exchange(&mut store, pool, NOW);
        one.sample(pool, A, 10 * MILLISECOND, NOW);
        one.sample(pool, B, 30 * MILLISECOND, NOW);
        assert_eq!(
            one.of(pool, A, NOW),
            Some(10 * MILLISECOND),
            "its own at once"
        );
        one.exchange(&mut store, pool, NOW + EXCHANGE);
        other.exchange(&mut store, pool, NOW + EXCHANGE);
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
    fn exchange_costs_one_read_and_one_write_at_most_and_others_nothing() {
        let config = config("p", &["a"]);
        let pool = &*config.pools[0];
        let mut store = Map::default();
        let mut times = ResponseTimes::new(&config.pools);
        let mut now = NOW;
        for _ in 0..50 {
            let (reads, writes) = (store.reads, store.writes);
            times.sample(pool, A, MILLISECOND, now);
            for _ in 0..10 {
                times.exchange(&mut store, pool, now);
            }
            assert!(store.reads - reads <= 1 && store.writes - writes <= 1);
            now += EXCHANGE;
        }
        assert!(store.writes >= 50);
    }

    #[test]
    fn target_that_answers_nothing_is_forgotten_and_its_place_used_again() {
        let mut store = Map::default();
        let mut now = NOW;
        let mut longest = 0;
        for reload in 0..1000 {
            let names = [format!("new-{reload}"), "stays".to_owned()];
            let config = config("p", &names.each_ref().map(|name| &**name));
            let pool = &*config.pools[0];
            let mut times = ResponseTimes::new(&config.pools);
            times.sample(pool, A, MILLISECOND, now);
            times.sample(pool, B, MILLISECOND, now);
            times.exchange(&mut store, pool, now);
            now += 10_000 * MILLISECOND;
            longest = longest.max(store.last.len());
        }
        assert_eq!(store.values.len(), 1);
        assert!(
            longest <= ENTRY * (2 + (FORGET / (10_000 * MILLISECOND)) as usize),
            "{longest}"
        );
    }

    #[test]
    fn pools_that_share_a_record_share_no_average_and_order_does_not_matter() {
        let [here, there] = [config("p", &["a", "b"]), config("p", &["b", "x", "a"])];
        let mut store = Map::default();
        let mut before = ResponseTimes::new(&here.pools);
        before.sample(&here.pools[0], A, MILLISECOND, NOW);
        before.sample(&here.pools[0], B, 2 * MILLISECOND, NOW);
        before.exchange(&mut store, &here.pools[0], NOW);
        let mut after = ResponseTimes::new(&there.pools);
        after.exchange(&mut store, &there.pools[0], NOW);
        let of = |target| after.of(&there.pools[0], target, NOW);
        assert_eq!(
            [of(A), of(B), of(C)],
            [Some(2 * MILLISECOND), None, Some(MILLISECOND)]
        );

        let alien = config("q", &["a", "b"]);
        let (key, value) = (&Times::new(&alien.pools[0]).key, store.last.clone());
        store.set(key, &value, crate::port::Expected::Any).unwrap();
        let mut times = ResponseTimes::new(&alien.pools);
        times.exchange(&mut store, &alien.pools[0], NOW);
        assert_eq!(times.of(&alien.pools[0], A, NOW), None);
    }

    /// Workers of two releases share records during a hot restart, so the bytes of the first one
    /// stay.
    #[test]
    fn a_record_is_what_it_was_in_the_first_release() {
        let config = config("p", &["a", "b", "c"]);
        let pool = &*config.pools[0];
        let mut store = Map::default();
        let mut times = ResponseTimes::new(&config.pools);
        times.sample(pool, C, 7 * MILLISECOND, NOW);
        times.sample(pool, A, 10 * MILLISECOND, NOW);
        times.exchange(&mut store, pool, NOW);
        times.sample(pool, A, 20 * MILLISECOND, NOW + EXCHANGE);
        times.exchange(&mut store, pool, NOW + EXCHANGE);
        let (key, (record, _)) = store.values.iter().next().unwrap();
        assert_eq!(key, b"pm1/time/\0o");
        let hex =
            |entry: &[u8]| -> String { entry.iter().map(|byte| format!("{byte:02x}")).collect() };
        let entries: Vec<String> = record.chunks(ENTRY).map(hex).collect();
        assert_eq!(
            entries,
            [
                // `c`.
                "0c9fa8c59ee8c294d75899000000000080f0ae9676e2fa18",
                // `a`.
                "5b902fef5b93a166c0cf6a00000000000000b49376e2fa18",
            ]
        );
    }

    #[test]
    fn clock_set_back_stops_nothing() {
        let config = config("p", &["a"]);
        let pool = &*config.pools[0];
        let mut store = Map::default();
        let mut times = ResponseTimes::new(&config.pools);
        times.sample(pool, A, MILLISECOND, NOW);
        times.exchange(&mut store, pool, NOW);
        let mut now = NOW - 3_600_000 * MILLISECOND;
        for _ in 0..3000 {
            times.sample(pool, A, 100 * MILLISECOND, now);
            times.exchange(&mut store, pool, now);
            now += EXCHANGE;
        }
        assert!(times.of(pool, A, now).unwrap() > 90 * MILLISECOND);
    }
}
