//! The headers of a response: who answered, which is who holds the session and is counted.
//!
//! In a pool of endpoints the proxy may have gone on to the next target of the list. To ask it costs
//! a call that returns bytes, so it is asked only
//!
//! - for a response that brings a new cookie: then also whether the response is a target's at all,
//!   since an answer of the proxy's own begins no session;
//! - otherwise, where it matters who answers (sessions, health, balance by load), once in
//!   [`LOOK_INTERVAL`] for each target, and each time while the target is known to have failed.
//!
//! So a client whose target dies is moved, with a new cookie, by the first answer that it gets from
//! another one; between two looks a few may be missed, which the order of the retries makes good:
//! it is the same for each request of a session ([`crate::pool::balance::retries`]).

use super::{Event, Worker};
use crate::decision::{ResponsePlan, SessionPlan};
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::flight::Flight;
use crate::pool::outcome;
use crate::port::{Port, StreamInfo};
use crate::time::Nanos;

impl Worker {
    /// Whether [`Worker::on_response_headers`] has something to do: mostly not.
    pub fn wants_answer(&self, flight: &Flight, session: Option<SessionPlan>) -> bool {
        let is_new = session.is_some_and(|session| session.is_new);
        if is_new || flight.retries.is_empty() {
            return is_new;
        }
        let of = flight.target.pool;
        let (Some(pool), Some(state)) = (self.config.pool(of), self.pools.get(of.get())) else {
            return true;
        };
        let matters = session.is_some() || pool.wants_outcomes();
        matters && state.answers.is_due(flight.target.index, flight.started)
    }

    /// The headers of the response to a request that went to a target came. Writes the cookie that
    /// the response is to bring into its plan. `clock` is the time now; it is asked only where the
    /// request is counted elsewhere from now on.
    pub fn on_response_headers(
        &mut self,
        flight: &mut Flight,
        plan: &mut ResponsePlan,
        info: &mut dyn StreamInfo,
        port: &mut dyn Port,
        clock: &mut dyn FnMut() -> Option<Nanos>,
    ) {
        if !self.wants_answer(flight, plan.session) {
            return;
        }
        let is_new = plan.session.is_some_and(|session| session.is_new);
        let config = self.config.clone();
        let (Some(pool), Some(state)) = (
            config.pool(flight.target.pool),
            self.pools.get_mut(flight.target.pool.get()),
        ) else {
            self.events.push(Event::Bug("a flight is of no pool"));
            return;
        };
        let chosen = flight.target.index;
        let looks = &mut state.answers;
        let mut answering = Some(chosen);
        if !flight.retries.is_empty() {
            looks.looked(chosen, flight.started);
            let Some(address) = info.upstream_address() else {
                // Nobody was asked.
                return;
            };
            let (failed, last) = outcome::tried_last(pool, flight, &address);
            flight.address = Some(address);
            answering = last;
            let tried = std::iter::once(chosen).chain(flight.retries.iter().copied());
            tried
                .take(failed)
                .for_each(|failed| looks.failed(failed, flight.started));
        }
        let has_moved = answering != Some(chosen);
        if !(is_new || has_moved) || info.is_from_upstream() == Some(false) {
            return;
        }
        // A host that is no target of the pool holds no session and is not counted.
        let Some(answering) = answering else {
            return;
        };
        if let Some(session) = plan.session {
            let (sessions, now) = (&mut state.sessions, flight.started.to_seconds());
            plan.set_cookie = sessions.set_cookie(pool, answering, session.origin, now);
        }
        if has_moved {
            let now = clock().unwrap_or(flight.started);
            self.in_flight.end(port, pool, chosen, true, now);
            self.in_flight.begin(port, pool, answering, now);
            flight.counted = answering;
        }
    }
}

/// When one worker last looked who answered in place of each target of a pool.
#[derive(Debug)]
pub(super) struct Answers {
    targets: Vec<Look>,
}

/// The times are those at which the requests began that were looked at, so that a target that
/// answers late is looked at as well as one that fails at once.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    last: Nanos,
    /// Until then every response is looked at.
    failing_until: Nanos,
}

impl Answers {
    pub(super) fn new(pool: &Pool) -> Answers {
        let count = match pool.endpoints {
            true => pool.targets.len(),
            false => 0,
        };
        Answers {
            targets: vec![Look::default(); count],
        }
    }

    /// Whether the response to a request that began then, and for which this target was chosen, is
    /// to be looked at.
    fn is_due(&self, target: TargetIndex, started: Nanos) -> bool {
        let look = self.targets.get(target.get()).copied().unwrap_or_default();
        started < look.failing_until || started < look.last || started - look.last >= LOOK_INTERVAL
    }

    fn looked(&mut self, target: TargetIndex, started: Nanos) {
        if let Some(look) = self.targets.get_mut(target.get()) {
            look.last = started;
        }
    }

    /// A target failed a request that began then.
    pub(super) fn failed(&mut self, target: TargetIndex, started: Nanos) {
        if let Some(look) = self.targets.get_mut(target.get()) {
            look.failing_until = started + FAILING;
        }
    }
}

/// The time between two looks at a target that answers.
const LOOK_INTERVAL: Nanos = Nanos::from_millis(10);

/// For how long each response in place of a target that failed is looked at.
const FAILING: Nanos = Nanos::from_secs(10);
