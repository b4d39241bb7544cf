use crate::index::{PoolIndex, TargetIndex};
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::balance::round_robin::RoundRobin;
use crate::pool::balance::{Balance, random, retries};
use crate::pool::candidates::tests::only;
use crate::pool::{Pool, State, Target};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Targets with these weights.
pub(super) fn pool(weights: &[u32]) -> Pool {
    let target = |(i, weight): (usize, &u32)| Target {
        name: format!("target-{i}").into(),
        cluster: "c".into(),
        endpoint: None,
        weight: *weight,
        state: State::Up,
        region: None,
        max_in_flight: None,
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

#[test]
fn nothing_that_takes_nothing_new_is_chosen() {
    let mut pool = pool(&[5, 0, 5, 5, 5]);
    pool.targets[2].state = State::Draining;
    pool.targets[3].state = State::Down;
    let (first, last) = (TargetIndex::new(0), TargetIndex::new(4));
    let (none, usable) = (only(&pool, |_| false), only(&pool, |target| target != 4));
    let mut robin = RoundRobin::new(pool.targets.len(), 3);
    for k in 0..1000_u64 {
        let roll = k.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(robin.pick(&usable), Some(first));
        assert_eq!(random::pick(&usable, roll).unwrap().0, first);
        assert_eq!(ConsistentHash::new(&pool).pick(&usable, roll), Some(first));
        let mut order = retries::Retries::default();
        retries::fill(&mut order, &mut only(&pool, |target| target != 0), roll);
        assert_eq!(order[..], [last]);
        assert_eq!(robin.pick(&none), None);
        assert_eq!(random::pick(&none, roll), None);
        assert_eq!(ConsistentHash::new(&pool).pick(&none, roll), None);
    }
}
