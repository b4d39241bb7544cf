use super::*;
use crate::pool::Pool;
use crate::pool::balance::tests::pool;
use crate::pool::candidates::tests::{all, only};
use crate::shared::tests::Random;
use crate::siphash::mixed;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: Nanos = Nanos::from_secs(1_800_000_000);

/// The counts of one worker, and those that others have shared.
#[derive(Default)]
struct Counts {
    own: Vec<u32>,
    others: Vec<u32>,
    reads: u32,
}

impl Load for Counts {
    fn others(&mut self, target: TargetIndex) -> u32 {
        self.reads += 1;
        self.others.get(target.get()).copied().unwrap_or_default()
    }

    fn own(&self, target: TargetIndex) -> u32 {
        self.own[target.get()]
    }

    fn response_time(&self, _: TargetIndex) -> f64 {
        1.0
    }
}

/// One worker that balances a pool.
struct Worker {
    pool: Pool,
    hashed: ConsistentHash,
    bounded: BoundedLoad,
    counts: Counts,
    factor: LoadFactor,
    flights: Vec<TargetIndex>,
    now: Nanos,
}

impl Worker {
    fn new(weights: &[u32], percent: u32) -> Worker {
        let pool = pool(weights);
        Worker {
            hashed: ConsistentHash::new(&pool),
            bounded: BoundedLoad::default(),
            counts: Counts {
                own: vec![0; weights.len()],
                ..Counts::default()
            },
            factor: LoadFactor { percent },
            flights: Vec::new(),
            now: NOW,
            pool,
        }
    }

    fn home(&self, hash: u64) -> TargetIndex {
        self.hashed.pick(&all(&self.pool), hash).unwrap()
    }

    /// What goes on at a target, or would with one more, and what is its bound.
    fn load_and_bound(&self, target: TargetIndex, more: u64) -> (u64, f64) {
        let others = |place| self.counts.others.get(place).copied().unwrap_or_default();
        let load = |place: usize| u64::from(self.counts.own[place] + others(place));
        let total: u64 = more + (0..self.counts.own.len()).map(load).sum::<u64>();
        let weights: u32 = self.pool.targets.iter().map(|target| target.weight).sum();
        let share = f64::from(self.pool.targets[target.get()].weight) / f64::from(weights);
        let bound = f64::from(self.factor.percent) / 100.0 * total as f64 * share;
        (load(target.get()), bound)
    }

    fn begin(&mut self, hash: u64) -> Bounded {
        let (mut candidates, now) = (all(&self.pool), self.now);
        let picked = self.bounded.pick(
            self.factor,
            &self.hashed,
            &mut candidates,
            hash,
            &mut self.counts,
            now,
        );
        let picked = picked.unwrap();
        self.counts.own[picked.target.get()] += 1;
        self.flights.push(picked.target);
        picked
    }

    fn end(&mut self, random: u64) {
        if !self.flights.is_empty() {
            let place = random as usize % self.flights.len();
            let target = self.flights.swap_remove(place);
            self.counts.own[target.get()] -= 1;
        }
    }
}

/// A key of Zipf's distribution: the hottest is a tenth of all or more.
fn hot(random: &mut Random) -> u64 {
    let unit = random.below(1 << 32) as f64 / (1_u64 << 32) as f64;
    mixed(1000_f64.powf(unit) as u64)
}

#[test]
fn no_target_has_more_than_c_times_its_share_however_hot_a_key_is() {
    for (weights, percent) in [
        (vec![1; 10], 125),
        (vec![1, 2, 3, 4], 150),
        (vec![1; 64], 101),
        (vec![1; 3], 110),
        (vec![1, 0, 1000], 200),
    ] {
        for all_one_key in [true, false] {
            let mut worker = Worker::new(&weights, percent);
            let mut random = Random(7);
            for step in 0..20_000_u64 {
                // Up to 300 at once, and down to none again.
                let rises = step % 4000 < 2000;
                if random.below(10) < if rises { 6 } else { 3 } && worker.flights.len() < 300 {
                    let key = if all_one_key { 1 } else { hot(&mut random) };
                    let home = worker.home(key);
                    let (load, bound) = worker.load_and_bound(home, 1);
                    let picked = worker.begin(key);
                    let (now_at, most) = worker.load_and_bound(picked.target, 0);
                    assert!(
                        now_at as f64 <= (most - 1e-9).ceil(),
                        "{weights:?} {percent}: {now_at} of {most}"
                    );
                    // Nothing moves that need not.
                    let has_room = (load as f64) < (bound - 1e-9).ceil();
                    assert_eq!(
                        (picked.target == home, picked.is_moved),
                        (has_room, !has_room)
                    );
                } else {
                    worker.end(random.below(1 << 32));
                }
            }
        }
    }
}

