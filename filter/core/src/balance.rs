//! Which target a new request goes to: weighted selection.
//!
//! **Round robin** is Tijdeman's algorithm for the chairman assignment problem (R. Tijdeman, "The chairman assignment
//! problem", Discrete Mathematics 32, 1980). After any number k of requests, each of n targets with weight w out of W has got
//! k·w/W requests up to an error of at most 1 − 1/(2n−2), and no algorithm can promise less. The usual "smooth
//! weighted round robin" (nginx) has no such bound and errs by more than 1 with many targets. Each worker counts for
//! itself, which costs no host call: errors below 1 each, N workers together err by less than N, and over whole cycles of
//! the weights not at all.
//!
//! **Random** and **split** cut the range [0, 1) into parts by weight, in their order. A draw hands back what it did not
//! use of the roll, so that one random number serves a split, the pool in it, and the retries.
//!
//! **Hashed** is weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit
//! rates", 1998; weights after Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005): each target
//! draws an exponential variable from the hash of key and name, divided by its weight, and the least wins. A target that
//! goes away takes only its own keys along.

use crate::hash::SipWriter;
use crate::pool::Pool;

/// `balance` of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Smooth and weighted: over any whole cycle of the weights each target gets exactly its share. The default.
    #[default]
    RoundRobin,
    /// Independent draws in proportion to the weights.
    Random,
}

/// How many further endpoints a request names for the proxy's retries. Envoy tries each once at most, its default is one
/// retry, and every address makes the header longer.
pub const RETRIES: usize = 3;

/// One worker's round robin over one pool.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Vec<Turn>,
    /// The sum of the weights that take part.
    total: u64,
    /// How many targets take part.
    count: u64,
    /// The target that wins ties in this cycle; those after it follow in a ring.
    first: u64,
    /// The target that wins ties once the set has changed: the one after the last chosen.
    next_first: u64,
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// 0: takes no part.
    weight: u32,
    /// `total` times what the target should have got so far, less what it has got. Always within ±`total`, and 0 after
    /// every whole cycle.
    due: i64,
}

impl RoundRobin {
    /// For a pool. `rotation` is any number that differs between workers (a random one will do): it decides ties, so that
    /// not every worker begins with the same target.
    pub fn new(pool: &Pool, rotation: u64) -> RoundRobin {
        RoundRobin {
            turns: vec![Turn::default(); pool.targets.len()],
            total: 0,
            count: 0,
            first: 0,
            next_first: rotation % (pool.targets.len() as u64).max(1),
        }
    }

    /// The next target among those that take new requests and are `usable`. None: there is no such target.
    ///
    /// When that set changes, a new cycle begins, and ties go on after the last target chosen, so that even a set that
    /// changes with every request is served in turn.
    pub fn pick(&mut self, pool: &Pool, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        if self.follow(pool, usable) {
            self.total = self.turns.iter().map(|turn| u64::from(turn.weight)).sum();
            self.count = self.turns.iter().filter(|turn| turn.weight > 0).count() as u64;
            self.turns.iter_mut().for_each(|turn| turn.due = 0);
            self.first = self.next_first;
        }
        // In units of 1/(2n−2) of a request times `total`: a target may be served once it is due at least 1 unit, and must
        // be before it is due more than 2n−3 of them. Of those that may, the one whose time is up first is served. A lone
        // target, for which the unit does not exist, is always due.
        let units = i128::from((2 * self.count).saturating_sub(2).max(1));
        let total = i128::from(self.total);
        let size = self.turns.len() as u64;
        let mut best: Option<(usize, i128, u32, u64)> = None;
        for (i, turn) in self.turns.iter_mut().enumerate() {
            if turn.weight == 0 {
                continue;
            }
            turn.due += i64::from(turn.weight);
            let due = units * i128::from(turn.due);
            if due < total {
                continue;
            }
            // The time that is left is `left / weight` requests, up to a factor that is the same for all.
            let left = (units - 1) * total - due;
            let place = (i as u64 + size - self.first) % size;
            let sooner = best.is_none_or(|(_, least, weight, nearest)| {
                let (ours, theirs) = (left * i128::from(weight), least * i128::from(turn.weight));
                (ours, place) < (theirs, nearest)
            });
            if sooner {
                best = Some((i, left, turn.weight, place));
            }
        }
        let (chosen, ..) = best?;
        if let Some(turn) = self.turns.get_mut(chosen) {
            turn.due -= self.total as i64;
        }
        self.next_first = (chosen as u64 + 1) % size;
        Some(chosen)
    }

