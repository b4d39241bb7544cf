//! When a worker asks the proxy for the time: a call of 1,250 instructions, a fifteenth of what an
//! empty filter costs a request.
//!
//! - **A request begins.** Mostly something depends on it: a limit, a session, health, the counts
//!   of other workers. Where the configuration has none of these it only says when counts in flight
//!   are shared, so a busy worker asks with one request of up to 16, such that the answer is 5 ms old
//!   at most while requests come, and a tick otherwise.
//! - **A request ends.** A worker with less than 200 ends a second, or a burst of 20, asks with each.
//!   One that is busier asks each 5 ms, and with whatever ends without an answer; for the rest the
//!   time of the last request or tick will do.
//!
//! **A clock that is set.** A duration between two times that a worker was told is none where the
//! clock was set in between. A worker has a tick each second at most, so whatever is longer from one
//! time to the next than [`LONGEST_GAP`] was a step ahead, or the worker hung.

use crate::config::Config;
use crate::pool::Pool;
use crate::pool::pace::Pace;
use crate::time::Nanos;

/// What a worker knows of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest time that the worker was told, with a request, an end or a tick.
    last: Nanos,
    /// What it was told first after the clock was last set. 0: it never was.
    set_at: Nanos,
    /// Of asking where requests end.
    pub ends: Pace,
    /// Whether nothing that is decided depends on the time.
    is_seldom_needed: bool,
    /// When a request last asked.
    asked: Nanos,
    /// With how many requests it did not ask before that, and with how many it need not ask now.
    skipped: u32,
    left: u32,
}

impl Clock {
    /// For a worker with this configuration.
    pub(super) fn new(config: &Config) -> Clock {
        let needs_time = |pool: &Pool| {
            let has_cookie = pool.sticky.as_ref().is_some_and(|it| it.cookie.is_some());
            has_cookie
                || pool.wants_outcomes()
                || pool.health.active.is_some()
                || pool.slow_start > Nanos::ZERO
                || pool.is_limited
        };
        Clock {
            is_seldom_needed: config.rate_limits.is_empty()
                && !config.pools.iter().any(|pool| needs_time(pool)),
            ..Clock::default()
        }
    }

    /// The latest time that the worker was told, at most a tick ago.
    #[inline]
    pub(super) fn last(&self) -> Nanos {
        self.last
    }

    /// The worker is told the time.
    #[inline]
    pub(super) fn see(&mut self, now: Nanos) {
        let gap = now.checked_sub(self.last);
        if gap.is_none_or(|gap| gap > LONGEST_GAP) {
            self.set_at = now;
        }
        self.last = now;
    }

    /// How long it was from one time to another. None: the clock was set in between.
    pub(super) fn between(&self, from: Nanos, to: Nanos) -> Option<Nanos> {
        to.checked_sub(from).filter(|_| self.set_at <= from)
    }

    /// The time for a request that begins. `ask` asks the proxy; `is_timed`: it has to.
    #[inline]
    pub(super) fn at_request<E>(
        &mut self,
        is_timed: bool,
        ask: impl FnOnce() -> Result<Nanos, E>,
    ) -> Result<Nanos, E> {
        if self.left > 0 && !is_timed {
            self.left -= 1;
            return Ok(self.last);
        }
        let now = ask()?;
        if self.is_seldom_needed {
            let is_busy = now.checked_sub(self.asked).is_some_and(|gap| gap < MAX_AGE);
            self.skipped = match is_busy {
                true => (2 * self.skipped + 1).min(MOST_SKIPPED),
                false => 0,
            };
            self.left = self.skipped;
            self.asked = now;
        }
        Ok(now)
    }
}

/// The longest time from one tick to the next, and what a busy machine may add.
const LONGEST_GAP: Nanos = Nanos::from_secs(5);

/// How old the time of a request may be while requests come.
const MAX_AGE: Nanos = Nanos::from_millis(5);

/// With how many requests in a row a worker does not ask.
const MOST_SKIPPED: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// How often requests that come so often ask, and how old the time is that they get at most.
    fn asked(clock: &mut Clock, pause: Nanos, requests: u64) -> (u64, Nanos) {
        let start = clock.last + Nanos::SECOND;
        let (mut count, mut oldest) = (0, Nanos::ZERO);
        for request in 0..requests {
            let now = start + request * pause;
            let told = clock.at_request(false, || {
                count += 1;
                Ok::<_, Infallible>(now)
            });
            let Ok(told) = told;
            clock.see(told);
            oldest = oldest.max(now - told);
        }
        (count, oldest)
    }

    #[test]
    fn a_busy_worker_asks_with_one_request_of_sixteen_and_a_slow_one_with_each() {
        let config = |text: &[u8]| Config::load(text).unwrap();
        let plain = br#"{ "pools": { "p": { "targets": [{ "cluster": "c" }] } }, "routes": [] }"#;
        let mut clock = Clock::new(&config(plain));
        let (count, oldest) = asked(&mut clock, 50 * Nanos::MICROSECOND, 16_000);
        assert!((1000..1010).contains(&count), "{count}");
        assert!(oldest < MAX_AGE, "{oldest:?}");
        for microseconds in [200, 400, 1000, 2000, 4000, 4900] {
            let pause = microseconds * Nanos::MICROSECOND;
            // What comes after a pause may first be told the time of a request before it.
            clock.left = 0;
            let (_, oldest) = asked(&mut clock, pause, 1000);
            assert!(oldest <= 2 * MAX_AGE, "{microseconds}: {oldest:?}");
        }
        assert_eq!(asked(&mut clock, MAX_AGE, 1000).0, 1000);
        let health = br#"{ "pools": { "p": { "targets": [{ "cluster": "c" }],
            "health": { "passive": {} } } }, "routes": [] }"#;
        let mut clock = Clock::new(&config(health));
        assert_eq!(asked(&mut clock, Nanos::MICROSECOND, 1000).0, 1000);
    }

    #[test]
    fn what_took_so_long_is_not_known_where_the_clock_was_set_meanwhile() {
        let start = Nanos::from_secs(1_800_000_000);
        let hour = Nanos::from_secs(3600);
        for after in [start + hour, start - hour, start - Nanos::new(1)] {
            let mut clock = Clock::default();
            clock.see(start);
            clock.see(start + Nanos::SECOND);
            let from = start + Nanos::MILLISECOND;
            let to = start + Nanos::SECOND;
            assert_eq!(clock.between(from, to), to.checked_sub(from));
            clock.see(after);
            assert_eq!(clock.between(from, after), None);
            // What begins then is known again.
            let later = after + Nanos::SECOND;
            clock.see(later);
            assert_eq!(clock.between(after, later), Some(Nanos::SECOND));
        }
    }

    #[test]
    fn a_decision_that_is_timed_asks() {
        let mut clock = Clock {
            left: 5,
            ..Clock::default()
        };
        assert_eq!(clock.at_request(true, || Err(7)), Err(7));
        assert_eq!(clock.at_request(false, || Err(7)), Ok(Nanos::ZERO));
    }
}
