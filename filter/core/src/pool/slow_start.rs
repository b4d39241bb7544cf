//! `slow_start` of a pool: new and recovered targets get a rising part of their weight.
//!
//! A target that has just started has cold caches and no connections, and a balance by load would
//! send it every new request, since it has none in flight. So a factor of its weight rises in a
//! straight line from [`MIN_WEIGHT_PERCENT`] to 1, over `slow_start`. When it began is in the
//! record of [`crate::pool::health`].
//!
//! `least_connections` and `least_response_time` multiply the target's weight by it. Every other
//! balance passes over the target in a part of its choices ([`passes`]): a hash then chooses among
//! the others, and turns are replaced by draws, since a set that changes with each request has no
//! turns.

use crate::index::TargetIndex;
use crate::siphash::mixed;
use crate::time::Nanos;

/// The part of its weight that a target has when its slow start begins, in percent. As Envoy's
/// `min_weight_percent`: with less it would hardly be tried.
pub const MIN_WEIGHT_PERCENT: u32 = 10;

/// The part of its weight that a target has, above 0 and at most 1. `slow_start`: the pool's, 0 for
/// none. `begun`: when the target's slow start begins or began; None: it never had one.
pub fn factor(slow_start: Nanos, begun: Option<Nanos>, now: Nanos) -> f64 {
    // Before it begins the weight is whole: the target is ejected and used all the same, or the
    // clock was set back.
    let age = begun.and_then(|begun| now.checked_sub(begun));
    match age {
        Some(age) if age < slow_start => {
            let risen = age.get() as f64 / slow_start.get() as f64;
            risen.max(f64::from(MIN_WEIGHT_PERCENT) / 100.0)
        }
        _ => 1.0,
    }
}

/// Whether a target with this factor takes part in one choice: as often as the factor says, over
/// all values of `random`. Targets are passed over independently of each other.
pub fn passes(factor: f64, random: u64, target: TargetIndex) -> bool {
    // In 53 bits, which an `f64` holds exactly.
    let drawn = mixed(random ^ mixed(target.get() as u64)) >> 11;
    (drawn as f64) < factor * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn weight_rises_in_a_straight_line_from_a_tenth_to_the_whole() {
        const BEGUN: Nanos = Nanos::from_secs(1_800_000_000);
        let after = |seconds| {
            factor(
                Nanos::from_secs(20),
                Some(BEGUN),
                BEGUN + Nanos::from_secs(seconds),
            )
        };
        for (seconds, expected) in [
            (0, 0.1),
            (1, 0.1),
            (2, 0.1),
            (3, 0.15),
            (10, 0.5),
            (19, 0.95),
            (20, 1.0),
            (1000, 1.0),
        ] {
            assert_eq!(after(seconds), expected, "after {seconds} s");
        }
    }

    #[test]
    fn weight_is_whole_without_a_slow_start_and_before_it_begins() {
        const NOW: Nanos = Nanos::from_secs(1_800_000_000);
        let slow_start = Nanos::from_secs(20);
        assert_eq!(factor(slow_start, None, NOW), 1.0);
        assert_eq!(factor(Nanos::ZERO, Some(NOW), NOW), 1.0);
        let later = Some(NOW + Nanos::new(1));
        assert_eq!(factor(slow_start, later, NOW), 1.0);
    }

    #[test]
    fn a_target_takes_part_as_often_as_its_factor_says_whatever_another_does() {
        const CHOICES: u64 = 10_000;
        let [one, other] = [0, 1].map(TargetIndex::new);
        let part = |takes_part: &dyn Fn(u64) -> bool| {
            let choices = (0..CHOICES).filter(|random| takes_part(*random));
            choices.count() as f64 / CHOICES as f64
        };
        for factor in [0.1, 0.5, 0.9] {
            let alone = part(&|random| passes(factor, random, one));
            assert!((alone - factor).abs() < 0.02, "{alone} of {factor}");
            let both = part(&|random| passes(factor, random, one) && passes(factor, random, other));
            assert!((both - factor * factor).abs() < 0.02, "{both} of {factor}²");
        }
        assert_eq!(part(&|random| passes(1.0, random, one)), 1.0);
    }
}
