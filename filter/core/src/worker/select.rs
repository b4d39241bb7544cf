//! Which target a request goes to: session → healthy targets, nearest first → pools of `failover` →
//! `when_all_unhealthy`.
//!
//! | | |
//! |---|---|
//! | a session's target is unhealthy or down | the client moves within the pool and gets a new cookie; in a split it keeps its part |
//! | no target of the pool takes the request | the pools of its `failover`, in order, each by its own sessions, regions and balance. Their own `failover` is not followed, so that no circle can come of it |
//! | the first pool is back | clients return to it at once: to their old target if its cookie has a name that the other pool's does not have, which would have replaced it |
//! | those have none either | `when_all_unhealthy` of the first pool: its targets as if they were healthy, or (where none is up at all) those of its `failover`; or 503 |
//! | `draining`, weight 0 | takes the requests of its sessions and no others, as long as it is healthy |

use super::{Around, Event, Roll, Strayed, Worker};
use crate::config::Config;
use crate::decision::Reason;
use crate::http::request::Request;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::balance::least_connections::Load;
use crate::pool::balance::{Balance, consistent_hash, random, retries};
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::health::Health;
use crate::pool::in_flight::InFlight;
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::sticky::{self, Session};
use crate::port::Port;
use crate::route::Action;
use crate::siphash::mixed;
use crate::time::Nanos;

/// The target that a request goes to.
pub(super) struct Choice<'c> {
    /// The part of the split.
    pub part: usize,
    pub pool: &'c Pool,
    pub target: TargetIndex,
    pub reason: Reason,
    /// Whether the client is to be given a session cookie.
    pub new_cookie: bool,
    /// The targets to try next; only in a pool of endpoints.
    pub retries: Vec<TargetIndex>,
}

/// The targets among which is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Healthy,
    All,
}

impl Among {
    fn has(self, health: &Health, pool: &Pool, target: TargetIndex, now: Nanos) -> bool {
        self == Among::All || health.is_healthy(pool, target, now)
    }
}

/// Where in the route's action a request begins.
#[derive(Clone, Copy)]
struct Start<'c> {
    part: usize,
    pool: &'c Pool,
    /// What a valid cookie of the pool says.
    session: Option<Session>,
    /// What is left of the request's roll.
    roll: u64,
}

/// A choice within one pool.
struct Picked {
    target: TargetIndex,
    reason: Reason,
    new_cookie: bool,
}

