//! `bounded_load` of `consistent_hash`: a target whose keys are too busy gives some of their
//! requests to the next one.
//!
//! Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018,
//! with requests in flight as the load. With the factor c, m requests in flight at the candidates
//! and the new one, a target of weight w out of W has at most ⌈c · (m + 1) · w / W⌉ of them. The
//! request goes to the first target in the order of its key that has room. There is one, since the
//! bounds together are more than m. So
//!
//! - no target has more than ⌈c times its share⌉, however hot a key is;
//! - a key whose target has room is where it would be without the bound, and what is too much of
//!   it is always at the same next targets, of which one serves c/(c − 1) of all keys at most.
//!
//! **How exact.** A worker knows its own requests, and those of the others as
//! [`least_connections`](super::least_connections) does: a worker that has little to do reads all
//! candidates' gauges for each choice, and a busy one each [`MAX_AGE`]; in pools of more than
//! [`MAX_COMPARED`] targets that much less often, so that all reads cost the same. Others share
//! theirs within 5 ms. So a busy proxy passes the bound by what the other workers began at that
//! target within 15 ms, and never stays there.

use crate::index::TargetIndex;
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::balance::least_connections::{Load, MAX_AGE, MAX_COMPARED};
use crate::pool::candidates::Candidates;
use crate::pool::pace::Pace;
use crate::time::Nanos;

/// How much more than its share a target may have: the c of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFactor {
    /// More than 100: Envoy's `hash_balance_factor`.
    pub percent: u32,
}

/// What one worker knows of the requests that other workers have in flight in one pool.
#[derive(Debug, Default)]
pub struct BoundedLoad {
    /// For each target of the pool. Empty until the first choice.
    others: Vec<u32>,
    /// When they were read.
    read_at: Option<Nanos>,
    pace: Pace,
}

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// The target.
    pub target: TargetIndex,
    /// Whether the key belongs to another one, which has no room.
    pub is_moved: bool,
}

impl BoundedLoad {
    /// The candidate that a key's hash belongs to, or the next one that has room. Those that have
    /// none are no candidates any more, if the first has none. None: there is no candidate.
    pub fn pick(
        &mut self,
        factor: LoadFactor,
        hashed: &ConsistentHash,
        candidates: &mut Candidates,
        hash: u64,
        load: &mut dyn Load,
        now: Nanos,
    ) -> Option<Bounded> {
        let own = hashed.pick(candidates, hash)?;
        self.read(candidates, load, now);
        let in_flight = |target: TargetIndex| {
            let others = self.others.get(target.get()).copied();
            u64::from(others.unwrap_or_default()) + u64::from(load.own(target))
        };
        let (mut total, mut weights) = (1_u64, 0_u64);
        for (target, weight) in candidates.iter() {
            total = total.saturating_add(in_flight(target));
            weights += u64::from(weight);
        }
        let weight_of = |target: TargetIndex| candidates.weights().get(target.get()).copied();
        let has_room = |target: TargetIndex, weight: u32| {
            in_flight(target) < factor.most(total, weight, weights)
        };
        if has_room(own, weight_of(own).unwrap_or_default()) {
            return Some(Bounded {
                target: own,
                is_moved: false,
            });
        }
        let with_room: Vec<bool> = (0..)
            .map(TargetIndex::new)
            .zip(candidates.weights())
            .map(|(target, weight)| has_room(target, *weight))
            .collect();
        candidates.retain(|target| with_room.get(target.get()).copied().unwrap_or_default());
        Some(Bounded {
            target: hashed.pick(candidates, hash).unwrap_or(own),
            is_moved: true,
        })
    }

    /// Reads what others have at the candidates, if it is time for that. A clock that is set back
    /// makes it time.
    fn read(&mut self, candidates: &Candidates, load: &mut dyn Load, now: Nanos) {
        let size = candidates.weights().len();
        let longest = MAX_AGE * (size.div_ceil(MAX_COMPARED) as u64);
        let age = self.read_at.and_then(|at| now.checked_sub(at));
        let is_old = self.others.len() != size || age.is_none_or(|age| age >= longest);
        if !is_old && (size > MAX_COMPARED || !self.pace.allows(now)) {
            return;
        }
        self.others.resize(size, 0);
        for (target, _) in candidates.iter() {
            if let Some(others) = self.others.get_mut(target.get()) {
                *others = load.others(target);
            }
        }
        self.read_at = Some(now);
    }
}

impl LoadFactor {
    /// How many of `total` requests a target may have that has `weight` out of `weights`.
    fn most(self, total: u64, weight: u32, weights: u64) -> u64 {
        let product = u128::from(self.percent) * u128::from(total) * u128::from(weight);
        let most = product.div_ceil(100 * u128::from(weights.max(1)));
        u64::try_from(most).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
