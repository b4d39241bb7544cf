//! The end of a stream.

use super::{Event, Worker};
use crate::index::TargetRef;
use crate::pool::Pool;
use crate::pool::balance::Balance;
use crate::pool::flight::Flight;
use crate::pool::health::{Clients, LastFailure};
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::look::End;
use crate::pool::outcome::{self, Attempts, Cause, Outcome, ResponseSeen, Seen};
use crate::port::{Port, StreamInfo};
use crate::time::Nanos;

impl Worker {
    /// Whether [`Worker::on_request_complete`] is to be given the time of this end. If not,
    /// [`Worker::last_time`] will do: how the request ended does not matter, or the worker is busy
    /// and the time hardly another one.
    pub fn needs_time_of_end(&mut self, flight: &Flight, seen: &Seen) -> bool {
        let pool = self.config.pool(flight.target.pool);
        let matters = pool.is_some_and(|pool| pool.wants_outcomes());
        let is_unusual = flight.timed || seen.response == ResponseSeen::Nothing;
        matters && (is_unusual || self.clock.ends.allows(self.clock.last()))
    }

    /// The time that this worker was last told, at most a tick ago.
    pub fn last_time(&self) -> Nanos {
        self.clock.last()
    }

    /// The stream of a request that went to a target is over, however it ended. `seen`: what the
    /// stream saw of it. The proxy is asked only where the pool wants to know, and this end is worth
    /// a look ([`crate::pool::look`]).
    pub fn on_request_complete(
        &mut self,
        flight: Flight,
        seen: &Seen,
        info: &mut dyn StreamInfo,
        port: &mut dyn Port,
        now: Nanos,
    ) {
        self.clock.see(now);
        let Some(pool) = self.config.pool(flight.target.pool) else {
            self.events.push(Event::Bug("a flight is of no pool"));
            return;
        };
        let is_checked = pool.health.passive.is_some();
        let target = flight.target.index;
        let end = End {
            is_answered: seen.response != ResponseSeen::Nothing,
            is_target_well: self.health.is_well(pool, target),
        };
        let attempts = match self.looks.looks(pool, target, end, now) {
            true => outcome::attempts(pool, &flight, seen, info),
            false => Attempts::default(),
        };
        let failed_last = attempts
            .last
            .is_some_and(|(target, outcome)| target == flight.counted && outcome.is_failure());
        // Where another target is counted, the chosen one has been told of its failure.
        let is_chosen = flight.counted == flight.target.index;
        let failed = (is_chosen && attempts.failed_before > 0) || failed_last;
        self.in_flight.end(port, pool, flight.counted, failed, now);
        if pool.balance == Balance::LeastResponseTime {
            let answered = flight.answered.unwrap_or(now);
            let took = self.clock.between(flight.started, answered);
            sample(&mut self.response_times, pool, took, &attempts, now);
        }
        let list = std::iter::once(flight.target.index).chain(flight.retries.iter().copied());
        let before = list
            .take(attempts.failed_before)
            .map(|target| (target, Outcome::Failure(Cause::Exchange)));
        // Asked for at most once, and only where it decides something.
        let mut client = None;
        let mut client_of = |port: &mut dyn Port| {
            let mut address = || flight.client.or_else(|| port.source_address());
            *client.get_or_insert_with(|| Clients::of(address()))
        };
        let mut looks = self.pools.get_mut(flight.target.pool.get());
        for (target, outcome) in before.chain(attempts.last) {
            if outcome.is_failure() {
                self.looks.failed(pool, target, now);
                if let Some(state) = &mut looks {
                    state.answers.failed(target, flight.started);
                }
                self.events.push(Event::Failed(TargetRef {
                    index: target,
                    ..flight.target
                }));
            }
            if is_checked {
                let is_known = flight.client.is_some();
                let client = match outcome {
                    Outcome::Success if self.health.wants_client(pool, is_known, now) => {
                        let client = client_of(port);
                        self.health.answered(pool, client, now);
                        client
                    }
                    Outcome::Failure(Cause::Exchange) => client_of(port),
                    Outcome::Success | Outcome::Failure(Cause::NoConnection) => Clients::default(),
                };
                self.health
                    .on_outcome(port, pool, target, outcome, client, now);
                // It changed the target's state, which is rare enough to ask once more.
                if outcome.is_failure() && self.health.has_events() {
                    let is_last = attempts.last.is_some_and(|(last, _)| last == target);
                    self.health.tell(last_failure(is_last, seen, info));
                }
            }
        }
    }
}

/// What a failure was that made a difference. `is_last`: the stream ended with it.
#[cold]
fn last_failure(is_last: bool, seen: &Seen, info: &mut dyn StreamInfo) -> LastFailure {
    match (is_last, seen.response) {
        (false, _) => LastFailure::Unknown,
        (true, ResponseSeen::Nothing) => LastFailure::NoAnswer,
        (true, _) => match info.status() {
            Some(status) => LastFailure::Status(status),
            None => LastFailure::NoAnswer,
        },
    }
}

/// Samples the response time of a target. A failure counts only if it took longer than the average:
/// a target that fails fast must not look fast, and one that hangs must look slow. The time of a
/// request that was tried at two targets says nothing of either. `took`: None where the clock was set
/// meanwhile.
fn sample(
    times: &mut ResponseTimes,
    pool: &Pool,
    took: Option<Nanos>,
    attempts: &Attempts,
    now: Nanos,
) {
    let (Some((target, outcome)), 0) = (attempts.last, attempts.failed_before) else {
        return;
    };
    let Some(took) = took else {
        return;
    };
    let is_longer = || {
        times
            .of(pool, target, now)
            .is_some_and(|average| took > average)
    };
    if outcome == Outcome::Success || is_longer() {
        times.sample(pool, target, took, now);
    }
}
