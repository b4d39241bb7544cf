//! The choice of a target in one pool: that of the client's session, or else one of the nearest
//! region by the pool's balance.

use super::Worker;
use super::context::RequestContext;
use super::failover::{HealthFilter, NotPicked};
use crate::decision::Reason;
use crate::index::{TargetIndex, TargetRef};
use crate::pool::Pool;
use crate::pool::balance::least_connections::Load;
use crate::pool::balance::retries::{self, Retries};
use crate::pool::balance::{Balance, HashBy, consistent_hash, random};
use crate::pool::candidates::Candidates;
use crate::pool::in_flight::InFlight;
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::max_in_flight::MAX_LOOKED_AT;
use crate::pool::sticky::{self, Session};
use crate::port::Port;
use crate::siphash::{SipWriter, mixed};
use crate::time::Nanos;

/// A target of one pool.
pub(super) struct Picked {
    pub target: TargetIndex,
    pub reason: Reason,
    /// Whether the client is to be given a session cookie, if the pool has any.
    pub new_cookie: bool,
    /// The hash by which this target was chosen, or by which another would be in its place. None:
    /// none is to be preferred.
    pub hash: Option<u64>,
}

/// What a target is chosen by.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub session: Option<Session>,
    pub filter: HealthFilter,
    /// The hash that chooses, with the reason that this makes. None: the pool's balance chooses.
    pub hash: Option<(u64, Reason)>,
    pub random: u64,
}

impl Worker {
    /// The target in one pool for a request. Where it has `max_in_flight`, the request is counted as
    /// in flight there.
    pub(super) fn pick_target(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        session: Option<Session>,
        filter: HealthFilter,
        random: u64,
    ) -> Result<Picked, NotPicked> {
        if let Some(session) = session
            && let Some(target) = pool.target(session.target)
            && target.keeps_sessions()
            && filter.admits(&self.health, pool, session.target, context.now)
        {
            if !pool.is_limited || self.admit(context, pool, session.target) {
                return Ok(Picked {
                    target: session.target,
                    reason: Reason::Sticky,
                    new_cookie: session.renew,
                    hash: session_hash(context, pool, session),
                });
            }
            context.is_session_full = true;
        }
        let hash = match session.and_then(|session| session_hash(context, pool, session)) {
            Some(hash) => Some((hash, Reason::Repin)),
            None => hash(context, pool),
        };
        let choice = Choice {
            session,
            filter,
            hash,
            random,
        };
        let picked = match pool.is_limited {
            false => self.choose(context, pool, &choice, &[]),
            true => return self.choose_unless_full(context, pool, &choice),
        };
        picked.ok_or(NotPicked::NoTarget)
    }

    /// A target by the balance of the pool, or by a hash. `full`: which targets are passed over; may
    /// be empty. None: no target takes the request.
    pub(super) fn choose(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        choice: &Choice,
        full: &[bool],
    ) -> Option<Picked> {
        let (health, now) = (&self.health, context.now);
        let Choice {
            session,
            filter,
            hash,
            random,
        } = *choice;
        let state = self.pools.get_mut(pool.index.get())?;
        let candidates = &mut self.candidates;
        candidates.collect(pool, |target| filter.admits(health, pool, target, now));
        if !full.is_empty() {
            candidates.retain(|target| full.get(target.get()) != Some(&true));
        }
        let near = state.regions.nearest(pool, context.request, candidates)?;
        if !near.is_whole_pool() {
            candidates.retain(|target| near.has(target));
        }
        let is_slow = pool.slow_start > Nanos::ZERO
            && candidates.slow_down(|target| health.slow_start_factor(pool, target, now));
        let by_time = pool.balance == Balance::LeastResponseTime;
        let mut reason = hash.map_or(Reason::Balance, |(_, reason)| reason);
        let target = match (hash, &pool.balance) {
            (
                Some((hash, Reason::Hash)),
                Balance::Hash(HashBy {
                    bounded_load: Some(factor),
                    ..
                }),
            ) => {
                candidates.pass_slow_start(hash);
                let mut load = PoolLoad {
                    pool,
                    in_flight: &mut self.in_flight,
                    port: context.port,
                    response_times: None,
                    now,
                };
                let (bounded, hashed) = (&mut state.bounded_load, &state.consistent_hash);
                let picked = bounded.pick(*factor, hashed, candidates, hash, &mut load, now)?;
                if picked.is_moved {
                    reason = Reason::Full;
                }
                picked.target
            }
            (Some((hash, _)), _) => {
                // A key must get the same target each time.
                candidates.pass_slow_start(hash);
                state.consistent_hash.pick(candidates, hash)?
            }
            (None, Balance::LeastConnections | Balance::LeastResponseTime) => {
                if by_time {
                    self.response_times.sync(context.port, pool, now);
                }
                let mut load = PoolLoad {
                    pool,
                    in_flight: &mut self.in_flight,
                    port: context.port,
                    response_times: by_time.then_some(&self.response_times),
                    now,
                };
                let least_connections = &mut state.least_connections;
                least_connections.pick(candidates, &mut load, random, now)?
            }
            (None, Balance::RoundRobin | Balance::Hash(_)) if !is_slow => {
                let round_robin = state.round_robins.get_mut(near.number())?;
                round_robin.pick(candidates)?
            }
            (None, Balance::Random | Balance::RoundRobin | Balance::Hash(_)) => {
                candidates.pass_slow_start(random);
                random::pick(candidates, random)?.0
            }
        };
        Some(Picked {
            target,
            reason: match session {
                Some(_) => Reason::Repin,
                None => reason,
            },
            new_cookie: true,
            hash: hash.map(|(hash, _)| hash),
        })
    }

