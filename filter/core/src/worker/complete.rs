//! A request's way back, and what a worker does by itself.

use super::{BEAT, Event, Worker};
use crate::index::TargetRef;
use crate::pool::Pool;
use crate::pool::balance::Balance;
use crate::pool::flight::Flight;
use crate::pool::health::Probe;
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::outcome::{self, Attempts, Outcome};
use crate::port::{Port, StreamInfo};
use crate::time::Nanos;

impl Worker {
    /// The response's headers came, of a flight that is `timed`.
    pub fn answered(&mut self, flight: &mut Flight, now: Nanos) {
        flight.answered = Some(now);
    }

    /// The end of a request that went to a target, whatever end that was. `complete`: the end of
    /// the response was seen. What nobody wants to know is not asked for.
    pub fn landed(
        &mut self,
        flight: Flight,
        complete: bool,
        info: &mut dyn StreamInfo,
        port: &mut dyn Port,
        now: Nanos,
    ) {
        let Some(pool) = self.config.pool(flight.target.pool) else {
            return;
        };
        let checked = pool.health.passive.is_some();
        let attempts = match checked || pool.balance.is_by_load() {
            true => outcome::attempts(pool, &flight, complete, info),
            false => Attempts::default(),
        };
        let failed = attempts.failed_before > 0
            || attempts.last == Some((flight.target.index, Outcome::Failure));
        self.in_flight
            .end(port, pool, flight.target.index, failed, now);
        if pool.balance == Balance::LeastResponseTime {
            sample(&mut self.response_times, pool, &flight, &attempts, now);
        }
        let list = std::iter::once(flight.target.index).chain(flight.retries);
        let before = list
            .take(attempts.failed_before)
            .map(|target| (target, Outcome::Failure));
        for (target, outcome) in before.chain(attempts.last) {
            if outcome == Outcome::Failure {
                self.events.push(Event::Failed(TargetRef {
                    index: target,
                    ..flight.target
                }));
            }
            if checked {
                self.health.on_outcome(port, pool, target, outcome, now);
            }
        }
    }

    /// How long from one [`Worker::tick`] to the next. None: a configuration without pools needs
    /// none.
    pub fn tick_period(&self) -> Option<Nanos> {
        let any = (!self.config.pools.is_empty()).then_some(BEAT);
        any.map(|beat| {
            self.health
                .tick_period(&self.config.pools)
                .map_or(beat, |period| period.min(beat))
        })
    }

    /// What a worker does by itself, requests or not. The answers to the probes go to
    /// [`Worker::probed`].
    pub fn tick(&mut self, port: &mut dyn Port, now: Nanos) -> Vec<Probe> {
        match self.until_beat.checked_sub(1) {
            Some(left) => self.until_beat = left,
            // Ticks are counted and not timed: a clock that jumps must not make a worker look dead.
            None => {
                let ticks = BEAT / self.tick_period().unwrap_or(BEAT).max(Nanos::new(1));
                self.until_beat = ticks.saturating_sub(1);
                self.in_flight.tick(port, now);
            }
        }
        self.health.tick(port, &self.config.pools, now)
    }

    /// What a probe was answered: its status, None if there was no answer in time.
    pub fn probed(&mut self, probe: &Probe, status: Option<u16>, port: &mut dyn Port, now: Nanos) {
        self.health
            .on_probe_result(port, &self.config.pools, probe, status, now);
    }
}

/// Takes down how long a target took to answer. A failure counts only if it took longer than
/// answers do: one that fails fast must not look fast, one that hangs must look slow. The time of a
/// request that was tried twice is nobody's.
fn sample(
    times: &mut ResponseTimes,
    pool: &Pool,
    flight: &Flight,
    attempts: &Attempts,
    now: Nanos,
) {
    let (Some((target, outcome)), 0) = (attempts.last, attempts.failed_before) else {
        return;
    };
    let took = flight.answered.unwrap_or(now) - flight.started;
    let longer = || {
        times
            .of(pool, target, now)
            .is_some_and(|average| took > average)
    };
    if outcome == Outcome::Success || longer() {
        times.sample(pool, target, took, now);
    }
}
