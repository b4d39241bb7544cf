//! When the end of a request is looked at closely: its status, its flags and the address that was
//! tried last ([`crate::pool::outcome`]), and the client's address.
//!
//! Each of these is a call that returns bytes, a tenth to a half of what an empty filter costs a
//! request. So a worker looks at an end only if
//!
//! - no answer came at all, or
//! - its target is suspect: a request to it failed within the last [`SUSPECT_FOR`], or what all
//!   workers know of its health is not simply "healthy", or
//! - the last look at a request to this target is [`LOOK_INTERVAL`] old.
//!
//! So a worker that sends a target at most a hundred requests a second looks at every end. With
//! more, a target that begins to fail is found out at most [`LOOK_INTERVAL`] later, and from then on
//! each of its ends is looked at: it is ejected after as many failures as the configuration says.
//! What is lost are lone failures between good answers, which eject nobody.

use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::time::Nanos;
use std::rc::Rc;

/// What one worker knows of its looks at the targets of all pools.
#[derive(Debug)]
pub struct Looks(Vec<Vec<TargetLooks>>);

/// The last looks at the requests to one target. None: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TargetLooks {
    /// The last one.
    looked: Option<Nanos>,
    /// The last that found a failure.
    failed: Option<Nanos>,
}

/// What is known of an end without a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether the headers of an answer came, the target's or the proxy's own.
    pub is_answered: bool,
    /// Whether the target is healthy, and nothing is held against it.
    pub is_target_well: bool,
}

impl Looks {
    /// Nothing was looked at yet.
    pub fn new(pools: &[Rc<Pool>]) -> Looks {
        let looks = pools
            .iter()
            .map(|pool| match pool.wants_outcomes() {
                true => vec![TargetLooks::default(); pool.targets.len()],
                false => Vec::new(),
            })
            .collect();
        Looks(looks)
    }

    /// Whether to look at the end of a request to this target; if so, that is noted. Never where the
    /// pool does not want to know.
    pub fn looks(&mut self, pool: &Pool, target: TargetIndex, end: End, now: Nanos) -> bool {
        let Some(looks) = self.of(pool, target) else {
            return false;
        };
        let is_worth_it = looks.is_worth_it(end, now);
        if is_worth_it {
            looks.looked = Some(now);
        }
        is_worth_it
    }

    /// A look found that a request to this target failed.
    pub fn failed(&mut self, pool: &Pool, target: TargetIndex, now: Nanos) {
        if let Some(looks) = self.of(pool, target) {
            looks.failed = Some(now);
        }
    }

    fn of(&mut self, pool: &Pool, target: TargetIndex) -> Option<&mut TargetLooks> {
        self.0.get_mut(pool.index.get())?.get_mut(target.get())
    }
}

impl TargetLooks {
    /// Whether an end is worth a look. A clock that was set back makes it worth one.
    fn is_worth_it(&self, end: End, now: Nanos) -> bool {
        let is_within = |instant: Option<Nanos>, time: Nanos| {
            instant.is_some_and(|instant| now.abs_diff(instant) < time)
        };
        !end.is_answered
            || !end.is_target_well
            || is_within(self.failed, SUSPECT_FOR)
            || !is_within(self.looked, LOOK_INTERVAL)
    }
}

/// For so long a target is suspect after a failure.
pub const SUSPECT_FOR: Nanos = Nanos::SECOND;

/// From one look at the requests to a target that is well to the next.
pub const LOOK_INTERVAL: Nanos = Nanos::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: Nanos = Nanos::from_secs(1_800_000_000);
    const WELL: End = End {
        is_answered: true,
        is_target_well: true,
    };

    #[test]
    fn an_end_is_worth_a_look_where_something_is_wrong_or_the_last_look_is_old() {
        let ago = |milliseconds| Some(NOW - Nanos::from_millis(milliseconds));
        let ahead = |milliseconds| Some(NOW + Nanos::from_millis(milliseconds));
        for (end, looked, failed, expected) in [
            (WELL, ago(0), None, false),
            (WELL, ago(9), None, false),
            (WELL, ago(10), None, true),
            (WELL, None, None, true),
            (
                End {
                    is_answered: false,
                    ..WELL
                },
                ago(0),
                None,
                true,
            ),
            (
                End {
                    is_target_well: false,
                    ..WELL
                },
                ago(0),
                None,
                true,
            ),
            (WELL, ago(0), ago(0), true),
            (WELL, ago(0), ago(999), true),
            (WELL, ago(0), ago(1000), false),
            // The clock was set back.
            (WELL, ahead(9), None, false),
            (WELL, ahead(10), None, true),
            (WELL, ago(0), ahead(60_000), false),
        ] {
            let looks = TargetLooks { looked, failed };
            assert_eq!(looks.is_worth_it(end, NOW), expected, "{end:?} {looks:?}");
        }
    }
}
