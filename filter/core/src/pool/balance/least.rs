//! `least_connections` and `least_response_time`: the target that has the least to do.
//!
//! **The score** of a target is (n + u) · t / w: n requests in flight over all workers, u drawn
//! anew from [0, 1) for each choice, t its average response time (1 with `least_connections`), w
//! its weight, times the share that a slow start leaves it. The least wins. Among equals that is a
//! fair draw; between different weights at rest the heavier one goes first about as often as its
//! weight says, so that a light target is not left without any request; and a target that looks
//! slow is tried now and then, so that it is seen when it is not.
//!
//! **What is looked at.** Reading a count is one host call of 65 ns, for each target. So a worker
//! keeps a view of a pool of up to [`VIEWED`] targets, to which it adds its own choices, and looks
//! at all again when the last look is [`FRESH`] ago; of the two that are best by the view it asks
//! for the counts as they are now. A busy worker makes two calls for a choice, one that has little
//! to do makes one for each target. In larger pools two targets are drawn by weight, and the better
//! one is taken (M. Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
//!
//! **What was compared.** 8 workers, 20 targets that serve 8 requests at a time each, Poisson
//! arrivals, service times from a bounded Pareto distribution (shape 1.5, 2 ms to 1 s: nine of ten
//! take less than 10 ms, one of a thousand 200); every fourth target is half as fast. The oracle
//! knows how long everything that a target has will take, and sends a request to where it will be
//! finished first. Milliseconds; `cargo test --release -p pointsman-core balance_by_load --
//! --ignored --nocapture`:
//!
//! | 75 % of the capacity | p50 | p99 | p99.9 | p99 over the oracle's |
//! |---|---|---|---|---|
//! | round robin (it overloads the slow ones) | 4.7 | 6669 | 7506 | 156 |
//! | `least_connections` | 3.6 | 50.3 | 223 | 1.18 |
//! | `least_response_time` | 3.6 | 48.4 | 209 | 1.13 |
//! | the same, peak EWMA (Finagle, linkerd) | 7.4 | 51.9 | 217 | 1.22 |
//! | hot-cold rule (Prequal, NSDI 2024), three drawn | 5.1 | 50.6 | 219 | 1.19 |
//! | oracle | 3.2 | 42.7 | 187 | 1 |
//!
//! At 90 % these p99 are 1.13, 1.11, 1.33 and 1.28 times the oracle's; with 200 targets, two of
//! which are drawn, 1.19, 1.14, 1.20 and 1.17; with 2 and 32 workers as with 8. With a heavy tail a
//! peak says little of a target and much of one request, so `least_response_time` takes the plain
//! average; the hot-cold rule needs no more to lose to it, since here every count in flight is
//! known and not only those of the few that were probed.

use super::random;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::siphash::mixed;
use crate::time::Nanos;

/// Up to so many targets are looked at together. All gauges then cost 4 µs each 10 ms, and a choice
/// passes over a view of 256 bytes; where pools are larger, two choices are as good as all.
pub const VIEWED: usize = 64;

/// How old a view may be: what the issue of a choice may not know of other workers.
pub const FRESH: Nanos = Nanos::from_millis(10);

/// What one worker knows of the counts of one pool.
#[derive(Debug, Default)]
pub struct Least {
    /// For each target; empty in large pools.
    view: Vec<u32>,
    /// When it was looked at. None: never.
    looked: Option<Nanos>,
}

/// What a choice is made from.
pub struct Load<'a> {
    /// Whether a target can be chosen.
    pub usable: &'a dyn Fn(TargetIndex) -> bool,
    /// The part of its weight that a target gets for now: above 0, at most 1.
    pub share: &'a dyn Fn(TargetIndex) -> f64,
    /// How many requests a target has in flight now.
    pub in_flight: &'a mut dyn FnMut(TargetIndex) -> u32,
    /// How long a target takes to answer, in any unit. None: it does not matter.
    pub time: Option<&'a dyn Fn(TargetIndex) -> f64>,
}

impl Load<'_> {
    /// The score of a target with so many requests in flight.
    fn score(&self, pool: &Pool, target: TargetIndex, in_flight: u32, roll: u64) -> f64 {
        let weight = pool.target(target).map_or(1, |target| target.weight);
        let time = self.time.map_or(1.0, |time| time(target));
        (f64::from(in_flight) + noise(roll, target)) * time
            / (f64::from(weight) * (self.share)(target))
    }
}

/// u of a target, in [0, 1).
fn noise(roll: u64, target: TargetIndex) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
    (mixed(roll ^ mixed(target.get() as u64)) >> 11) as f64 * SCALE
}

/// A target with its score.
type Scored = Option<(TargetIndex, f64)>;

impl Least {
    /// The target with the least to do among those that take new requests and are usable. None:
    /// there is no such target. A clock that is set back makes the view old.
    pub fn pick(
        &mut self,
        pool: &Pool,
        load: &mut Load<'_>,
        roll: u64,
        now: Nanos,
    ) -> Option<TargetIndex> {
        let two = match pool.targets.len() <= VIEWED {
            true => self.best_two(pool, load, roll, now),
            false => two_drawn(pool, load.usable, roll),
        };
        let mut best: Scored = None;
        for target in two.into_iter().flatten() {
            let in_flight = (load.in_flight)(target);
            if let Some(seen) = self.view.get_mut(target.get()) {
                *seen = in_flight;
            }
            let score = load.score(pool, target, in_flight, roll);
            if best.is_none_or(|(_, least)| score < least) {
                best = Some((target, score));
            }
        }
        let (chosen, _) = best?;
        if let Some(seen) = self.view.get_mut(chosen.get()) {
            *seen = seen.saturating_add(1);
        }
        Some(chosen)
    }

    /// The best by the view, and the best of the others.
    fn best_two(
        &mut self,
        pool: &Pool,
        load: &mut Load<'_>,
        roll: u64,
        now: Nanos,
    ) -> [Option<TargetIndex>; 2] {
        let age = self.looked.and_then(|looked| now.checked_sub(looked));
        if age.is_none_or(|age| age >= FRESH) {
            self.view.clear();
            self.view
                .extend(pool.target_indices().map(&mut load.in_flight));
            self.looked = Some(now);
        }
        let (mut first, mut second): (Scored, Scored) = (None, None);
        for ((i, target), in_flight) in pool.indexed_targets().zip(&self.view) {
            if !(target.takes_new() && (load.usable)(i)) {
                continue;
            }
            let score = load.score(pool, i, *in_flight, roll);
            if first.is_none_or(|(_, least)| score < least) {
                second = first;
                first = Some((i, score));
            } else if second.is_none_or(|(_, least)| score < least) {
                second = Some((i, score));
            }
        }
        [first, second].map(|scored| scored.map(|(target, _)| target))
    }
}

/// Two targets, drawn by weight.
fn two_drawn(
    pool: &Pool,
    usable: &dyn Fn(TargetIndex) -> bool,
    roll: u64,
) -> [Option<TargetIndex>; 2] {
    let Some((first, _)) = random(pool, usable, mixed(roll)) else {
        return [None, None];
    };
    let second = random(pool, &|other| other != first && usable(other), mixed(!roll));
    [Some(first), second.map(|(second, _)| second)]
}

#[cfg(test)]
mod tests;
