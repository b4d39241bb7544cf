//! `least_connections` and `least_response_time`: the target that has the least to do.
//!
//! **The score** of a target is (n + u) · t / w: n requests in flight over all workers, u drawn
//! anew from [0, 1) for each choice, t its average response time (1 with `least_connections`), w
//! its weight, times its slow start factor. The least wins. Among equals that is a
//! fair draw; between different weights at rest the heavier one goes first about as often as its
//! weight says, so that a light target is not left without any request; and a target that looks
//! slow is tried now and then, so that it is seen when it is not.
//!
//! **What is read.** A worker knows its own requests exactly. Those of the others are one host call
//! of 65 ns for each target, so what was read is taken for true for [`MAX_AGE`]. While the worker
//! has little to do (see [`Pace`]), it asks again for the two that look best. So a busy worker makes
//! no call for most choices. In pools of more than [`MAX_COMPARED`] targets two are drawn by weight,
//! and the better one is taken (M. Mitzenmacher, "The power of two choices in randomized load
//! balancing", 2001).
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
//! | `least_connections` | 4.6 | 51.6 | 223 | 1.21 |
//! | `least_response_time` | 4.8 | 50.3 | 213 | 1.18 |
//! | the same, peak EWMA (Finagle, linkerd) | 7.5 | 54.9 | 219 | 1.29 |
//! | hot-cold rule (Prequal, NSDI 2024), three drawn | 5.1 | 50.6 | 219 | 1.19 |
//! | oracle | 3.2 | 42.7 | 187 | 1 |
//!
//! At 90 % these p99 are 1.21, 1.22, 1.43 and 1.28 times the oracle's; with 200 targets, two of
//! which are drawn, 1.21, 1.16, 1.21 and 1.17; with 2 workers 1.17 and 1.09, with 32 workers 1.26
//! and 1.21. (The hot-cold rule and the oracle are told every count as it is. Each of the 8 workers
//! has 2,300 requests/s, so the others know its counts as they were up to 5 ms ago, and it knows
//! theirs as they were shared up to 10 ms ago. Were all counts known at once, `least_connections`
//! would be at 1.18 here, and `least_response_time` at 1.13.) With a heavy tail a peak says little
//! of a target and much of one request, so `least_response_time` takes the plain average.

use crate::index::TargetIndex;
use crate::pool::balance::random;
use crate::pool::candidates::Candidates;
use crate::pool::pace::Pace;
use crate::siphash::mixed;
use crate::time::Nanos;

/// What one worker knows of the requests that other workers have in flight in one pool.
#[derive(Debug, Default)]
pub struct LeastConnections {
    /// For each target of the pool. Empty until the first choice.
    seen: Vec<Seen>,
    /// Of asking again for what is known.
    pace: Pace,
}

/// The requests of other workers at one target.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    others: u32,
    /// When that was read. None: never.
    at: Option<Nanos>,
}

/// What the targets of a pool have to do.
pub trait Load {
    /// How many requests all other workers have in flight at a target. A host call.
    fn others(&mut self, target: TargetIndex) -> u32;

    /// How many this worker has.
    fn own(&self, target: TargetIndex) -> u32;

    /// How long a target takes to answer, in any unit; the same for all where that does not matter.
    fn response_time(&self, target: TargetIndex) -> f64;
}

/// A target with its score.
type Scored = Option<(TargetIndex, f64)>;

impl LeastConnections {
    /// The candidate with the least to do. None: there is no candidate.
    pub fn pick(
        &mut self,
        candidates: &Candidates,
        load: &mut dyn Load,
        random: u64,
        now: Nanos,
    ) -> Option<TargetIndex> {
        let size = candidates.weights().len();
        if self.seen.len() != size {
            self.seen.resize(size, Seen::default());
        }
        let is_compared = size <= MAX_COMPARED;
        let two = match is_compared {
            true => self.best_two(candidates, load, random, now),
            false => draw_two(candidates, random),
        };
        match self.pace.allows(now) {
            true => two
                .into_iter()
                .flatten()
                .for_each(|target| self.look_again(load, target, now)),
            false if is_compared => return two[0],
            false => {}
        }
        let mut best: Scored = None;
        for target in two.into_iter().flatten() {
            let score = self.score(candidates, load, target, random, now);
            if best.is_none_or(|(_, least)| score < least) {
                best = Some((target, score));
            }
        }
        best.map(|(target, _)| target)
    }

    /// The best, and the best of the others.
    fn best_two(
        &mut self,
        candidates: &Candidates,
        load: &mut dyn Load,
        random: u64,
        now: Nanos,
    ) -> [Option<TargetIndex>; 2] {
        let (mut first, mut second): (Scored, Scored) = (None, None);
        for (target, _) in candidates.iter() {
            let score = self.score(candidates, load, target, random, now);
            if first.is_none_or(|(_, least)| score < least) {
                second = first;
                first = Some((target, score));
            } else if second.is_none_or(|(_, least)| score < least) {
                second = Some((target, score));
            }
        }
        [first, second].map(|scored| scored.map(|(target, _)| target))
    }

    /// The score of a target. What others have is read where it is not known, or too old; a clock
    /// that is set back makes it too old.
    fn score(
        &mut self,
        candidates: &Candidates,
        load: &mut dyn Load,
        target: TargetIndex,
        random: u64,
        now: Nanos,
    ) -> f64 {
        let Some(seen) = self.seen.get_mut(target.get()) else {
            return f64::INFINITY;
        };
        let age = seen.at.and_then(|at| now.checked_sub(at));
        if age.is_none_or(|age| age >= MAX_AGE) {
            seen.others = load.others(target);
            seen.at = Some(now);
        }
        let in_flight = seen.others.saturating_add(load.own(target));
        (f64::from(in_flight) + noise(random, target)) * load.response_time(target)
            / candidates.effective_weight(target)
    }

    /// Reads what others have, if that was read before `now`.
    fn look_again(&mut self, load: &mut dyn Load, target: TargetIndex, now: Nanos) {
        let seen = self.seen.get_mut(target.get());
        if let Some(seen) = seen.filter(|seen| seen.at != Some(now)) {
            seen.others = load.others(target);
            seen.at = Some(now);
        }
    }
}

/// Two candidates, drawn by weight.
fn draw_two(candidates: &Candidates, random: u64) -> [Option<TargetIndex>; 2] {
    let Some((first, _)) = random::pick(candidates, mixed(random)) else {
        return [None, None];
    };
    let weights = candidates.weights().iter().enumerate();
    let others = weights.map(|(place, weight)| if place == first.get() { 0 } else { *weight });
    let second = random::pick_weighted(others, mixed(!random));
    [
        Some(first),
        second.map(|(second, _)| TargetIndex::new(second)),
    ]
}

/// u of a target, in [0, 1).
fn noise(random: u64, target: TargetIndex) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
    (mixed(random ^ mixed(target.get() as u64)) >> 11) as f64 * SCALE
}

/// The largest pool of which all targets are compared. All gauges then cost 4 µs each 10 ms; where
/// pools are larger, two choices are as good as all.
pub const MAX_COMPARED: usize = 64;

/// For so long a choice may not know what other workers shared.
pub const MAX_AGE: Nanos = Nanos::from_millis(10);

#[cfg(test)]
mod tests;
