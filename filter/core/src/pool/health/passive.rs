//! `health.passive`: checks by the outcomes of requests.
//!
//! `consecutive_failures` failures in a row, over all workers, eject a target; a success in between
//! begins the count anew. Failures that a client can provoke count once for each client while the
//! pool answers others ([`super::votes`]). It is ejected for `eject` times the number of its
//! ejections in a row, at most for `max_eject`. That number falls by one for each `eject` in which
//! the target was healthy (Envoy's outlier detection has the same rule). Then the target is
//! probing: the next failure ejects it again at once, the next success makes it healthy.
//!
//! At most `max_ejected_percent` of the pool's targets, rounded down, are ejected like this. The
//! bound is checked within the compare-and-swap of the record, so that several workers together
//! keep it too.
//!
//! **The bound ends where all fail.** It keeps targets in because one that fails may be better than
//! what is left, and because a check may err. If every target that takes new requests fails its
//! number in a row, by the same votes, there is no better one, and a pool that says what is to happen
//! then (`failover`, `respond_503`) lets go of all of them: Envoy's panic mode for a priority, which
//! is left if there is another one. With `max_ejected_percent: 0` no target is ever ejected. What one
//! client does cannot bring this about, because its failures are not enough for any target.

use super::clients::Clients;
use super::state::Transition;
use super::votes::Failed;
use super::{Health, LastFailure, known_mut};
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::outcome::{Cause, Outcome};
use crate::port::Port;
use crate::time::Nanos;

/// `health.passive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passive {
    /// How many failures in a row eject a target. From 1, default 5.
    pub consecutive_failures: u32,
    /// For how long, the first time. Default 30 s.
    pub eject: Nanos,
    /// For how long at most. Default 300 s (or `eject`, if that is longer).
    pub max_eject: Nanos,
    /// Which part of the pool's targets, rounded down, can be ejected at a time, unless all fail and
    /// the pool says what happens then. 0 to 100, default 50.
    pub max_ejected_percent: u32,
    /// The statuses of answers that count as failures: ranges, both ends included. Default 500 and
    /// 502 to 504: what else a server answers a client can ask for, such as 501 with a method that
    /// the server does not know.
    pub statuses: Vec<(u16, u16)>,
}

impl Passive {
    /// Whether the pool loses its bound once all of its targets fail.
    fn lets_go_of_all(&self, pool: &Pool) -> bool {
        let says_what_then = !pool.failover.is_empty()
            || pool.health.when_all_unhealthy == WhenAllUnhealthy::Respond503;
        self.max_ejected_percent > 0 && says_what_then
    }

    /// Whether one more target can be ejected of a pool with so many, of which so many are.
    fn allows_ejection(&self, ejected: usize, targets: usize) -> bool {
        let most = targets as u64 * u64::from(self.max_ejected_percent) / 100;
        (ejected as u64) < most
    }
}

impl Health {
    /// A request of this client to a target ended. Shared data is asked only if this changes the
    /// target's state or count. The client matters only for [`Cause::Exchange`].
    pub fn on_outcome(
        &mut self,
        port: &mut dyn Port,
        pool: &Pool,
        target: TargetIndex,
        outcome: Outcome,
        client: Clients,
        now: Nanos,
    ) {
        let Some(passive) = &pool.health.passive else {
            return;
        };
        match outcome {
            Outcome::Success => {
                self.refresh(port, pool, now);
                let known = self.target(pool, target).copied();
                let changes = known
                    .is_some_and(|mut known| known.on_success(passive, now) != Transition::Nothing);
                if changes {
                    self.change(port, pool, target, now, &mut |state, _| {
                        state.on_success(passive, now)
                    });
                }
            }
            Outcome::Failure(cause) => {
                if known_mut(&mut self.pools, &mut self.events, pool).is_none() {
                    return;
                }
                let lets_go_of_all = passive.lets_go_of_all(pool);
                let recent = match cause {
                    Cause::NoConnection if !lets_go_of_all => Clients::default(),
                    Cause::NoConnection | Cause::Exchange => self.recent_clients(port, pool, now),
                };
                let failed = Failed {
                    cause,
                    client,
                    recent: match cause {
                        Cause::NoConnection => Clients::default(),
                        Cause::Exchange => recent,
                    },
                };
                let targets = pool.targets.len();
                self.change(port, pool, target, now, &mut |state, others| {
                    let may_eject = passive.allows_ejection(others.ejected(passive), targets)
                        || lets_go_of_all && others.are_all_failing(passive, recent);
                    state.on_failure(passive, &failed, may_eject, now)
                });
                if cause == Cause::NoConnection {
                    self.tell(LastFailure::NoConnection);
                }
            }
        }
    }
}