    /// The targets that the proxy tries after the one that was picked, those of the nearest region
    /// first. None outside of a pool of endpoints: a proxy can be told nothing else.
    pub(super) fn pick_retries(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        picked: &Picked,
        filter: HealthFilter,
        random: u64,
    ) -> Retries {
        let Some(state) = self.pools.get(pool.index.get()).filter(|_| pool.endpoints) else {
            return Retries::default();
        };
        let (health, candidates, now) = (&self.health, &mut self.candidates, context.now);
        let full = match pool.is_limited {
            true => full_targets(&mut self.in_flight, context.port, pool),
            false => Vec::new(),
        };
        let is_other = |other: TargetIndex| {
            other != picked.target
                && full.get(other.get()) != Some(&true)
                && filter.admits(health, pool, other, now)
        };
        candidates.collect(pool, is_other);
        // Of one there is nothing to put in order.
        if let Some(only) = candidates.only() {
            return Retries::from_iter([only]);
        }
        let Some(near) = state.regions.nearest(pool, context.request, candidates) else {
            return Retries::default();
        };
        let mut order = Retries::default();
        let hashed = &state.consistent_hash;
        let fill = |order: &mut Retries, candidates: &mut Candidates, random| match picked.hash {
            Some(hash) => retries::fill_by_hash(order, candidates, hashed, hash),
            None => retries::fill(order, candidates, random),
        };
        if !near.is_whole_pool() {
            candidates.retain(|other| near.has(other));
        }
        // As the choice itself will be made, once this target is ejected.
        if let Some(hash) = picked.hash
            && pool.slow_start > Nanos::ZERO
            && candidates.slow_down(|target| health.slow_start_factor(pool, target, now))
        {
            candidates.pass_slow_start(hash);
            fill(&mut order, candidates, random);
            candidates.collect(pool, |other| is_other(other) && near.has(other));
            order.iter().for_each(|taken| candidates.remove(*taken));
        }
        fill(&mut order, candidates, random);
        if !near.is_whole_pool() {
            candidates.collect(pool, |other| is_other(other) && !near.has(other));
            // Another draw than that of the near ones.
            fill(&mut order, candidates, mixed(random));
        }
        order
    }
}

/// The hash of a session, by which its target's place is taken while the proxy tries others, and
/// after that. Cookies alone do not tell all sessions apart, and their clients must not end on one
/// target together. None: the proxy can be told of no other target, or there is but one.
pub(super) fn session_hash(
    context: &RequestContext<'_, '_>,
    pool: &Pool,
    session: Session,
) -> Option<u64> {
    if !pool.endpoints || pool.targets.len() < 3 {
        return None;
    }
    let mut hash = SipWriter::new(*b"pointsman moving");
    hash.write_u64(session.number);
    hash.write(
        context
            .request
            .headers
            .first(b"user-agent")
            .unwrap_or_default(),
    );
    Some(hash.finish())
}

/// The hash that chooses the target, if something of the request does, with the reason that this
/// makes.
fn hash(context: &mut RequestContext<'_, '_>, pool: &Pool) -> Option<(u64, Reason)> {
    let request = context.request;
    if let Some(hash) = sticky::header_hash(pool, request) {
        return Some((hash, Reason::StickyHeader));
    }
    let Balance::Hash(by) = &pool.balance else {
        return None;
    };
    let hash = by.keys().find_map(|key| {
        consistent_hash::key_hash(pool, key, request, &mut || context.client_address())
    });
    hash.map(|hash| (hash, Reason::Hash))
}

/// Which targets of a pool are full, for a list of retries. Of a pool that is too large to look at
/// all of them nobody knows.
fn full_targets(in_flight: &mut InFlight, port: &mut dyn Port, pool: &Pool) -> Vec<bool> {
    let targets = pool.target_indices();
    let targets = targets.take(match pool.targets.len() {
        few @ ..=MAX_LOOKED_AT => few,
        _ => 0,
    });
    targets
        .map(|target| in_flight.is_full(port, pool, target))
        .collect()
}

/// What the targets of a pool have to do, by what all workers know.
pub(super) struct PoolLoad<'a> {
    pub pool: &'a Pool,
    pub in_flight: &'a mut InFlight,
    pub port: &'a mut dyn Port,
    /// None: response times do not matter.
    pub response_times: Option<&'a ResponseTimes>,
    pub now: Nanos,
}

impl Load for PoolLoad<'_> {
    fn others(&mut self, target: TargetIndex) -> u32 {
        self.in_flight.others(self.port, self.pool, target)
    }

    fn own(&self, target: TargetIndex) -> u32 {
        self.in_flight.own(TargetRef {
            pool: self.pool.index,
            index: target,
        })
    }

    fn response_time(&self, target: TargetIndex) -> f64 {
        self.response_times.map_or(1.0, |times| {
            times.guess(self.pool, target, self.now).get() as f64
        })
    }
}
