//! What a worker does by itself, requests or not: it shows the other workers that it is alive, and
//! probes targets.

use super::Worker;
use crate::pool::health::{Probe, ProbeAnswer};
use crate::port::Port;
use crate::time::Nanos;

impl Worker {
    /// The time from one [`Worker::tick`] to the next, a second at most. Every configuration needs
    /// ticks: what is counted waits for them.
    pub fn tick_period(&self) -> Nanos {
        let probes = self.health.tick_period(&self.config.pools);
        let periods = [probes, self.purchase_period()].into_iter().flatten();
        periods.fold(HEARTBEAT_INTERVAL, Nanos::min)
    }

    /// One tick. The probes that it returns are to be sent, and their results to go to
    /// [`Worker::on_probe_result`].
    pub fn tick(&mut self, port: &mut dyn Port, now: Nanos) -> Vec<Probe> {
        self.in_flight.share(port);
        self.clock.see(now);
        match self.ticks_until_heartbeat.checked_sub(1) {
            Some(left) => self.ticks_until_heartbeat = left,
            // Ticks are counted and not timed: a clock that jumps must not make a worker look dead.
            None => {
                let ticks = HEARTBEAT_INTERVAL / self.tick_period().max(Nanos::new(1));
                self.ticks_until_heartbeat = ticks.saturating_sub(1);
                self.in_flight.tick(port, now);
            }
        }
        self.health.tick(port, &self.config.pools, now)
    }

    /// Brings the gauges of health up to date. Once a second, by the newest configuration only: an
    /// earlier one may have other targets of the same names.
    pub fn show_health(&mut self, port: &mut dyn Port, now: Nanos) {
        self.health.show(port, &self.config.pools, now);
    }

    /// The result of a probe. None: there was no answer in time.
    pub fn on_probe_result(
        &mut self,
        probe: &Probe,
        answer: Option<ProbeAnswer<'_>>,
        port: &mut dyn Port,
        now: Nanos,
    ) {
        self.health
            .on_probe_result(port, &self.config.pools, probe, answer, now);
    }
}

/// The time from one [`crate::pool::in_flight::InFlight::tick`] to the next.
const HEARTBEAT_INTERVAL: Nanos = Nanos::SECOND;
