//! `mirror`: a part of a route's requests is copied to another pool, by the proxy.

use crate::pool::Pool;
use std::rc::Rc;

/// `mirror` of a route. The proxy sends the copy and drops its answer; here it counts for nothing.
#[derive(Debug)]
pub struct Mirror {
    /// Whose clusters get the copies.
    pub pool: Rc<Pool>,
    /// How many requests of a million are copied. 0 to 1,000,000.
    pub millionths: u32,
}

impl Mirror {
    /// Whether the request with this random number, in units of 2^−64, is copied: those are whose
    /// number lies below the share.
    pub fn takes(&self, random: u64) -> bool {
        let scaled = u128::from(random) * 1_000_000;
        scaled >> 64 < u128::from(self.millionths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_share_is_exact() {
        let takes = |millionths: u32, random: u64| {
            let pool = Rc::new(Pool::default());
            Mirror { pool, millionths }.takes(random)
        };
        assert!(!takes(0, 0));
        assert!(takes(1_000_000, u64::MAX));
        for millionths in [1, 500, 50_000, 999_999] {
            // The least number that is not below the share.
            let edge = (u128::from(millionths) << 64).div_ceil(1_000_000);
            let edge = u64::try_from(edge).unwrap();
            assert!(!takes(millionths, edge) && takes(millionths, edge - 1));
        }
    }
}
