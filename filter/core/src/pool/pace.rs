//! How often a worker makes host calls that are about all workers and not about one request.
//!
//! A worker that has little to do makes them for each request, so that what it knows and what
//! others know of it is exact. A busy one makes them each [`Pace::INTERVAL`], because to know the
//! same a hundred times would only cost.

use crate::time::Nanos;

/// A token bucket of [`Pace::BURST`] tokens that refills by one each [`Pace::INTERVAL`].
#[derive(Debug, Default)]
pub struct Pace {
    /// When the bucket will be full.
    full_at: Nanos,
}

impl Pace {
    /// A worker with less than 100 requests a second, each of which begins and ends, waits for
    /// nothing.
    pub const INTERVAL: Nanos = Nanos::from_millis(5);

    /// How many tokens the bucket holds: what comes in a burst is paid for by a pause.
    pub const BURST: u64 = 20;

    /// Takes a token, if there is one.
    pub fn allows(&mut self, now: Nanos) -> bool {
        const EMPTY: Nanos = Nanos::from_millis(Pace::BURST * 5);
        // More than that is missing only after the clock was set back.
        let missing = Some(self.full_at - now).filter(|missing| *missing <= EMPTY);
        let missing = missing.unwrap_or_default() + Pace::INTERVAL;
        let allowed = missing <= EMPTY;
        if allowed {
            self.full_at = now + missing;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: Nanos = Nanos::from_secs(1_800_000_000);

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let mut pace = Pace::default();
        let at_once = (0..1000).filter(|_| pace.allows(NOW)).count();
        assert_eq!(at_once as u64, Pace::BURST);
        let a_second = (1..=20_000).filter(|i| pace.allows(NOW + *i * 50 * Nanos::MICROSECOND));
        assert_eq!(a_second.count(), 200);
        // Two for each request of a worker with 100 a second.
        let mut pace = Pace::default();
        assert!((0..2000).all(|event| pace.allows(NOW + event * Pace::INTERVAL)));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut pace = Pace::default();
        assert!(pace.allows(NOW));
        assert!(pace.allows(NOW - Nanos::from_secs(3600)));
        let at_once = (0..1000).filter(|_| pace.allows(NOW - Nanos::from_secs(3600)));
        assert_eq!(at_once.count() as u64, Pace::BURST - 1);
    }
}
