//! `least_connections` and `least_response_time`: the target that has the least to do.
//!
//! **The score** of a target is (n + u) · t / w: n requests in flight over all workers, u drawn
//! anew from [0, 1) for each choice, t its average response time (1 with `least_connections`), w
//! its weight, times its slow start factor. The least wins. Among equals that is a
//! fair draw; between different weights at rest the heavier one goes first about as often as its
//! weight says, so that a light target is not left without any request; and a target that looks
//! slow is tried now and then, so that it is seen when it is not.
//!
//! **What is read.** Reading a count is one host call of 65 ns, for each target. So a worker keeps
//! a view of a pool of up to [`MAX_VIEW`] targets, to which it adds its own choices, and reads all
//! counts again when the view is [`VIEW_TTL`] old; of the two that are best by the view it asks for
//! the counts as they are now. A busy worker makes two calls for a choice, one that has little to
//! do makes one for each target. In larger pools two targets are drawn by weight, and the better
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

use crate::index::TargetIndex;
use crate::pool::balance::random;
use crate::pool::candidates::Candidates;
use crate::siphash::mixed;
use crate::time::Nanos;

/// What one worker knows of the requests in flight of one pool.
#[derive(Debug, Default)]
pub struct LeastConnections {
    /// For each target of the pool; empty in large pools.
    view: Vec<u32>,
    /// When the counts of the view were read. None: never.
    viewed: Option<Nanos>,
}

/// What the targets of a pool have to do.
pub trait Load {
    /// How many requests a target has in flight now, over all workers.
    fn in_flight(&mut self, target: TargetIndex) -> u32;

    /// How long a target takes to answer, in any unit; the same for all where that does not matter.
    fn response_time(&self, target: TargetIndex) -> f64;
}

/// A target with its score.
type Scored = Option<(TargetIndex, f64)>;

impl LeastConnections {
    /// The candidate with the least to do. None: there is no candidate. A clock that is set back
    /// makes the view old.
    pub fn pick(
        &mut self,
        candidates: &Candidates,
        load: &mut dyn Load,
        random: u64,
        now: Nanos,
    ) -> Option<TargetIndex> {
        let two = match candidates.weights().len() <= MAX_VIEW {
            true => self.best_two(candidates, load, random, now),
            false => draw_two(candidates, random),
        };
        let mut best: Scored = None;
        for target in two.into_iter().flatten() {
            let in_flight = load.in_flight(target);
            if let Some(seen) = self.view.get_mut(target.get()) {
                *seen = in_flight;
            }
            let score = score(candidates, load, target, in_flight, random);
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
        candidates: &Candidates,
        load: &mut dyn Load,
        random: u64,
        now: Nanos,
    ) -> [Option<TargetIndex>; 2] {
        let age = self.viewed.and_then(|viewed| now.checked_sub(viewed));
        if age.is_none_or(|age| age >= VIEW_TTL) {
            let targets = (0..candidates.weights().len()).map(TargetIndex::new);
            self.view.clear();
            self.view
                .extend(targets.map(|target| load.in_flight(target)));
            self.viewed = Some(now);
        }
        let (mut first, mut second): (Scored, Scored) = (None, None);
        for (target, _) in candidates.iter() {
            let in_flight = self.view.get(target.get()).copied().unwrap_or_default();
            let score = score(candidates, load, target, in_flight, random);
            if first.is_none_or(|(_, least)| score < least) {
                second = first;
                first = Some((target, score));
            } else if second.is_none_or(|(_, least)| score < least) {
                second = Some((target, score));
            }
        }
        [first, second].map(|scored| scored.map(|(target, _)| target))
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

/// The score of a target with so many requests in flight.
fn score(
    candidates: &Candidates,
    load: &dyn Load,
    target: TargetIndex,
    in_flight: u32,
    random: u64,
) -> f64 {
    (f64::from(in_flight) + noise(random, target)) * load.response_time(target)
        / candidates.effective_weight(target)
}

/// u of a target, in [0, 1).
fn noise(random: u64, target: TargetIndex) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
    (mixed(random ^ mixed(target.get() as u64)) >> 11) as f64 * SCALE
}

/// The largest pool that is viewed as a whole. All gauges then cost 4 µs each 10 ms, and a choice
/// passes over a view of 256 bytes; where pools are larger, two choices are as good as all.
pub const MAX_VIEW: usize = 64;

/// How old a view may be: for so long a choice may not know what other workers did.
pub const VIEW_TTL: Nanos = Nanos::from_millis(10);

#[cfg(test)]
mod tests;