    /// Takes the weights over. True: they changed.
    fn follow(&mut self, pool: &Pool, usable: &dyn Fn(usize) -> bool) -> bool {
        let mut changed = false;
        for (i, (turn, target)) in self.turns.iter_mut().zip(&pool.targets).enumerate() {
            let weight = if target.takes_new() && usable(i) {
                target.weight
            } else {
                0
            };
            changed |= turn.weight != weight;
            turn.weight = weight;
        }
        changed
    }
}

/// The part of [0, 1) into which `roll` (in units of 2^−64) falls, where the parts lie side by side in their order, each as
/// wide as its share of the weights; and what remains of the roll, again spread over [0, 2^64). None: all weights are 0.
///
/// Source: Lemire, "Fast random integer generation in an interval", 2019: a product in place of a division.
pub fn pick_weighted(weights: impl Iterator<Item = u32> + Clone, roll: u64) -> Option<(usize, u64)> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut rest = u128::from(roll) * u128::from(total);
    for (i, weight) in weights.enumerate() {
        let width = u128::from(weight) << 64;
        if rest < width {
            return Some((i, (rest / u128::from(weight)) as u64));
        }
        rest -= width;
    }
    None
}

/// `balance: random`: a draw by weight among the targets that take new requests and are `usable`, and what remains of the
/// roll. None: there is no such target.
pub fn random(pool: &Pool, usable: &dyn Fn(usize) -> bool, roll: u64) -> Option<(usize, u64)> {
    let weights = pool.targets.iter().enumerate().map(|(i, target)| {
        if target.takes_new() && usable(i) {
            target.weight
        } else {
            0
        }
    });
    pick_weighted(weights, roll)
}

/// The targets to try after `chosen`, at most [`RETRIES`], in order: drawn by weight without putting back, so that what a
/// broken target leaves behind spreads over the others as new requests do. Never one that takes nothing new.
pub fn retries(pool: &Pool, usable: &dyn Fn(usize) -> bool, chosen: usize, mut roll: u64) -> Vec<usize> {
    let mut order = Vec::with_capacity(RETRIES);
    while order.len() < RETRIES {
        let left = |i: usize| i != chosen && !order.contains(&i) && usable(i);
        let Some((next, rest)) = random(pool, &left, roll) else {
            break;
        };
        order.push(next);
        roll = rest;
    }
    order
}

/// The target that a key's hash belongs to, among those that take new requests and are `usable`: each gets keys in
/// proportion to its weight. It depends on the names of the targets and not on their order, and a target that is
/// added or removed moves no key but its own. None: there is no such target.
pub fn hashed(pool: &Pool, usable: &dyn Fn(usize) -> bool, hash: u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, target) in pool.targets.iter().enumerate() {
        if !(target.takes_new() && usable(i)) {
            continue;
        }
        let mut draw = SipWriter::new(*b"pointsman hashed");
        draw.write_u64(hash);
        draw.write(target.name.as_bytes());
        let wait = exponential(draw.finish()) / f64::from(target.weight);
        if best.is_none_or(|(_, least)| wait < least) {
            best = Some((i, wait));
        }
    }
    best.map(|(i, _)| i)
}

