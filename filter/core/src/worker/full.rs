//! The choice of a target in a pool where some have `max_in_flight`
//! ([`crate::pool::max_in_flight`]).

use super::Worker;
use super::context::RequestContext;
use super::failover::NotPicked;
use super::select::Selection;
use super::target::{Choice, Picked};
use crate::decision::Reason;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::max_in_flight::{MAX_LOOKED_AT, TRIES};

impl Worker {
    /// A target that has room. Where it has `max_in_flight`, the request is counted there.
    pub(super) fn choose_unless_full(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        choice: &Choice,
    ) -> Result<Picked, NotPicked> {
        let mut full = vec![false; pool.targets.len()];
        // A hash belongs to one target, so the others are looked at only where that one is full.
        if choice.hash.is_none() && pool.targets.len() <= MAX_LOOKED_AT {
            self.find_full(context, pool, choice, &mut full);
        }
        for tried in 1..=2 * TRIES {
            let Some(mut picked) = self.choose(context, pool, choice, &full) else {
                return Err(match context.is_session_full || full.contains(&true) {
                    true => NotPicked::Full,
                    false => NotPicked::NoTarget,
                });
            };
            if self.admit(context, pool, picked.target) {
                let is_hashed = matches!(picked.reason, Reason::Hash | Reason::StickyHeader);
                if context.is_session_full || is_hashed && tried > 1 {
                    picked.reason = Reason::Full;
                }
                return Ok(picked);
            }
            if let Some(full) = full.get_mut(picked.target.get()) {
                *full = true;
            }
            if tried == TRIES {
                self.find_full(context, pool, choice, &mut full);
            }
        }
        Err(NotPicked::Full)
    }

    /// Looks which of the targets that could be chosen are full.
    fn find_full(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        choice: &Choice,
        full: &mut [bool],
    ) {
        for ((target, with), full) in pool.indexed_targets().zip(full) {
            let could_be_chosen = || {
                choice
                    .filter
                    .admits(&self.health, pool, target, context.now)
            };
            if with.takes_new() && !*full && could_be_chosen() {
                *full = self.in_flight.is_full(context.port, pool, target);
            }
        }
    }

    /// Whether a target has room for a request. Where it has `max_in_flight`, the request is counted
    /// as in flight from then on.
    pub(super) fn admit(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        target: TargetIndex,
    ) -> bool {
        let (port, now) = (&mut *context.port, context.now);
        pool.max_in_flight(target)
            .is_none_or(|most| self.in_flight.begin_within(port, pool, target, most, now))
    }

    /// The request does not go where it was counted.
    pub(super) fn give_up(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        selection: &Selection<'_>,
    ) {
        let (pool, target) = (selection.pool, selection.target);
        if pool.max_in_flight(target).is_some() {
            self.in_flight
                .end(context.port, pool, target, false, context.now);
        }
    }
}