impl Worker {
    /// The target of a request that a route sends to a pool, or why there is none.
    pub(super) fn choose<'c>(
        &mut self,
        config: &'c Config,
        action: &'c Action,
        request: &Request<'_>,
        around: &mut Around<'_>,
        roll: Roll,
    ) -> Result<Choice<'c>, Reason> {
        let start = self.kept(action, request, around.now, roll);
        let start = start
            .or_else(|| drawn(action, request, roll))
            .ok_or(Reason::NoTarget)?;
        let choice = self.choose_from(config, start, request, around);
        let reason = choice
            .as_ref()
            .map_or_else(|reason| *reason, |choice| choice.reason);
        match reason {
            Reason::Repin
            | Reason::Failover
            | Reason::UseAll
            | Reason::Unhealthy
            | Reason::NoTarget => {
                let pool = start.pool.index;
                self.events.push(Event::Strayed(Strayed { pool, reason }));
            }
            _ => {}
        }
        choice
    }

    fn choose_from<'c>(
        &mut self,
        config: &'c Config,
        start: Start<'c>,
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Result<Choice<'c>, Reason> {
        if let Some(choice) = self.first_that_can(config, start, Among::Healthy, request, around) {
            return Ok(choice);
        }
        let all = self.first_that_can(config, start, Among::All, request, around);
        match start.pool.health.when_all_unhealthy {
            WhenAllUnhealthy::Respond503 if all.is_some() => Err(Reason::Unhealthy),
            WhenAllUnhealthy::UseAll | WhenAllUnhealthy::Respond503 => all.ok_or(Reason::NoTarget),
        }
    }

    /// The part of the action that a valid session cookie holds the client to, weights or not.
    fn kept<'c>(
        &self,
        action: &'c Action,
        request: &Request<'_>,
        now: Nanos,
        roll: Roll,
    ) -> Option<Start<'c>> {
        action.parts().enumerate().find_map(|(part, (pool, _))| {
            let session = self.session(pool, request, now);
            session.is_some().then_some(Start {
                part,
                pool,
                session,
                roll: roll.number,
            })
        })
    }

    fn session(&self, pool: &Pool, request: &Request<'_>, now: Nanos) -> Option<Session> {
        let sessions = &self.pools.get(pool.index.get())?.sessions;
        sessions.find(pool, request.cookies(), now.to_seconds())
    }

    /// A choice in the first pool that has one: where the request starts, then those of its
    /// `failover`.
    fn first_that_can<'c>(
        &mut self,
        config: &'c Config,
        start: Start<'c>,
        among: Among,
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Option<Choice<'c>> {
        let others = start
            .pool
            .failover
            .iter()
            .filter_map(|other| config.pool(*other));
        let pools = std::iter::once(start.pool).chain(others.map(|pool| &**pool));
        for (place, pool) in pools.enumerate() {
            self.health.refresh(around.port, pool, around.now);
            let session = match place {
                0 => start.session,
                _ => self.session(pool, request, around.now),
            };
            let Some(picked) = self.pick(pool, session, among, request, around, start.roll) else {
                continue;
            };
            return Some(Choice {
                part: start.part,
                pool,
                target: picked.target,
                reason: match (among, place) {
                    (Among::Healthy, 0) => picked.reason,
                    (Among::Healthy, _) => Reason::Failover,
                    (Among::All, _) => Reason::UseAll,
                },
                new_cookie: picked.new_cookie,
                retries: self.retries(pool, picked.target, among, request, around.now, start.roll),
            });
        }
        None
    }

    /// A choice within one pool: the session's target, or else one of the nearest by the pool's
    /// rule.
    fn pick(
        &mut self,
        pool: &Pool,
        session: Option<Session>,
        among: Among,
        request: &Request<'_>,
        around: &mut Around<'_>,
        roll: u64,
    ) -> Option<Picked> {
        let (health, now) = (&self.health, around.now);
        if let Some(session) = session
            && pool.target(session.target)?.keeps_sessions()
            && among.has(health, pool, session.target, now)
        {
            return Some(Picked {
                target: session.target,
                reason: Reason::Sticky,
                new_cookie: session.renew,
            });
        }
        let state = self.pools.get_mut(pool.index.get())?;
        let candidates = &mut self.candidates;
        candidates.collect(pool, |target| among.has(health, pool, target, now));
        let near = state.regions.nearest(pool, request, candidates)?;
        if !near.is_whole_pool() {
            candidates.retain(|target| near.has(target));
        }
        let slow = pool.slow_start > Nanos::ZERO
            && candidates.slow_down(|target| health.slow_start_factor(pool, target, now));
        let hash = hash(pool, request, around);
        let target = match (hash, &pool.balance) {
            (Some((hash, _)), _) => {
                // What a key decides must come out alike each time it comes.
                candidates.pass_slow_start(hash);
                state.consistent_hash.pick(candidates, hash)?
            }
            (None, Balance::LeastConnections | Balance::LeastResponseTime) => {
                let timed = pool.balance == Balance::LeastResponseTime;
                if timed {
                    self.response_times.sync(around.port, pool, now);
                }
                let mut load = PoolLoad {
                    pool,
                    in_flight: &mut self.in_flight,
                    port: around.port,
                    response_times: timed.then_some(&self.response_times),
                    now,
                };
                let least_connections = &mut state.least_connections;
                least_connections.pick(candidates, &mut load, roll, now)?
            }
            (None, Balance::RoundRobin | Balance::Hash(_)) if !slow => {
                let round_robin = state.round_robins.get_mut(near.number())?;
                round_robin.pick(candidates)?
            }
            (None, Balance::Random | Balance::RoundRobin | Balance::Hash(_)) => {
                candidates.pass_slow_start(roll);
                random::pick(candidates, roll)?.0
            }
        };
        Some(Picked {
            target,
            reason: match session {
                Some(_) => Reason::Repin,
                None => hash.map_or(Reason::Balance, |(_, reason)| reason),
            },
            new_cookie: true,
        })
    }

    /// The targets that the proxy tries after this one, the nearest first. Only endpoints can be
    /// told to it.
    fn retries(
        &mut self,
        pool: &Pool,
        target: TargetIndex,
        among: Among,
        request: &Request<'_>,
        now: Nanos,
        roll: u64,
    ) -> Vec<TargetIndex> {
        let Some(state) = self.pools.get(pool.index.get()).filter(|_| pool.endpoints) else {
            return Vec::new();
        };
        let (health, candidates) = (&self.health, &mut self.candidates);
        let others = |other: TargetIndex| other != target && among.has(health, pool, other, now);
        candidates.collect(pool, others);
        let Some(near) = state.regions.nearest(pool, request, candidates) else {
            return Vec::new();
        };
        let mut retries = Vec::with_capacity(retries::RETRIES);
        if near.is_whole_pool() {
            retries::fill(&mut retries, candidates, roll);
        } else {
            candidates.retain(|other| near.has(other));
            retries::fill(&mut retries, candidates, roll);
            candidates.collect(pool, |other| others(other) && !near.has(other));
            // Another draw than that of the near ones.
            retries::fill(&mut retries, candidates, mixed(roll));
        }
        retries
    }
}

