use super::*;
use crate::pool::balance::tests::pool;
use crate::pool::candidates::tests::{all, only};
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
    let home = ConsistentHash::new(pool).pick(&all(pool), hash).unwrap();
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
        let hashed = ConsistentHash::new(&pool);
        let count = 100_000;
        let mut counts = vec![0_u32; weights.len()];
        keys(count).for_each(|key| counts[hashed.pick(&all(&pool), key).unwrap().get()] += 1);
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
            let (is, otherwise) = (ConsistentHash::new(&before).pick(&all(&before), key), ConsistentHash::new(&without).pick(&all(&without), key));
            let named = |pool: &Pool, target: Option<TargetIndex>| target.map(|target| pool.targets[target.get()].name.clone());
            let (is, otherwise) = (named(&before, is), named(&without, otherwise));
            prop_assert!(is == otherwise || is.as_ref() == Some(&name));
            let unusable = ConsistentHash::new(&before).pick(&only(&before, |i| i != changed), key);
            prop_assert_eq!(named(&before, unusable), otherwise);
            // More weight only brings it keys, less only takes some.
            let now = named(&after, ConsistentHash::new(&after).pick(&all(&after), key));
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
        let hashed = ConsistentHash::new(&pool);
        for hash in hashes {
            let wait = |i: &usize| exponential(mixed(hash ^ hashed.names[*i])) / f64::from(weights[*i]);
            let slow = (0..weights.len())
                .filter(|i| weights[*i] > 0)
                .min_by(|a, b| wait(a).total_cmp(&wait(b)));
            prop_assert_eq!(hashed.pick(&all(&pool), hash), slow.map(TargetIndex::new));
        }
    }

    #[test]
    fn bound_is_below_the_logarithm(bits: u64, shift in 0_u32..64) {
        for bits in [bits, bits >> shift, !(bits >> shift)] {
            prop_assert!(lower_bound(bits) < exponential(bits), "{bits:x}");
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
        .map(|key| {
            ConsistentHash::new(&pool)
                .pick(&all(&pool), key)
                .unwrap()
                .get()
        })
        .collect();
    assert_eq!(homes, [4, 4, 2, 3, 0, 3, 3, 2, 3, 4, 3, 4, 2, 0, 3, 4]);
}

/// For the figures at the top; it promises nothing.
#[test]
#[ignore = "prints times"]
fn time_of_a_hashed_choice() {
    for targets in [3, 20, 200, 2000, 10_000] {
        let pool = pool(&(0..targets).map(|i| 1 + i * 5 % 8).collect::<Vec<_>>());
        let hashed = ConsistentHash::new(&pool);
        let mut candidates = Candidates::default();
        let count = 1_000_000 / targets;
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let begin = std::time::Instant::now();
                keys(count.into()).for_each(|key| {
                    candidates.collect(&pool, |_| true);
                    std::hint::black_box(hashed.pick(&candidates, key));
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
