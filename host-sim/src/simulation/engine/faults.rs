//! Faults: they begin, and they end.

use super::requests::End;
use super::{Engine, Owner};
use crate::simulation::scenario::{FaultKind, ScheduledFault};
use crate::simulation::server::Reachability;
use crate::world::HttpCallOutcome;

impl Engine<'_> {
    /// A fault begins.
    pub(super) fn begin_fault(&mut self, fault: &ScheduledFault) {
        match fault.kind {
            FaultKind::Refused(target) => {
                self.servers[target].reachability = Reachability::Refused;
                for owner in self.servers[target].reset() {
                    self.connection_lost(owner);
                }
            }
            FaultKind::Silent(target) => {
                self.servers[target].reachability = Reachability::Silent;
                self.servers[target].hang();
            }
            FaultKind::Hang(target) => self.servers[target].hang(),
            FaultKind::Slow(target, factor) => self.servers[target].slowdown = factor,
            FaultKind::Fail(target, status, share) => {
                self.servers[target].fails = Some((status, share));
            }
            FaultKind::LoseProbes(target, share) => self.probe_loss[target] = share,
            FaultKind::Trap(worker) => self.world.kill(worker),
            FaultKind::Jump(nanoseconds) => self.world.proxy().jump(nanoseconds),
            FaultKind::Reload(ref configuration) => {
                if let Err(failed) = self.world.reload(configuration) {
                    self.refused.push(failed.to_string());
                }
            }
        }
    }

    /// A fault ends.
    pub(super) fn end_fault(&mut self, fault: &ScheduledFault) {
        match fault.kind {
            FaultKind::Refused(target) => self.servers[target].reachability = Reachability::Up,
            FaultKind::Silent(target) | FaultKind::Hang(target) => {
                self.servers[target].reachability = Reachability::Up;
                for started in self.servers[target].resume(self.now) {
                    self.started(target, started);
                }
            }
            FaultKind::Slow(target, _) => self.servers[target].slowdown = 1.0,
            FaultKind::Fail(target, ..) => self.servers[target].fails = None,
            FaultKind::LoseProbes(target, _) => self.probe_loss[target] = 0.0,
            FaultKind::Trap(_) | FaultKind::Jump(_) | FaultKind::Reload(_) => {}
        }
    }

    /// A job is lost with its connection. A request was sent already, so it is not retried.
    fn connection_lost(&mut self, owner: Owner) {
        match owner {
            Owner::Request(id) => self.end_request(id, End::ConnectionLost),
            Owner::Probe(token) => {
                self.world
                    .end_http_call(token, &HttpCallOutcome::Unreachable);
            }
        }
    }
}
