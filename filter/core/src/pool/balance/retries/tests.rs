use super::*;
use crate::pool::balance::tests::pool;
use crate::pool::candidates::tests::only;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn retries_are_drawn_by_weight_and_never_repeat() {
    let pool = pool(&[1, 2, 4, 1, 1]);
    let mut firsts = [0_u32; 5];
    for k in 0..8000_u64 {
        let mut order = Retries::default();
        let mut candidates = only(&pool, |target| target != 0);
        fill(&mut order, &mut candidates, k * (u64::MAX / 8000));
        assert_eq!(order.len(), RETRIES);
        let mut seen = order.to_vec();
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
