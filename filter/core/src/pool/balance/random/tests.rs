use super::*;
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