/// What is too much of a key goes down its own order of targets, so that few of them see the key.
#[test]
fn what_is_too_much_is_always_at_the_same_next_targets() {
    let mut worker = Worker::new(&[1; 20], 125);
    // Others' keys, evenly.
    worker.counts.others = vec![10; 20];
    let key = mixed(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let begun: Vec<_> = (0..12).map(|_| worker.begin(key).target.get()).collect();
        seen.extend(begun);
        (0..12).for_each(|_| worker.end(0));
    }
    let mut order = all(&worker.pool);
    let mut first = Vec::new();
    for _ in 0..seen.len() {
        let next = worker.hashed.pick(&order, key).unwrap();
        order.remove(next);
        first.push(next.get());
    }
    first.sort_unstable();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), first);
    assert!(first.len() <= 5, "{first:?}");
}

#[test]
fn a_bound_that_no_key_meets_changes_nothing() {
    let mut worker = Worker::new(&[1, 2, 3], 10_000);
    for key in (0..3000).map(mixed) {
        let home = worker.home(key);
        assert_eq!(
            worker.begin(key),
            Bounded {
                target: home,
                is_moved: false
            }
        );
    }
}

#[test]
fn what_is_no_candidate_neither_counts_nor_is_chosen() {
    let mut worker = Worker::new(&[1, 1, 1], 150);
    worker.counts.own = vec![100, 0, 0];
    for key in (0..200).map(mixed) {
        let mut candidates = only(&worker.pool, |target| target > 0);
        let picked = worker.bounded.pick(
            worker.factor,
            &worker.hashed,
            &mut candidates,
            key,
            &mut worker.counts,
            NOW,
        );
        let picked = picked.unwrap();
        assert!(picked.target.get() > 0 && !picked.is_moved);
    }
    let mut none = only(&worker.pool, |_| false);
    let (hashed, counts) = (&worker.hashed, &mut worker.counts);
    let picked = worker
        .bounded
        .pick(worker.factor, hashed, &mut none, 1, counts, NOW);
    assert_eq!(picked, None);
}

/// The slack that is stated: what others began since their counts were read, 10 ms ago at most.
#[test]
fn a_busy_worker_reads_what_others_have_each_10_ms_and_an_idle_one_each_time() {
    let mut worker = Worker::new(&[1; 10], 125);
    for request in 0..100_u64 {
        worker.now = NOW + request * 2 * Pace::INTERVAL;
        worker.counts.reads = 0;
        worker.begin(mixed(1));
        assert_eq!(worker.counts.reads, 10);
    }
    worker.counts.reads = 0;
    for request in 0..10_000_u64 {
        worker.now = NOW + Nanos::from_secs(10) + request * 100 * Nanos::MICROSECOND;
        worker.counts.others = vec![(request / 10) as u32; 10];
        worker.begin(mixed(1));
        let age = 10 * (request / 10 % 10);
        let known = worker.bounded.others[0];
        assert!(u64::from(known) + 10 >= request / 10, "{age}");
    }
    // One second, each 5 ms or less often, and the burst.
    assert!(
        (10 * 90..=10 * 225).contains(&worker.counts.reads),
        "{}",
        worker.counts.reads
    );
}

#[test]
fn others_are_looked_at_again_where_the_clock_is_set() {
    let hour = Nanos::from_secs(3600);
    for set in [NOW + hour, NOW - hour] {
        let mut worker = Worker::new(&[1; 10], 125);
        let mut reads_at = |now: Nanos| {
            worker.now = now;
            worker.counts.reads = 0;
            worker.begin(mixed(1));
            worker.counts.reads
        };
        // Until it is too busy to read.
        while reads_at(NOW) > 0 {}
        assert_eq!(reads_at(set), 10, "{set:?}");
    }
}
