//! `round_robin`: exact shares over every whole cycle of the weights, smooth in between.
//!
//! It is Tijdeman's algorithm for the chairman assignment problem (R. Tijdeman, "The chairman
//! assignment problem", Discrete Mathematics 32, 1980). After any number k of requests, each of n
//! targets with weight w out of W has got k·w/W requests up to an error of at most 1 − 1/(2n−2),
//! and no algorithm can promise less. The usual "smooth weighted round robin" (nginx) has no such
//! bound and errs by more than 1 with many targets. Each worker counts for itself, which costs no
//! host call: errors below 1 each, N workers together err by less than N, and over whole cycles of
//! the weights not at all.

use crate::index::TargetIndex;
use crate::pool::candidates::Candidates;
use std::ops::{Mul, Sub};

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
    /// Whether all products have 64 bits. What has 128 is a call on the machine that a filter runs
    /// on.
    is_narrow: bool,
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// 0: takes no part.
    weight: u32,
    /// `total` times what the target should have got so far, less what it has got. Always within
    /// ±`total`, and 0 after every whole cycle.
    due: i64,
}

impl RoundRobin {
    /// For a pool of so many targets. `rotation` is any number that differs between workers (a
    /// random one will do): it decides ties, so that not every worker begins with the same target.
    pub fn new(targets: usize, rotation: u64) -> RoundRobin {
        RoundRobin {
            turns: vec![Turn::default(); targets],
            total: 0,
            count: 0,
            first: 0,
            next_first: rotation % (targets as u64).max(1),
            is_narrow: true,
        }
    }

    /// The candidate whose turn it is. None: there is no candidate.
    ///
    /// When the candidates or their weights change, a new cycle begins, and ties go on after the
    /// last target chosen, so that even a set that changes with every request is served in turn.
    pub fn pick(&mut self, candidates: &Candidates) -> Option<TargetIndex> {
        if self.follow(candidates) {
            self.total = self.turns.iter().map(|turn| u64::from(turn.weight)).sum();
            self.count = self.turns.iter().filter(|turn| turn.weight > 0).count() as u64;
            self.turns.iter_mut().for_each(|turn| turn.due = 0);
            self.first = self.next_first;
            // What is due is at most twice the total, so what is left at most thrice the units.
            let total = u128::from(self.total);
            let most = 3 * u128::from(units(self.count)) * total * total;
            self.is_narrow = most < i64::MAX as u128;
        }
        let chosen = match self.is_narrow {
            true => self.due_soonest::<i64>(),
            false => self.due_soonest::<i128>(),
        }?;
        if let Some(turn) = self.turns.get_mut(chosen) {
            turn.due -= self.total as i64;
        }
        self.next_first = (chosen as u64 + 1) % self.turns.len() as u64;
        Some(TargetIndex::new(chosen))
    }

    /// Gives every target what it should get of one request, and returns the one that is to be
    /// served. In numbers that hold what [`RoundRobin::is_narrow`] says.
    #[inline]
    fn due_soonest<N>(&mut self) -> Option<usize>
    where
        N: Copy + Ord + From<i64> + Mul<Output = N> + Sub<Output = N>,
    {
        // In units of 1/(2n−2) of a request times `total`: a target may be served once it is due at
        // least 1 unit, and must be before it is due more than 2n−3 of them. Of those that may, the
        // one whose time is up first is served. A lone target, for which the unit does not exist,
        // is always due.
        let units = units(self.count);
        let (total, wide) = (N::from(self.total as i64), N::from(units as i64));
        let most = N::from(units as i64 - 1) * total;
        let size = self.turns.len() as u64;
        let mut best: Option<(usize, N, u32, u64)> = None;
        for (i, turn) in self.turns.iter_mut().enumerate() {
            if turn.weight == 0 {
                continue;
            }
            turn.due += i64::from(turn.weight);
            let due = wide * N::from(turn.due);
            if due < total {
                continue;
            }
            // The time that is left is `left / weight` requests, up to a factor that is the same
            // for all.
            let left = most - due;
            let place = i as u64 + size - self.first;
            let place = place.checked_sub(size).unwrap_or(place);
            let sooner = best.is_none_or(|(_, least, weight, nearest)| {
                let of = |weight: u32| N::from(i64::from(weight));
                let (ours, theirs) = (left * of(weight), least * of(turn.weight));
                (ours, place) < (theirs, nearest)
            });
            if sooner {
                best = Some((i, left, turn.weight, place));
            }
        }
        best.map(|(chosen, ..)| chosen)
    }

    /// Takes over the weights of the candidates. True: they changed.
    fn follow(&mut self, candidates: &Candidates) -> bool {
        let mut changed = false;
        for (turn, weight) in self.turns.iter_mut().zip(candidates.weights()) {
            changed |= turn.weight != *weight;
            turn.weight = *weight;
        }
        changed
    }
}

/// How many units a request has among so many targets.
fn units(count: u64) -> u64 {
    (2 * count).saturating_sub(2).max(1)
}

#[cfg(test)]
mod tests;
