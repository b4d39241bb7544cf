//! The targets among which a request's target is chosen, as a value: it is computed once for each
//! pool that a request tries, and every rule of [`crate::pool::balance`] chooses from it.

use crate::index::TargetIndex;
use crate::pool::{Pool, slow_start};

/// The weight of each target of one pool in one choice; 0 where the target cannot be chosen. A
/// worker has one of them and fills it anew for each choice, so that a choice allocates nothing.
#[derive(Debug, Default)]
pub struct Candidates {
    /// In the order of the pool's targets.
    weights: Vec<u32>,
    /// The slow start factor of each target. Empty: all are 1.
    factors: Vec<f64>,
}

impl Candidates {
    /// Replaces the candidates: every target of `pool` that takes new requests and is `eligible`.
    pub fn collect(&mut self, pool: &Pool, mut eligible: impl FnMut(TargetIndex) -> bool) {
        self.factors.clear();
        self.weights.clear();
        let weights = pool.indexed_targets().map(|(target, with)| {
            match with.takes_new() && eligible(target) {
                true => with.weight,
                false => 0,
            }
        });
        self.weights.extend(weights);
    }

    /// Removes the candidates that are not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(TargetIndex) -> bool) {
        for (place, weight) in self.weights.iter_mut().enumerate() {
            if *weight > 0 && !keep(TargetIndex::new(place)) {
                *weight = 0;
            }
        }
    }

    /// Removes one candidate.
    pub fn remove(&mut self, target: TargetIndex) {
        if let Some(weight) = self.weights.get_mut(target.get()) {
            *weight = 0;
        }
    }

    /// Sets the slow start factor of each candidate: the part of its weight that it has for now,
    /// above 0 and at most 1. True: one of them is below 1.
    pub fn slow_down(&mut self, mut factor: impl FnMut(TargetIndex) -> f64) -> bool {
        let factors = self.weights.iter().enumerate();
        let factors = factors.map(|(place, weight)| match weight {
            0 => 1.0,
            _ => factor(TargetIndex::new(place)),
        });
        self.factors.clear();
        self.factors.extend(factors);
        let slow = self.factors.iter().any(|factor| *factor < 1.0);
        if !slow {
            self.factors.clear();
        }
        slow
    }

    /// Removes the candidates that slow start passes over in this choice, unless that were all of
    /// them. What `random` decides for one target says nothing of another.
    pub fn pass_slow_start(&mut self, random: u64) {
        let passes = |(place, factor): (usize, &f64)| {
            slow_start::passes(*factor, random, TargetIndex::new(place))
        };
        let mut candidates = self.factors.iter().enumerate().zip(&self.weights);
        if !candidates.any(|(factor, weight)| *weight > 0 && passes(factor)) {
            return;
        }
        for (factor, weight) in self.factors.iter().enumerate().zip(&mut self.weights) {
            if !passes(factor) {
                *weight = 0;
            }
        }
    }

    /// The configured weight of each target of the pool; 0: it is no candidate.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// The one that there is. None: there are several, or none.
    pub fn only(&self) -> Option<TargetIndex> {
        let mut all = self.iter();
        match (all.next(), all.next()) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        }
    }

    /// Every candidate with its configured weight, in the order of the pool.
    pub fn iter(&self) -> impl Iterator<Item = (TargetIndex, u32)> + '_ {
        let weights = self.weights.iter().enumerate();
        weights
            .filter(|(_, weight)| **weight > 0)
            .map(|(place, weight)| (TargetIndex::new(place), *weight))
    }

    /// The weight of a target times its slow start factor; 0: it is no candidate.
    pub fn effective_weight(&self, target: TargetIndex) -> f64 {
        let weight = self.weights.get(target.get()).copied().unwrap_or_default();
        let factor = self.factors.get(target.get()).copied();
        f64::from(weight) * factor.unwrap_or(1.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pool::{State, Target};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Every target of a pool that takes new requests.
    pub(crate) fn all(pool: &Pool) -> Candidates {
        only(pool, |_| true)
    }

    /// Those of them for which this holds.
    pub(crate) fn only(pool: &Pool, eligible: impl Fn(usize) -> bool) -> Candidates {
        let mut candidates = Candidates::default();
        candidates.collect(pool, |target| eligible(target.get()));
        candidates
    }

    fn pool(targets: &[(u32, State)]) -> Pool {
        let target = |(weight, state): &(u32, State)| Target {
            name: "t".into(),
            cluster: "c".into(),
            endpoint: None,
            weight: *weight,
            state: *state,
            region: None,
            max_in_flight: None,
        };
        Pool {
            targets: targets.iter().map(target).collect(),
            ..Pool::default()
        }
    }

    #[test]
    fn only_what_takes_new_requests_and_is_eligible_is_a_candidate() {
        let pool = pool(&[
            (5, State::Up),
            (0, State::Up),
            (7, State::Draining),
            (8, State::Down),
            (9, State::Up),
            (3, State::Up),
        ]);
        let mut candidates = only(&pool, |target| target != 4);
        assert_eq!(candidates.weights(), [5, 0, 0, 0, 0, 3]);
        let listed: Vec<_> = candidates.iter().collect();
        assert_eq!(listed, [(TargetIndex::new(0), 5), (TargetIndex::new(5), 3)]);
        candidates.retain(|target| target.get() != 0);
        assert_eq!(candidates.weights(), [0, 0, 0, 0, 0, 3]);
        candidates.remove(TargetIndex::new(5));
        assert_eq!(candidates.iter().next(), None);
        // Whatever was done to it, it is as new.
        candidates.collect(&pool, |_| true);
        assert_eq!(candidates.weights(), [5, 0, 0, 0, 9, 3]);
    }

    #[test]
    fn slow_start_scales_weights_and_leaves_with_the_next_choice() {
        let pool = pool(&[(4, State::Up), (0, State::Up), (6, State::Up)]);
        let mut candidates = all(&pool);
        let weights = |candidates: &Candidates| {
            [0, 1, 2].map(|place| candidates.effective_weight(TargetIndex::new(place)))
        };
        assert!(!candidates.slow_down(|_| 1.0));
        // What is no candidate is not asked for.
        let half_of_the_last = |target: TargetIndex| match target.get() {
            0 => 1.0,
            2 => 0.5,
            other => panic!("{other}"),
        };
        assert!(candidates.slow_down(half_of_the_last));
        assert_eq!(weights(&candidates), [4.0, 0.0, 3.0]);
        assert_eq!(candidates.weights(), [4, 0, 6], "as configured");
        candidates.collect(&pool, |_| true);
        assert_eq!(weights(&candidates), [4.0, 0.0, 6.0]);
    }

    #[test]
    fn slow_start_passes_over_targets_as_often_as_their_factor_says_and_never_over_all() {
        let pool = pool(&[(1, State::Up), (1, State::Up), (1, State::Up)]);
        let factors = [1.0, 0.3, 0.0];
        let mut counts = [0_u32; 3];
        for random in 0..10_000 {
            let mut candidates = all(&pool);
            candidates.slow_down(|target| factors[target.get()]);
            candidates.pass_slow_start(random);
            for (count, weight) in counts.iter_mut().zip(candidates.weights()) {
                *count += weight;
            }
            let mut lone = only(&pool, |target| target == 2);
            lone.slow_down(|target| factors[target.get()]);
            lone.pass_slow_start(random);
            assert_eq!(lone.weights(), [0, 0, 1]);
        }
        assert_eq!((counts[0], counts[2]), (10_000, 0));
        assert!((2_700..3_300).contains(&counts[1]), "{counts:?}");
    }
}
