use super::*;
use crate::pool::balance::tests::pool;
use crate::pool::candidates::tests::{all, only};
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// |count·W − k·w| for each target, checked against Tijdeman's bound, (1 − 1/(2n−2))·W.
fn assert_bound(weights: &[u32], counts: &[u64], k: u64, context: &str) {
    let total: i128 = weights.iter().map(|w| i128::from(*w)).sum();
    let n = weights.iter().filter(|w| **w > 0).count() as i128;
    for (i, (weight, count)) in weights.iter().zip(counts).enumerate() {
        let error = (i128::from(*count) * total - i128::from(k) * i128::from(*weight)).abs();
        let (units, most) = if n > 1 {
            (2 * n - 2, 2 * n - 3)
        } else {
            (1, 0)
        };
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
        let mut robin = RoundRobin::new(pool.targets.len(), rotation);
        let mut counts = vec![0; weights.len()];
        for k in 1..2000 {
            counts[robin.pick(&all(&pool)).unwrap().get()] += 1;
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
        let mut robin = RoundRobin::new(pool.targets.len(), rotation);
        for _ in 0..3 {
            let mut counts = vec![0; weights.len()];
            for _ in 0..total {
                counts[robin.pick(&all(&pool)).unwrap().get()] += 1;
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
        let mut robins: Vec<_> = (0..workers).map(|w| RoundRobin::new(pool.targets.len(), w as u64)).collect();
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0_u32; weights.len()];
        for turn in &turns {
            counts[robins[*turn as usize % workers].pick(&all(&pool)).unwrap().get()] += 1;
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
    let weights: Vec<u32> = (0..60)
        .map(|i| if i < 3 { 100 } else { 1 + i % 7 })
        .collect();
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
    let mut robin = RoundRobin::new(pool.targets.len(), 0);
    let mut counts = vec![0; weights.len()];
    for k in 1..=total as u64 {
        counts[robin.pick(&all(&pool)).unwrap().get()] += 1;
        assert_bound(&weights, &counts, k, "ours");
    }
}

#[test]
fn workers_begin_with_different_targets() {
    let pool = pool(&[1, 1, 1, 1]);
    for rotation in 0..8 {
        let first = RoundRobin::new(pool.targets.len(), rotation).pick(&all(&pool));
        assert_eq!(first, Some(TargetIndex::new(rotation as usize % 4)));
    }
}

#[test]
fn a_set_that_always_changes_is_still_served_in_turn() {
    let pool = pool(&[1, 1, 1, 1]);
    let mut robin = RoundRobin::new(pool.targets.len(), 0);
    let mut counts = [0_i32; 4];
    for k in 0..4000 {
        counts[robin.pick(&only(&pool, |i| i != k % 2)).unwrap().get()] += 1;
    }
    // Targets 0 and 1 are there half of the time, the others always.
    assert!(counts.iter().all(|count| *count > 600), "{counts:?}");
}