/// What the targets of a pool have to do, by what all workers know.
struct PoolLoad<'a> {
    pool: &'a Pool,
    in_flight: &'a mut InFlight,
    port: &'a mut dyn Port,
    /// None: how long targets take does not matter.
    response_times: Option<&'a ResponseTimes>,
    now: Nanos,
}

impl Load for PoolLoad<'_> {
    fn in_flight(&mut self, target: TargetIndex) -> u32 {
        self.in_flight.of(self.port, self.pool, target)
    }

    fn response_time(&self, target: TargetIndex) -> f64 {
        self.response_times.map_or(1.0, |times| {
            times.guess(self.pool, target, self.now).get() as f64
        })
    }
}

/// The hash that chooses the target, where something of the request does, and what it is then
/// called.
fn hash(pool: &Pool, request: &Request<'_>, around: &mut Around<'_>) -> Option<(u64, Reason)> {
    if let Some(hash) = sticky::header_hash(pool, request) {
        return Some((hash, Reason::StickyHeader));
    }
    let Balance::Hash(key) = &pool.balance else {
        return None;
    };
    let hash = consistent_hash::key_hash(pool, key, request, &mut || around.address());
    hash.map(|hash| (hash, Reason::Hash))
}

/// The part of the action that the roll falls into.
fn drawn<'c>(action: &'c Action, request: &Request<'_>, roll: Roll) -> Option<Start<'c>> {
    // A client that is held by a header keeps its part of a split as it keeps its target.
    let held = action
        .parts()
        .find_map(|(pool, _)| sticky::header_hash(pool, request));
    let roll = held.filter(|_| !roll.fixed).unwrap_or(roll.number);
    let (part, roll) = random::pick_weighted(action.parts().map(|(_, weight)| weight), roll)?;
    let (pool, _) = action.parts().nth(part)?;
    Some(Start {
        part,
        pool,
        session: None,
        roll,
    })
}

impl Action {
    /// Where the action may send a request: pools with their weights.
    fn parts(&self) -> impl Iterator<Item = (&Pool, u32)> + Clone {
        let (one, several) = match self {
            Action::Pool(pool) => (Some((&**pool, 1)), &[][..]),
            Action::Split(parts) => (None, &parts[..]),
            Action::Redirect(_) | Action::Respond(_) | Action::Pass => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|part| (&*part.pool, part.weight)))
    }
}
