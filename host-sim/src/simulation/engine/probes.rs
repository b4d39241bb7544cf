//! The filter's own HTTP calls: its probes.

use super::schedule::Event;
use super::{Engine, Owner, REFUSAL, answer};
use crate::simulation::server::{Admission, Job, Reachability};
use crate::world::HttpCallOutcome;

impl Engine<'_> {
    /// Sends the HTTP calls that the filter has made since this was called last.
    pub(super) fn route_calls(&mut self) {
        let last = self.last_call;
        let calls = self.world.http_calls();
        for call in calls.iter().filter(|call| call.token > last) {
            self.last_call = self.last_call.max(call.token);
            if let Some(target) = self.router.call_target(call) {
                self.probe(call.token, usize::from(target));
            }
        }
    }

    fn probe(&mut self, token: u32, target: usize) {
        if self.random.f64() < self.probe_loss[target] {
            return;
        }
        match self.servers[target].reachability {
            Reachability::Refused => self.after(REFUSAL, Event::ProbeFailed(token)),
            Reachability::Silent => self.after(
                self.scenario.proxy.connect_timeout,
                Event::ProbeFailed(token),
            ),
            Reachability::Up => {
                let service = self.servers[target].model.probe.draw(&mut self.random);
                let job = Job {
                    owner: Owner::Probe(token),
                    service,
                };
                match self.servers[target].arrive(job, self.now) {
                    Admission::Started(started) => self.started(target, started),
                    Admission::Queued => {}
                    Admission::Overflow => {
                        let outcome = HttpCallOutcome::Answer(answer(503));
                        self.world.end_http_call(token, &outcome);
                    }
                }
            }
        }
    }
}
