//! Counters whose counts wait in the VM for the next tick. Each host call is 900 instructions of a
//! request, and an operator looks once in seconds.
//!
//! What waits when a VM traps is lost: the counts of one worker and of at most the time from one
//! tick to the next. What tells of trouble is therefore never batched, see [`super`].

use crate::host::Counter;
use std::cell::RefCell;

/// A counter of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Batched(usize);

/// The counters of one root context.
#[derive(Debug, Default)]
pub(super) struct Batch(RefCell<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Each counter with what is to be added to it.
    counters: Vec<(Counter, u32)>,
    /// The places of those with more than 0.
    counted: Vec<usize>,
}

impl Batch {
    /// Takes a counter in.
    pub(super) fn take_in(&self, counter: Counter) -> Batched {
        // Nothing is called while it is borrowed but a host call, and that calls nothing here. What
        // has no place counts nothing.
        let Ok(mut waiting) = self.0.try_borrow_mut() else {
            return Batched(usize::MAX);
        };
        waiting.counters.push((counter, 0));
        Batched(waiting.counters.len() - 1)
    }

    /// Counts one.
    pub(super) fn count(&self, counter: Batched) {
        let Ok(mut waiting) = self.0.try_borrow_mut() else {
            return;
        };
        let Waiting { counters, counted } = &mut *waiting;
        if let Some((_, waiting)) = counters.get_mut(counter.0) {
            if *waiting == 0 {
                counted.push(counter.0);
            }
            *waiting = waiting.saturating_add(1);
        }
    }

    /// Hands over what waits, which then waits no more.
    pub(super) fn flush(&self, mut add: impl FnMut(Counter, u32)) {
        let Ok(mut waiting) = self.0.try_borrow_mut() else {
            return;
        };
        let Waiting { counters, counted } = &mut *waiting;
        for place in counted.drain(..) {
            if let Some((counter, waiting)) = counters.get_mut(place) {
                add(*counter, std::mem::take(waiting));
            }
        }
    }
}
