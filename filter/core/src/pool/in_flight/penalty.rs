//! Penalties: a request that failed keeps its place for a second longer, so that a target that
//! fails fast does not look idle.

use super::ledger::CountIndex;
use crate::time::Nanos;
use std::collections::VecDeque;

/// How long a failed request stays counted after its end.
pub(super) const PENALTY: Nanos = Nanos::SECOND;

/// Penalties end at multiples of this time, all of one target's together, and up to this much
/// later than [`PENALTY`]. So a target has at most twelve at a time, however many requests fail.
pub(super) const PENALTY_STEP: Nanos = Nanos::from_millis(100);

/// The failed requests of one worker that are still counted.
#[derive(Debug, Default)]
pub(super) struct Penalties {
    /// In the order of their ends, as long as the clock does not jump.
    queue: VecDeque<Penalty>,
    /// How many penalties were ever taken from the front of the queue: the number of the first one
    /// in it.
    ended: u64,
    /// For each count, the number of its newest penalty. None: it never had one.
    newest: Vec<Option<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Penalty {
    until: Nanos,
    index: CountIndex,
    /// How many requests.
    requests: i32,
}

impl Penalty {
    /// Whether it is over; also if its end is so far ahead that the clock must have been set back.
    fn is_over(&self, now: Nanos) -> bool {
        self.until <= now || self.until - now > PENALTY + PENALTY_STEP
    }
}

impl Penalties {
    /// A request failed now.
    pub(super) fn add(&mut self, index: CountIndex, now: Nanos) {
        let until = (now / PENALTY_STEP) * PENALTY_STEP + PENALTY + PENALTY_STEP;
        let newest = self.newest.get(index.get()).copied().flatten();
        let place = newest.and_then(|number| number.checked_sub(self.ended));
        let penalty = place.and_then(|place| self.queue.get_mut(usize::try_from(place).ok()?));
        match penalty {
            Some(penalty) if penalty.until >= until && penalty.requests < i32::MAX => {
                penalty.requests += 1;
            }
            _ => {
                if self.newest.len() <= index.get() {
                    self.newest.resize(index.get() + 1, None);
                }
                if let Some(newest) = self.newest.get_mut(index.get()) {
                    *newest = Some(self.ended + self.queue.len() as u64);
                }
                // Whatever is above, each request that is added here is taken from here once.
                self.queue.push_back(Penalty {
                    until,
                    index,
                    requests: 1,
                });
            }
        }
    }

    /// Whether there is none.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the first penalty, if it is over: of which count, and how many requests.
    pub(super) fn pop(&mut self, now: Nanos) -> Option<(CountIndex, i32)> {
        let penalty = *self.queue.front().filter(|penalty| penalty.is_over(now))?;
        self.queue.pop_front();
        self.ended += 1;
        Some((penalty.index, penalty.requests))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests;
