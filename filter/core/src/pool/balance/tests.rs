use super::*;
use crate::index::PoolIndex;
use crate::pool::{State, Target};
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
        index: PoolIndex::default(),
        name: "pool".into(),
        balance: Balance::RoundRobin,
        targets: weights.iter().enumerate().map(target).collect(),
        sticky: None,
        ..Pool::default()
    }
}

fn all(_: TargetIndex) -> bool {
    true
}

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
        let mut robin = RoundRobin::new(&pool, rotation);
        let mut counts = vec![0; weights.len()];
        for k in 1..2000 {
            counts[robin.pick(&pool, &all).unwrap().get()] += 1;
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
                counts[robin.pick(&pool, &all).unwrap().get()] += 1;
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
            counts[robins[*turn as usize % workers].pick(&pool, &all).unwrap().get()] += 1;
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
    let mut robin = RoundRobin::new(&pool, 0);
    let mut counts = vec![0; weights.len()];
    for k in 1..=total as u64 {
        counts[robin.pick(&pool, &all).unwrap().get()] += 1;
        assert_bound(&weights, &counts, k, "ours");
    }
}

#[test]
fn workers_begin_with_different_targets() {
    let pool = pool(&[1, 1, 1, 1]);
    for rotation in 0..8 {
        let first = RoundRobin::new(&pool, rotation).pick(&pool, &all);
        assert_eq!(first, Some(TargetIndex::new(rotation as usize % 4)));
    }
}

#[test]
fn a_set_that_always_changes_is_still_served_in_turn() {
    let pool = pool(&[1, 1, 1, 1]);
    let mut robin = RoundRobin::new(&pool, 0);
    let mut counts = [0_i32; 4];
    for k in 0..4000 {
        counts[robin.pick(&pool, &|i| i.get() != k % 2).unwrap().get()] += 1;
    }
    // Targets 0 and 1 are there half of the time, the others always.
    assert!(counts.iter().all(|count| *count > 600), "{counts:?}");
}

#[test]
fn nothing_that_takes_nothing_new_is_chosen() {
    let mut pool = pool(&[5, 0, 5, 5, 5]);
    pool.targets[2].state = State::Draining;
    pool.targets[3].state = State::Down;
    let (first, last) = (TargetIndex::new(0), TargetIndex::new(4));
    let only = |i: TargetIndex| i != last;
    let mut robin = RoundRobin::new(&pool, 3);
    for k in 0..1000_u64 {
        let roll = k.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(robin.pick(&pool, &only), Some(first));
        assert_eq!(random(&pool, &only, roll).unwrap().0, first);
        assert_eq!(Hashed::new(&pool).pick(&pool, &only, roll), Some(first));
        assert_eq!(retries(&pool, &all, first, roll), [last]);
        assert_eq!(robin.pick(&pool, &|_| false), None);
        assert_eq!(random(&pool, &|_| false, roll), None);
        assert_eq!(Hashed::new(&pool).pick(&pool, &|_| false, roll), None);
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
    assert_eq!(
        [at(0.0), at(0.949_999), at(0.950_001), at(0.999_999)],
        [0, 0, 2, 2]
    );
    assert_eq!(
        pick_weighted(weights.iter().copied(), u64::MAX).unwrap().0,
        2
    );
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
        let order = retries(&pool, &all, TargetIndex::new(0), k * (u64::MAX / 8000));
        assert_eq!(order.len(), RETRIES);
        let mut seen = order.clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), RETRIES);
        assert!(!order.contains(&TargetIndex::new(0)));
        firsts[order[0].get()] += 1;
    }
    for (count, share) in firsts.iter().zip([0, 2000, 4000, 1000, 1000]) {
        assert!(count.abs_diff(share) <= 1, "{firsts:?}");
    }
}

#[test]
fn exponential_is_minus_the_logarithm() {
    for bits in (0..64).flat_map(|shift| {
        [
            u64::MAX >> shift,
            0x9e37_79b9_7f4a_7c15 >> shift,
            !0 << shift,
        ]
    }) {
        let fraction = (2.0 * (bits >> 12) as f64 + 1.0) / 2_f64.powi(53);
        let (ours, theirs) = (exponential(bits), -fraction.ln());
        assert!(
            (ours - theirs).abs() <= 4e-16 * theirs,
            "{bits:x}: {ours} {theirs}"
        );
    }
    // The exact bits are part of where sessions go: they must not change with a compiler or a
    // machine.
    assert_eq!(
        exponential(0x0123_4567_89ab_cdef).to_bits(),
        4_617_784_005_365_680_180
    );
}

/// The name of the target that a key belongs to.
fn home(pool: &Pool, hash: u64) -> &str {
    let home = Hashed::new(pool).pick(pool, &all, hash).unwrap();
    &pool.target(home).unwrap().name
}

/// Hashes of keys, the same in every run.
fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|key| {
        let mut hash = SipWriter::new([3; 16]);
        hash.write_u64(key);
        hash.finish()
    })
}

