//! When each target of a pool is probed, by the worker that leads.

use super::super::is_pending;
use super::{Active, Probe};
use crate::index::TargetIndex;
use crate::time::Nanos;

/// What a worker knows of the probes of a pool.
#[derive(Debug, Default)]
pub(in crate::pool::health) struct Prober {
    /// Whether this worker holds the pool's lease, and so sends its probes.
    pub is_leader: bool,
    /// When to look at the lease again: to renew it, or to acquire it.
    pub lease_due: Nanos,
    /// One for each target, from the first time that this worker leads.
    turns: Vec<Turn>,
}

/// The probes of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// When the next one is due.
    due: Nanos,
    /// When the one was sent that is not answered yet.
    sent: Option<Nanos>,
}

/// What there is to do now.
#[derive(Debug, Default)]
pub(in crate::pool::health) struct Turns {
    /// The targets that did not answer their last probe in time.
    pub unanswered: Vec<TargetIndex>,
    /// The targets to probe.
    pub due: Vec<TargetIndex>,
}

impl Prober {
    /// Begins to lead. The probes of the targets are spread over the interval, but for those that
    /// wait for their first good one: these are probed at once. Otherwise the first of them would
    /// get all requests until the next is probed.
    pub(crate) fn lead(
        &mut self,
        waits: impl ExactSizeIterator<Item = bool>,
        interval: Nanos,
        now: Nanos,
    ) {
        self.is_leader = true;
        let step = interval / (waits.len() as u64).max(1);
        let turns = waits.zip(0..).map(|(waits, place)| Turn {
            due: match waits {
                true => now,
                false => now + step * place,
            },
            sent: None,
        });
        self.turns = turns.collect();
    }

    /// What there is to do now: nothing for a worker that does not lead.
    pub(crate) fn next(&mut self, active: &Active, now: Nanos) -> Turns {
        let mut next = Turns::default();
        if !self.is_leader {
            return next;
        }
        for (place, turn) in self.turns.iter_mut().enumerate() {
            let target = TargetIndex::new(place);
            if turn.give_up(active, now) {
                next.unanswered.push(target);
            }
            if turn.begin(active, now) {
                next.due.push(target);
            }
        }
        next
    }

    /// Whether the answer to a probe counts. It is not awaited any more then.
    pub(crate) fn take_awaited(&mut self, probe: &Probe) -> bool {
        let turn = self.turns.get_mut(probe.target.index.get());
        let awaited = turn.and_then(|turn| turn.sent.take_if(|sent| *sent == probe.sent));
        awaited.is_some() && self.is_leader
    }
}

impl Turn {
    /// Gives up a probe whose answer is overdue. Whether there was one.
    fn give_up(&mut self, active: &Active, now: Nanos) -> bool {
        // Also when the clock was set back by as much.
        let is_overdue = |sent: &mut Nanos| now.abs_diff(*sent) > active.timeout + PROBE_GRACE;
        self.sent.take_if(is_overdue).is_some()
    }

    /// Begins a probe if one is due. Whether it is.
    fn begin(&mut self, active: &Active, now: Nanos) -> bool {
        if self.sent.is_some() || is_pending(self.due, active.interval, now) {
            return false;
        }
        self.sent = Some(now);
        let next = self.due + active.interval;
        self.due = match is_pending(next, active.interval, now) {
            true => next,
            false => now + active.interval,
        };
        true
    }
}

/// How long after its time-out a probe is given up whose answer the proxy has not reported.
const PROBE_GRACE: Nanos = Nanos::SECOND;
