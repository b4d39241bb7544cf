//! `random`, and draws by weight in general: of the part of a `split`, of the targets that the
//! proxy tries after a failure.
//!
//! The range [0, 1) is cut into parts by weight, in their order. A draw hands back what it did not
//! use of its random number, so that one number serves a split, the pool in it, and the retries.

use crate::index::TargetIndex;
use crate::pool::candidates::Candidates;

/// A draw by weight among the candidates, and what remains of the random number. None: there is no
/// candidate.
pub fn pick(candidates: &Candidates, random: u64) -> Option<(TargetIndex, u64)> {
    let (target, rest) = pick_weighted(candidates.weights().iter().copied(), random)?;
    Some((TargetIndex::new(target), rest))
}

/// The part of [0, 1) into which `random` (in units of 2^−64) falls, where the parts lie side by
/// side in their order, each as wide as its share of the weights; and what remains of the random
/// number, again spread over [0, 2^64). None: all weights are 0.
///
/// Source: Lemire, "Fast random integer generation in an interval", 2019: a product in place of a
/// division.
#[expect(
    clippy::cast_possible_truncation,
    reason = "below the width, which is the weight times 2^64"
)]
pub fn pick_weighted(
    weights: impl Iterator<Item = u32> + Clone,
    random: u64,
) -> Option<(usize, u64)> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if let Ok(total) = u32::try_from(total) {
        return pick_in_u64(weights, random, total);
    }
    let mut rest = u128::from(random) * u128::from(total);
    for (i, weight) in weights.enumerate() {
        let width = u128::from(weight) << 64;
        if rest < width {
            return Some((i, (rest / u128::from(weight)) as u64));
        }
        rest -= width;
    }
    None
}

/// The same in numbers of 64 bits, where the weights together have 32: what has 128 is a call on the
/// machine that a filter runs on.
fn pick_in_u64(
    weights: impl Iterator<Item = u32>,
    random: u64,
    total: u32,
) -> Option<(usize, u64)> {
    const LOW: u64 = u32::MAX as u64;
    let total = u64::from(total);
    // random * total, in units of 2^64 and of 1.
    let (high, low) = ((random >> 32) * total, (random & LOW) * total);
    let high = high + (low >> 32);
    let (mut units, low) = (high >> 32, (high << 32) | (low & LOW));
    for (i, weight) in weights.enumerate() {
        let weight = u64::from(weight);
        if units < weight {
            // A long division by a number of 32 bits, 32 bits at a time.
            let first = (units << 32) | (low >> 32);
            let second = ((first % weight) << 32) | (low & LOW);
            return Some((i, ((first / weight) << 32) | (second / weight)));
        }
        units -= weight;
    }
    None
}

#[cfg(test)]
mod tests;