/// Pearson's test: with n targets its statistic is n − 1 on average and exceeds `most` once in
/// a million seeds.
#[test]
fn keys_are_spread_by_weight() {
    for (weights, most) in [
        (vec![1, 1], 24.0),
        (vec![1, 2, 0, 5, 8], 31.0),
        (vec![1, 1000], 24.0),
        ((1..=20).collect(), 61.0),
        (vec![u32::MAX / 4; 3], 28.0),
    ] {
        let pool = pool(&weights);
        let hashed = Hashed::new(&pool);
        let count = 100_000;
        let mut counts = vec![0_u32; weights.len()];
        keys(count).for_each(|key| counts[hashed.pick(&pool, &all, key).unwrap().get()] += 1);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let statistic: f64 = weights
            .iter()
            .zip(&counts)
            .filter(|(weight, count)| **weight > 0 || **count > 0)
            .map(|(weight, found)| {
                let share = count as f64 * f64::from(*weight) / total;
                (f64::from(*found) - share).powi(2) / share
            })
            .sum();
        assert!(statistic < most, "{statistic} for {weights:?}: {counts:?}");
    }
}

proptest! {
    #[test]
    fn keys_move_only_to_or_from_the_target_that_changed(
        weights in prop::collection::vec(prop_oneof![0_u32..4, 1_u32..1000, Just(u32::MAX / 32)], 2..24),
        changed: prop::sample::Index,
        weight in 0_u32..2000,
        seed: u64,
    ) {
        let before = pool(&weights);
        let changed = changed.index(weights.len());
        let name = before.targets[changed].name.clone();
        let mut after = pool(&weights);
        after.targets[changed].weight = weight;
        let mut without = pool(&weights);
        without.targets.remove(changed);
        for key in keys(50).map(|key| key ^ seed) {
            // Removed (read backwards: added), or not usable: only its own keys move, and to
            // the same targets.
            let (is, otherwise) = (Hashed::new(&before).pick(&before, &all, key), Hashed::new(&without).pick(&without, &all, key));
            let named = |pool: &Pool, target: Option<TargetIndex>| target.map(|target| pool.targets[target.get()].name.clone());
            let (is, otherwise) = (named(&before, is), named(&without, otherwise));
            prop_assert!(is == otherwise || is.as_ref() == Some(&name));
            let unusable = Hashed::new(&before).pick(&before, &|i| i.get() != changed, key);
            prop_assert_eq!(named(&before, unusable), otherwise);
            // More weight only brings it keys, less only takes some.
            let now = named(&after, Hashed::new(&after).pick(&after, &all, key));
            if now != is {
                let gained = now.as_ref() == Some(&name);
                prop_assert!(gained || is.as_ref() == Some(&name));
                prop_assert_eq!(gained, weight > weights[changed]);
            }
        }
    }

    #[test]
    fn shortcut_changes_no_choice(
        weights in prop::collection::vec(prop_oneof![0_u32..4, 1_u32..1000, Just(u32::MAX / 64)], 1..64),
        hashes in prop::collection::vec(any::<u64>(), 50),
    ) {
        let pool = pool(&weights);
        let hashed = Hashed::new(&pool);
        for hash in hashes {
            let wait = |i: &usize| exponential(mixed(hash ^ hashed.names[*i])) / f64::from(weights[*i]);
            let slow = (0..weights.len())
                .filter(|i| weights[*i] > 0)
                .min_by(|a, b| wait(a).total_cmp(&wait(b)));
            prop_assert_eq!(hashed.pick(&pool, &all, hash), slow.map(TargetIndex::new));
        }
    }

    #[test]
    fn bound_is_below_the_logarithm(bits: u64, shift in 0_u32..64) {
        for bits in [bits, bits >> shift, !(bits >> shift)] {
            prop_assert!(at_least(bits) < exponential(bits), "{bits:x}");
        }
    }
}

#[test]
fn names_decide_and_neither_places_nor_addresses() {
    let whole = pool(&[1, 2, 3, 4, 5]);
    let mut turned = pool(&[1, 2, 3, 4, 5]);
    turned.targets.rotate_left(2);
    turned.targets.swap(0, 3);
    for target in &mut turned.targets {
        target.cluster = "moved".into();
    }
    let mut renamed = pool(&[1, 2, 3, 4, 5]);
    renamed.targets[4].name = "another".into();
    let mut moved = 0;
    for key in keys(2000) {
        assert_eq!(home(&whole, key), home(&turned, key));
        moved += u32::from(home(&whole, key) == "target-4" && home(&renamed, key) != "another");
    }
    assert!(moved > 0, "another name draws other keys");
}

/// Proxies of different versions and machines have to agree: these must not change.
#[test]
fn keys_have_the_homes_that_they_always_had() {
    let pool = pool(&[1, 2, 3, 4, 5]);
    let homes: Vec<_> = keys(16)
        .map(|key| Hashed::new(&pool).pick(&pool, &all, key).unwrap().get())
        .collect();
    assert_eq!(homes, [4, 4, 2, 3, 0, 3, 3, 2, 3, 4, 3, 4, 2, 0, 3, 4]);
}

/// For the figures at the top; it promises nothing.
#[test]
#[ignore = "prints times"]
fn time_of_a_hashed_choice() {
    for targets in [3, 20, 200, 2000, 10_000] {
        let pool = pool(&(0..targets).map(|i| 1 + i * 5 % 8).collect::<Vec<_>>());
        let hashed = Hashed::new(&pool);
        let count = 1_000_000 / targets;
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let begin = std::time::Instant::now();
                keys(count.into()).for_each(|key| {
                    std::hint::black_box(hashed.pick(&pool, &all, key));
                });
                begin.elapsed() / count
            })
            .collect();
        times.sort_unstable();
        println!(
            "{targets} targets: {:?} ({:?} to {:?})",
            times[4], times[0], times[8]
        );
    }
}