/// −ln(u) for the fraction u of 2^64 that the bits stand for: an exponential variable.
///
/// Written out in additions, multiplications and divisions, which IEEE 754 rounds the same way on every machine; a
/// library's `ln` may differ in its last bit between the proxy and `host-sim`, or between two proxies.
fn exponential(bits: u64) -> f64 {
    // The middle of one of 2^52 intervals: never 0, never 1, and exact in an `f64`.
    let interval = bits >> 12;
    let odd = 2 * interval + 1;
    // u = odd / 2^53 = m / 2^shift with m in [√½, √2), so that nothing cancels where u is close to 1.
    let mut shift = odd.leading_zeros() - 10;
    let mut m = (odd << shift) as f64 / (1_u64 << 53) as f64;
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        shift -= 1;
    }
    // ln m = 2·artanh z for z = (m − 1)/(m + 1), |z| < 0.172; the first term left out is below 2^−53 of the sum.
    let z = (m - 1.0) / (m + 1.0);
    let square = z * z;
    let series = (0..10)
        .rev()
        .fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(shift) * std::f64::consts::LN_2 - 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{State, Target};
    use proptest::prelude::*;

    fn pool(weights: &[u32]) -> Pool {
        let target = |(i, weight): (usize, &u32)| Target {
            name: format!("target-{i}").into(),
            cluster: "c".into(),
            endpoint: None,
            weight: *weight,
            state: State::Up,
            region: None,
        };
        Pool {
            index: 0,
            name: "pool".into(),
            balance: Balance::RoundRobin,
            targets: weights.iter().enumerate().map(target).collect(),
            sticky: None,
            endpoints: false,
        }
    }

    fn all(_: usize) -> bool {
        true
    }

    /// |count·W − k·w| for each target, checked against Tijdeman's bound, (1 − 1/(2n−2))·W.
    fn assert_bound(weights: &[u32], counts: &[u64], k: u64, context: &str) {
        let total: i128 = weights.iter().map(|w| i128::from(*w)).sum();
        let n = weights.iter().filter(|w| **w > 0).count() as i128;
        for (i, (weight, count)) in weights.iter().zip(counts).enumerate() {
            let error = (i128::from(*count) * total - i128::from(k) * i128::from(*weight)).abs();
            let (units, most) = if n > 1 { (2 * n - 2, 2 * n - 3) } else { (1, 0) };
            assert!(
                error * units <= most * total,
                "{context}: after {k} requests target {i} has {count}; weights {weights:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_robin_never_errs_by_more_than_tijdemans_bound(
            weights in prop::collection::vec(prop_oneof![0_u32..4, 0_u32..1000, Just(u32::MAX)], 1..24),
            rotation: u64,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let pool = pool(&weights);
            let mut robin = RoundRobin::new(&pool, rotation);
            let mut counts = vec![0; weights.len()];
            for k in 1..2000 {
                counts[robin.pick(&pool, &all).unwrap()] += 1;
                assert_bound(&weights, &counts, k, "one worker");
            }
        }

        #[test]
        fn round_robin_gives_exact_shares_over_whole_cycles(
            weights in prop::collection::vec(0_u32..50, 1..12),
            rotation: u64,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let pool = pool(&weights);
            let mut robin = RoundRobin::new(&pool, rotation);
            for _ in 0..3 {
                let mut counts = vec![0; weights.len()];
                for _ in 0..total {
                    counts[robin.pick(&pool, &all).unwrap()] += 1;
                }
                prop_assert_eq!(&counts, &weights);
            }
        }

        #[test]
        fn workers_together_err_by_less_than_their_number(
            weights in prop::collection::vec(1_u32..20, 1..8),
            workers in 1_usize..9,
            turns in prop::collection::vec(any::<u64>(), 1..400),
        ) {
            let pool = pool(&weights);
            let mut robins: Vec<_> = (0..workers).map(|w| RoundRobin::new(&pool, w as u64)).collect();
            let total: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            for turn in &turns {
                counts[robins[*turn as usize % workers].pick(&pool, &all).unwrap()] += 1;
            }
            for (weight, count) in weights.iter().zip(&counts) {
                let error = f64::from(*count) - turns.len() as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!(error.abs() < workers as f64, "{error}");
            }
        }
    }

    /// Why it is not nginx's algorithm.
    #[test]
    fn smooth_weighted_round_robin_errs_by_more_than_one_where_ours_does_not() {
        let weights: Vec<u32> = (0..60).map(|i| if i < 3 { 100 } else { 1 + i % 7 }).collect();
        let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let mut current = vec![0_i64; weights.len()];
        let mut worst = 0;
        for _ in 0..total {
            for (now, weight) in current.iter_mut().zip(&weights) {
                *now += i64::from(*weight);
            }
            let best = (0..weights.len())
                .max_by_key(|i| (current[*i], std::cmp::Reverse(*i)))
                .unwrap();
            current[best] -= total;
            worst = worst.max(current.iter().map(|now| now.abs()).max().unwrap());
        }
        assert!(worst > total, "{worst} of {total}");

        let pool = pool(&weights);
        let mut robin = RoundRobin::new(&pool, 0);
        let mut counts = vec![0; weights.len()];
        for k in 1..=total as u64 {
            counts[robin.pick(&pool, &all).unwrap()] += 1;
            assert_bound(&weights, &counts, k, "ours");
        }
    }

    #[test]
    fn workers_begin_with_different_targets() {
        let pool = pool(&[1, 1, 1, 1]);
        for rotation in 0..8 {
            let first = RoundRobin::new(&pool, rotation).pick(&pool, &all);
            assert_eq!(first, Some(rotation as usize % 4));
        }
    }

    #[test]
    fn a_set_that_always_changes_is_still_served_in_turn() {
        let pool = pool(&[1, 1, 1, 1]);
        let mut robin = RoundRobin::new(&pool, 0);
        let mut counts = [0_i32; 4];
        for k in 0..4000 {
            counts[robin.pick(&pool, &|i| i != k % 2).unwrap()] += 1;
        }
        // Targets 0 and 1 are there half of the time, the others always.
        assert!(counts.iter().all(|count| *count > 600), "{counts:?}");
    }

    #[test]
    fn nothing_that_takes_nothing_new_is_chosen() {
        let mut pool = pool(&[5, 0, 5, 5, 5]);
        pool.targets[2].state = State::Draining;
        pool.targets[3].state = State::Down;
        let only = |i: usize| i != 4;
        let mut robin = RoundRobin::new(&pool, 3);
        for k in 0..1000_u64 {
            let roll = k.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(robin.pick(&pool, &only), Some(0));
            assert_eq!(random(&pool, &only, roll).unwrap().0, 0);
            assert_eq!(hashed(&pool, &only, roll), Some(0));
            assert_eq!(retries(&pool, &all, 0, roll), [4]);
            assert_eq!(robin.pick(&pool, &|_| false), None);
            assert_eq!(random(&pool, &|_| false, roll), None);
            assert_eq!(hashed(&pool, &|_| false, roll), None);
        }
    }

    #[test]
    fn parts_lie_over_the_range_in_their_order() {
        let weights = [95_u32, 0, 5];
        let at = |fraction: f64| {
            pick_weighted(weights.iter().copied(), (fraction * 2_f64.powi(64)) as u64)
                .unwrap()
                .0
        };
        assert_eq!([at(0.0), at(0.949_999), at(0.950_001), at(0.999_999)], [0, 0, 2, 2]);
        assert_eq!(pick_weighted(weights.iter().copied(), u64::MAX).unwrap().0, 2);
        assert_eq!(pick_weighted([0, 0].into_iter(), 1), None);
        assert_eq!(pick_weighted(std::iter::empty(), 1), None);
    }

    proptest! {
        /// The rolls of one part, in order, leave rests that cover the whole range in order.
        #[test]
        fn what_a_draw_leaves_of_the_roll_is_again_even(weights in prop::collection::vec(1_u32..9, 1..5)) {
            let mut last = (0, 0);
            let steps = 10_000_u64;
            let mut thirds = vec![[0_u32; 3]; weights.len()];
            for step in 0..steps {
                let now = pick_weighted(weights.iter().copied(), step * (u64::MAX / steps)).unwrap();
                prop_assert!(step == 0 || now > last, "{last:?} {now:?}");
                thirds[now.0][((u128::from(now.1) * 3) >> 64) as usize] += 1;
                last = now;
            }
            for part in &thirds {
                prop_assert!(part.iter().all(|n| n.abs_diff(part[0]) <= 2), "{thirds:?}");
            }
        }
    }

    #[test]
    fn retries_are_drawn_by_weight_and_never_repeat() {
        let pool = pool(&[1, 2, 4, 1, 1]);
        let mut firsts = [0_u32; 5];
        for k in 0..8000_u64 {
            let order = retries(&pool, &all, 0, k * (u64::MAX / 8000));
            assert_eq!(order.len(), RETRIES);
            let mut seen = order.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), RETRIES);
            assert!(!order.contains(&0));
            firsts[order[0]] += 1;
        }
        for (count, share) in firsts.iter().zip([0, 2000, 4000, 1000, 1000]) {
            assert!(count.abs_diff(share) <= 1, "{firsts:?}");
        }
    }

    #[test]
    fn exponential_is_minus_the_logarithm() {
        for bits in (0..64).flat_map(|shift| [u64::MAX >> shift, 0x9e37_79b9_7f4a_7c15 >> shift, !0 << shift]) {
            let fraction = (2.0 * (bits >> 12) as f64 + 1.0) / 2_f64.powi(53);
            let (ours, theirs) = (exponential(bits), -fraction.ln());
            assert!((ours - theirs).abs() <= 4e-16 * theirs, "{bits:x}: {ours} {theirs}");
        }
        // The exact bits are part of where sessions go: they must not change with a compiler or a machine.
        assert_eq!(exponential(0x0123_4567_89ab_cdef).to_bits(), 4_617_784_005_365_680_180);
    }

    #[test]
    fn hashed_honours_weights_and_moves_only_what_it_must() {
        let weights = [1, 2, 0, 5, 8];
        let whole = pool(&weights);
        let keys = 40_000_u64;
        let mut counts = [0_u64; 5];
        for key in 0..keys {
            let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let home = hashed(&whole, &all, hash).unwrap();
            counts[home] += 1;
            // Without target 3, only its keys move.
            let without = hashed(&whole, &|i| i != 3, hash).unwrap();
            assert!(without == home || home == 3);
            // The order of the list makes no difference.
            let mut turned = pool(&weights);
            turned.targets.reverse();
            assert_eq!(hashed(&turned, &all, hash), Some(4 - home));
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = keys * u64::from(weight) / 16;
            assert!(count.abs_diff(share) < keys / 100, "{counts:?}");
        }
    }
}
